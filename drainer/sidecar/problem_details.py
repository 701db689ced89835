"""RFC 9457 problem details. Types are stable: ``/problems/CODE`` below the documentation."""

from starlette.responses import JSONResponse

from drainer.core.refusals import REFUSALS
from drainer.errors import Refused

TYPE = "https://drainer.dev/problems/"

#: code: (HTTP status, title) of what is refused before the state machine is asked.
REQUEST_PROBLEMS: dict[str, tuple[int, str]] = {
    "unauthorized": (401, "A valid bearer token is needed"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This path knows other methods"),
    "too-slow": (408, "The request took too long"),
    "too-large": (413, "The body is too large"),
    "not-json": (400, "The body is not a JSON object"),
    "unknown-field": (422, "The body has an unknown field"),
    "invalid-field": (422, "A field has a wrong value"),
    "too-many-streams": (503, "Too many event streams are open"),
    "internal": (500, "Something in drainer broke"),
}


def problem(code: str, detail: str, hint: str = "") -> JSONResponse:
    """A problem response for one of `REQUEST_PROBLEMS` or `REFUSALS`."""
    status, title = REQUEST_PROBLEMS[code] if code in REQUEST_PROBLEMS else REFUSALS[code][:2]
    content = {"type": TYPE + code, "title": title, "status": status, "detail": detail, "code": code}
    if hint:
        content["hint"] = hint
    headers = {"www-authenticate": "Bearer"} if code == "unauthorized" else None
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def refused(exc: Refused) -> JSONResponse:
    """The response for a refusal of the state machine."""
    return problem(exc.code, str(exc), exc.hint)
