"""The lines on ``agent.sock``: one JSON object a line, versioned, growing only.

Request: ``{"v": 1, "do": "stop", "id": 7, "drain": "d-..."}``; ``id`` is echoed.
Answer: ``{"v": 1, "re": "stop", "id": 7, ...}`` or ``{..., "error": {"code", "detail"}}``.
News to a watcher: ``{"v": 1, "event": "status" | "ended", ...}``.
Unknown fields are ignored; an unknown ``do`` is an error; a ``v`` above ours is answered
with an error that says which versions are spoken.
"""

import json

VERSION = 1
OPERATIONS = ("hello", "ping", "status", "watch", "stop", "resume", "terminate")


class BadRequest(Exception):
    """A line that can't be served. code: bad-json, bad-version, bad-operation, bad-field."""

    def __init__(self, code, detail, asked=None):
        super().__init__(code, detail)
        self.code, self.detail, self.asked = code, detail, asked or {}

    def answer(self):
        return {
            "re": self.asked.get("do"),
            "id": self.asked.get("id"),
            "error": {"code": self.code, "detail": self.detail},
        }


def encode(message):
    """A line of bytes."""
    return json.dumps(dict(message, v=VERSION), separators=(",", ":")).encode("utf-8") + b"\n"


def parse(line):
    """A valid request as a dict with all its fields.

    Raises:
        BadRequest: with what is wrong and what would be right.
    """
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadRequest("bad-json", "a request is one JSON object on one line") from None
    if not isinstance(request, dict):
        raise BadRequest("bad-json", "a request is one JSON object on one line")
    asked = {"do": request.get("do"), "id": request.get("id")}
    if not isinstance(asked["id"], (int, str, type(None))) or not isinstance(asked["do"], str):
        raise BadRequest("bad-field", "do is text, id a number or text")
    if request.get("v") != VERSION:
        raise BadRequest("bad-version", "this agent speaks version %d" % VERSION, asked)
    if asked["do"] not in OPERATIONS:
        raise BadRequest("bad-operation", "do is one of: " + ", ".join(OPERATIONS), asked)
    return _with_fields(request, asked)


def _with_fields(request, asked):
    if asked["do"] == "stop":
        asked["drain"] = _field(request, "drain", str, "", asked)
    elif asked["do"] == "terminate":
        asked["when"] = _field(request, "when", str, "empty", asked)
        if asked["when"] not in ("empty", "now"):
            raise BadRequest("bad-field", "when is empty or now", asked)
        asked["code"] = _field(request, "code", int, 3, asked)
        if not 0 <= asked["code"] <= 125:
            raise BadRequest("bad-field", "code is 0 to 125", asked)
        asked["grace"] = float(_field(request, "grace", (int, float), 30, asked))
        if not 0 <= asked["grace"] <= 3600:
            raise BadRequest("bad-field", "grace is 0 to 3600 seconds", asked)
    return asked


def _field(request, name, kind, default, asked):
    value = request.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadRequest("bad-field", "%s has the wrong type" % name, asked)
    return value
