"""Every way the state machine says no: code, HTTP status, and what to do."""

from drainer.errors import Refused

#: code: (HTTP status, title, hint). The codes are stable; problem types are made from them.
REFUSALS: dict[str, tuple[int, str, str]] = {
    "deadline-in-the-past": (422, "The deadline has passed already", "to end the drain now, force it"),
    "deadline-beyond-cap": (422, "The deadline is beyond the cap", "ask for less, or raise the sidecar's --cap"),
    "nothing-drains": (409, "Nothing drains", "start a drain first"),
    "verdict-reached": (409, "This drain has its verdict", "a verdict is final; the worker must be replaced"),
    "terminating": (409, "The worker is terminating", "it can't go back to work; extend the drain instead"),
}


def refuse(code: str, message: str) -> Refused:
    """The refusal for `code`, with its hint."""
    return Refused(code, message, REFUSALS[code][2])
