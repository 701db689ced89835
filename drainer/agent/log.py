"""The agent's one logger, and the guard that keeps its failures out of the worker."""

import functools
import logging
import traceback

log = logging.getLogger("drainer.agent")


def harmless(func):
    """Log whatever `func` raises and return None: a fault of ours is never the worker's."""

    @functools.wraps(func)
    def call(*args, **kwargs):
        try:
            return func(*args, **kwargs)
        except Exception as exc:
            log.error("drainer agent: %s failed: %s", func.__name__, describe(exc))
            return None

    return call


def describe(exc):
    """An exception's type and where it was raised, without its text.

    The text of an error from a serializer or a broker's client may quote a message, and
    with it a task's arguments or a password.
    """
    frames = traceback.extract_tb(exc.__traceback__)
    where = " at %s:%s" % (frames[-1].filename.rsplit("/", 1)[-1], frames[-1].lineno) if frames else ""
    return type(exc).__name__ + where
