"""The intent file: the annotation ``drainer.dev/drain``, shown by the downward API.

``{"id": "d-1", "reason": "deploy", "by": "controller", "at": "2026-11-22T03:00:00Z",
"deadline": "2026-11-23T03:00:00Z"}``; deadline may be ``"never"`` or absent (the default
timeout). Empty content means: no drain is wanted. Unknown fields are ignored.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime

from drainer.core.drain import After, DeadlineSpec, Special

#: A drain's id: what may stand in a label, a file and a log.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: Longest reason and name taken over, in characters.
TEXT = 500


class Malformed(ValueError):
    """The content is no intent; it changes nothing."""


@dataclass(frozen=True)
class Intent:
    """What the controller wants. deadline counts from first sight, on the pod's own clock."""

    id: str
    by: str
    reason: str
    deadline: DeadlineSpec


def digest(content: str) -> str:
    """Names one content, to act on it only once, also over a restart."""
    return hashlib.sha256(content.strip().encode()).hexdigest()[:16]


def parse_intent(content: str) -> Intent | None:
    """The intent of a file's content; None when no drain is wanted.

    Raises:
        Malformed: with what is wrong, never quoting the content.
    """
    if not content.strip():
        return None
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise Malformed("the intent is not JSON") from None
    if not isinstance(values, dict):
        raise Malformed("the intent is not a JSON object")
    name = values.get("id")
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise Malformed("the intent's id must be 1 to 63 letters, digits, dots, dashes")
    for key in ("by", "reason"):
        if not isinstance(values.get(key, ""), str):
            raise Malformed(f"the intent's {key} must be text")
    return Intent(
        id=name,
        by=values.get("by", "controller")[:TEXT] or "controller",
        reason=values.get("reason", "")[:TEXT],
        deadline=_deadline(values),
    )


def _deadline(values: dict[str, object]) -> DeadlineSpec:
    deadline = values.get("deadline")
    if deadline is None:
        return Special.DEFAULT
    if deadline == "never":
        return Special.NEVER
    seconds = parse_instant(deadline, "deadline") - parse_instant(values.get("at"), "at")
    if seconds <= 0:
        raise Malformed("the intent's deadline is not after its at")
    return After(seconds)


def parse_instant(value: object, name: str) -> float:
    """Seconds since the epoch of an RFC 3339 text with a zone.

    Raises:
        Malformed: when it is anything else.
    """
    if isinstance(value, str) and len(value) <= 40:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            try:
                return moment.timestamp()
            except (OverflowError, ValueError):
                pass
    raise Malformed(f"{name} must be an instant with its zone, like 2026-11-22T03:00:00Z")
