"""What ``state.json`` says to a worker process that has just started."""

import json
import os

#: The versions of the file that this agent understands.
VERSIONS = (1,)


def directory():
    """The directory shared with the sidecar: ``DRAINER_DIR``, by default /run/drainer."""
    return os.environ.get("DRAINER_DIR") or "/run/drainer"


def must_not_consume(path):
    """Whether a worker that starts now has to keep its gate closed, and why.

    Returns:
        None when the worker is free to consume: there is no file, or it says "serving".
        Otherwise the reason as a short text. A file that can't be read or understood
        closes the gate: refusing work is safe, taking it during a drain isn't.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(4 * 1024 * 1024)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as exc:
        return "state.json can't be read (%s)" % (exc.strerror,)
    try:
        state = json.loads(raw.decode("utf-8"))
        version, phase = state["version"], state["phase"]
    except (ValueError, KeyError, TypeError):
        return "state.json is damaged"
    if version not in VERSIONS:
        return "state.json has a version of the future"
    if phase == "serving":
        return None
    return "state.json says %s" % (phase if phase in ("draining", "drained", "expired") else "?",)
