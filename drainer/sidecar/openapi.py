"""The OpenAPI document, served at /openapi.json and checked in as docs/reference/openapi.json."""

from typing import Any

from drainer import __version__
from drainer.core.drain import Trigger
from drainer.core.intent import ID, TEXT
from drainer.core.phases import Phase
from drainer.core.refusals import REFUSALS
from drainer.core.workload import Outcome
from drainer.sidecar.problem_details import REQUEST_PROBLEMS

Json = dict[str, Any]

_TEXT: Json = {"type": "string", "maxLength": TEXT}
_INSTANT: Json = {"type": ["string", "null"], "format": "date-time"}
_SECONDS: Json = {"type": ["number", "null"]}
_NULLABLE: Json = {"type": ["string", "null"]}

_AIRFLOW: Json = {
    "type": ["object", "null"],
    "properties": {
        "dag_id": _NULLABLE,
        "task_id": _NULLABLE,
        "run_id": _NULLABLE,
        "try_number": {"type": ["integer", "null"]},
        "map_index": {"type": ["integer", "null"]},
    },
}
_TASK: Json = {
    "id": {"type": "string"},
    "name": {"type": "string"},
    "started": _INSTANT,
    "elapsed_seconds": _SECONDS,
    "airflow": _AIRFLOW,
}


def document() -> Json:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "drainer sidecar",
            "version": __version__,
            "description": "Drains one Celery worker. Unknown fields of a request are refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
            "responses": {
                "Problem": {
                    "description": "RFC 9457 problem details",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
    }


def _paths() -> Json:
    return {
        "/livez": {"get": _text("Is the sidecar's own loop running?", {200: "yes"})},
        "/readyz": {"get": _text("Is the worker still to be reached?", {200: "yes", 503: "released: it may die"})},
        "/metrics": {"get": _text("Prometheus metrics", {200: "the exposition text"})},
        "/openapi.json": {
            "get": {
                "summary": "This document",
                "security": [],
                "responses": {
                    "200": {"description": "OpenAPI", "content": {"application/json": {"schema": {"type": "object"}}}}
                },
            }
        },
        "/v1/status": {"get": _order("What is the worker doing?", {200: "now"})},
        "/v1/drain": {
            "post": _order("Start a drain, or update the one that runs", {202: "started", 200: "updated"}, "Drain"),
            "patch": _order("Update the drain that runs; never starts one", {200: "updated"}, "Drain"),
            "delete": _order("Cancel the drain", {200: "serving again"}, "Reason"),
        },
        "/v1/force": {"post": _order("End the drain now, as if its deadline had passed", {202: "expired"}, "Reason")},
        "/v1/events": {
            "get": {
                "summary": "Status changes as server-sent events (event: status)",
                "security": [{"token": []}],
                "responses": {
                    "200": {
                        "description": "a stream",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    "401": _PROBLEM,
                    "503": _PROBLEM,
                },
            }
        },
    }


_PROBLEM: Json = {"$ref": "#/components/responses/Problem"}


def _text(summary: str, answers: dict[int, str]) -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(code): {"description": text, "content": content} for code, text in answers.items()}
    return {"summary": summary, "security": [], "responses": responses}


def _order(summary: str, answers: dict[int, str], body: str | None = None) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}}}
    responses: Json = {str(code): {"description": text, "content": content} for code, text in answers.items()}
    responses["401"] = _PROBLEM
    operation: Json = {"summary": summary, "security": [{"token": []}], "responses": responses}
    if body is not None:
        for code in ("400", "408", "409", "413", "422"):
            responses[code] = _PROBLEM
        schema = {"$ref": f"#/components/schemas/{body}"}
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return operation


def _schemas() -> Json:
    duration = {"type": "string", "description": "like 90s, 1h30m, 24h; or never", "examples": ["24h", "never"]}
    return {
        "Drain": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "timeout": duration,
                "deadline": {"type": "string", "description": "an instant with its zone, or never; not with timeout"},
                "reason": _TEXT,
                "by": _TEXT,
                "id": {"type": "string", "pattern": f"^{ID.pattern}$"},
            },
        },
        "Reason": {"type": "object", "additionalProperties": False, "properties": {"reason": _TEXT, "by": _TEXT}},
        "Status": _status(),
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"enum": sorted([*REQUEST_PROBLEMS, *REFUSALS])},
                "hint": {"type": "string"},
            },
        },
    }


def _status() -> Json:
    orphan = {**_TASK, "outcome": {"enum": [str(one) for one in Outcome]}}
    task = {**_TASK, "acks_late": {"type": ["boolean", "null"]}}
    return {
        "type": "object",
        "required": [
            "version",
            "phase",
            "released",
            "terminating",
            "drain",
            "worker",
            "running",
            "problems",
            "history",
        ],
        "properties": {
            "version": {"type": "string"},
            "phase": {"enum": [str(phase) for phase in Phase]},
            "released": {"type": "boolean"},
            "terminating": {"type": "boolean"},
            "now": {"type": "string", "format": "date-time"},
            "drain": {
                "type": ["object", "null"],
                "properties": {
                    "id": {"type": "string"},
                    "trigger": {"enum": [str(one) for one in Trigger]},
                    "by": {"type": "string"},
                    "reason": {"type": "string"},
                    **dict.fromkeys(("requested", "deadline", "stopped", "ended", "released"), _INSTANT),
                    "remaining_seconds": _SECONDS,
                    "elapsed_seconds": {"type": "number"},
                    "orphans": {"type": "array", "items": {"type": "object", "properties": orphan}},
                },
            },
            "worker": {"type": "object"},
            "work": {"type": ["object", "null"]},
            "running": {"type": "array", "items": {"type": "object", "properties": task}},
            "problems": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in ("code", "detail", "advice")},
                },
            },
            "history": {"type": "array", "items": {"type": "object"}},
        },
    }
