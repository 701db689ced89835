"""Durations as people write them: ``90s``, ``1h30m``, ``24h``, ``250ms``."""

import math
import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Seconds of `text`; a bare number is refused, since its unit would be a guess.

    Raises:
        ValueError: with the text and the form that is expected.
    """
    compact = text.strip()
    position, total = 0, 0.0
    while position < len(compact):
        part = _PART.match(compact, position)
        if part is None:
            break
        total += float(part.group(1)) * _UNITS[part.group(2)]
        position = part.end()
    if not compact or position != len(compact) or not math.isfinite(total):
        raise ValueError(f"{text[:40]!r} is not a duration; write it like 90s, 15m, 1h30m or 24h")
    return total


def format_duration(seconds: float) -> str:
    """The shortest exact form of whole milliseconds: 5400 is ``1h30m``, 0.25 is ``250ms``."""
    sign = "-" if seconds < 0 else ""
    milliseconds = round(abs(seconds) * 1000)
    if milliseconds == 0:
        return "0s"
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)
