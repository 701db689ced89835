"""Bodies of requests: parsed strictly, every problem with its field."""

import json
from dataclasses import dataclass
from typing import Any

from drainer.core.drain import After, At, DeadlineSpec, Special
from drainer.core.durations import parse_duration
from drainer.core.intent import ID, TEXT, Malformed, parse_instant

#: The largest body of a request, bytes.
BODY = 64 * 1024


class BadBody(ValueError):
    """code: not-json, unknown-field, invalid-field; detail names the field."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class DrainBody:
    by: str
    reason: str
    deadline: DeadlineSpec
    id: str | None = None


@dataclass(frozen=True)
class ReasonBody:
    by: str
    reason: str


def parse_drain(raw: bytes) -> DrainBody:
    """The body of POST /v1/drain.

    Raises:
        BadBody: with the field that is wrong.
    """
    values = _object(raw, {"timeout", "deadline", "reason", "by", "id"})
    name = values.get("id")
    if name is not None and (not isinstance(name, str) or not ID.fullmatch(name)):
        raise BadBody("invalid-field", "id must be 1 to 63 letters, digits, dots, dashes")
    return DrainBody(_text(values, "by", "api"), _text(values, "reason", ""), _deadline(values), name)


def parse_reason(raw: bytes) -> ReasonBody:
    """The optional body of DELETE /v1/drain and POST /v1/force."""
    values = _object(raw, {"reason", "by"})
    return ReasonBody(_text(values, "by", "api"), _text(values, "reason", ""))


def _object(raw: bytes, known: set[str]) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        values = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadBody("not-json", "the body must be a JSON object") from None
    if not isinstance(values, dict):
        raise BadBody("not-json", "the body must be a JSON object")
    unknown = sorted(set(values) - known)
    if unknown:
        raise BadBody("unknown-field", f"unknown field; known are: {', '.join(sorted(known))}")
    return values


def _no_constant(text: str) -> float:
    raise ValueError("not JSON")


def _text(values: dict[str, Any], name: str, default: str) -> str:
    value = values.get(name, default)
    if not isinstance(value, str) or len(value) > TEXT or not value.isprintable():
        raise BadBody("invalid-field", f"{name} must be text of at most {TEXT} printable characters")
    return value or default


def _deadline(values: dict[str, Any]) -> DeadlineSpec:
    if "timeout" in values and "deadline" in values:
        raise BadBody("invalid-field", "give timeout or deadline, not both")
    if "timeout" in values:
        text = values["timeout"]
        if text == "never":
            return Special.NEVER
        try:
            if not isinstance(text, str):
                raise ValueError("timeout must be text like 24h, or never")
            return After(parse_duration(text))
        except ValueError as exc:
            raise BadBody("invalid-field", f"timeout: {exc}") from None
    if "deadline" in values:
        if values["deadline"] == "never":
            return Special.NEVER
        try:
            return At(parse_instant(values["deadline"], "deadline"))
        except Malformed as exc:
            raise BadBody("invalid-field", str(exc)) from None
    return Special.DEFAULT
