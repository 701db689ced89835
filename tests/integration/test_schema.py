"""schemathesis against the served document: no 5xx, every answer as documented, refusals change nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.servers import free_port
from tests.support.worker import Setting, SidecarProcess

REQUESTS = int(os.environ.get("DRAINER_TEST_REQUESTS", "1000"))
#: Operations with a schema to fuzz; the stream never ends and is tested by hand.
PATHS = ["/v1/drain", "/v1/force", "/v1/status"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SidecarProcess, str]]:
    folder = tmp_path_factory.mktemp("schema")
    port = free_port()
    (folder / "token").write_text("the-token\n")
    setting = Setting("memory://", folder / "s")
    flags = ("--listen", f"127.0.0.1:{port}", "--token-file", str(folder / "token"))
    yield setting.sidecar(folder / "dir", *flags), f"http://127.0.0.1:{port}"
    setting.close()


@pytest.mark.timeout(900)
def test_the_api_is_what_its_document_says(served: tuple[SidecarProcess, str]) -> None:
    sidecar, url = served
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path=PATHS)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 5
    each = max(1, REQUESTS // len(operations))
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    count = 0
    for operation in operations:
        count += _fuzz(operation.as_strategy(), sidecar, each, checks)
    assert count >= REQUESTS * 0.5, "an operation without a body has few different requests"


def _fuzz(strategy: object, sidecar: SidecarProcess, each: int, checks: list[object]) -> int:
    """Send `each` requests; a refused one must leave the state as it was."""
    seen = 0

    @settings(max_examples=each, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=strategy)
    def send(case: "schemathesis.Case") -> None:
        nonlocal seen
        seen += 1
        before = _lasting(sidecar)
        response = case.call(headers={"Authorization": "Bearer the-token"})
        case.validate_response(response, checks=checks)
        after = _lasting(sidecar)
        if response.status_code >= 400:
            assert after == before, "a refused request changes nothing"
        if after["phase"] == "expired":
            _new_life(sidecar)

    send()
    return seen


def _lasting(sidecar: SidecarProcess) -> dict[str, object]:
    """The part of the status that only an accepted request changes."""
    status = sidecar.status()
    assert status is not None
    drain = status["drain"] and {key: status["drain"][key] for key in ("id", "reason", "by")}
    return {"phase": status["phase"], "drain": drain, "events": [r["event"] for r in status["history"]]}


def _new_life(sidecar: SidecarProcess) -> None:
    """A verdict is final; take the next worker's place."""
    sidecar.kill()
    Path(sidecar.directory / "state.json").unlink()
    sidecar.start()
