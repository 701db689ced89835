"""structlog: JSON in a pod, colours on a terminal; one event a fact, with who, why, when."""

import contextlib
import logging
import sys
from typing import Any

# structlog imports rich where it finds it: 5 MiB in every pod, for tracebacks that we don't print.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich


def configure(format: str = "auto", level: str = "info") -> None:
    """Set up logging for a process. format: auto, json or console."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_text,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *args: _Printer(),
        cache_logger_on_first_use=True,
    )
    # Libraries at warning, whatever our level: celery's and kombu's debug lines hold messages.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


class _Printer:
    """Lines on stderr; a full disk or a closed pipe loses the line, not the drain."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def _without_text(logger: Any, name: str, event: Any) -> Any:
    """An exception is logged by its type and place; its text may quote what nobody may see."""
    error = event.pop("error", None)
    if isinstance(error, BaseException):
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        event["error"] = type(error).__name__
        if place is not None:
            event["at"] = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}"
    elif error is not None:
        event["error"] = error
    return event


def get(name: str) -> Any:
    """A logger that names its part of drainer."""
    return structlog.get_logger().bind(part=name)
