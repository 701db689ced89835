"""The HTTP API of a real sidecar: tokens, limits, problems, streams; no worker is needed."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import free_port
from tests.support.waiting import eventually
from tests.support.worker import Setting, SidecarProcess

TOKEN = "the-current-token"


class Served:
    """A sidecar with a token on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.token_file = folder / "token"
        self.token_file.write_text(f"{TOKEN}\nthe-previous-token\n")
        self.setting = Setting("memory://", folder / "s")
        flags = ("--listen", f"127.0.0.1:{self.port}", "--token-file", str(self.token_file))
        self.sidecar: SidecarProcess = self.setting.sidecar(folder / "dir", *flags)

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            raw = response.read()
            kind = response.getheader("content-type") or ""
            return response.status, json.loads(raw) if "json" in kind else raw.decode()
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.setting.close()


def test_questions_need_no_token_orders_do(served: Served) -> None:
    assert served.ask("GET", "/livez", token=None) == (200, "alive\n")
    assert served.ask("GET", "/readyz", token=None) == (200, "ready\n")
    status, text = served.ask("GET", "/metrics", token=None)
    assert status == 200
    assert 'drainer_phase{phase="serving"} 1.0' in text
    for method, path in [("GET", "/v1/status"), ("POST", "/v1/drain"), ("DELETE", "/v1/drain"), ("POST", "/v1/force")]:
        for token in (None, "", "wrong", "the-current-toke", f"{TOKEN}x", "ünïcode"):
            status, problem = served.ask(method, path, token=token and token.encode().decode("latin-1"))
            assert (status, problem["code"], problem["status"]) == (401, "unauthorized", 401)
    assert served.ask("GET", "/v1/status")[1]["phase"] == "serving"


def test_two_tokens_in_one_request_are_none(served: Served) -> None:
    with served.raw() as sock:
        header = f"Authorization: Bearer {TOKEN}\r\n"
        sock.sendall(f"GET /v1/status HTTP/1.1\r\nHost: x\r\n{header}{header}Connection: close\r\n\r\n".encode())
        assert b" 401 " in sock.makefile("rb").readline()


def test_the_previous_token_holds_until_the_file_changes(served: Served) -> None:
    assert served.ask("GET", "/v1/status", token="the-previous-token")[0] == 200
    served.token_file.write_text("a-new-token\n")
    eventually(lambda: served.ask("GET", "/v1/status", token="a-new-token")[0] == 200, 5)
    assert served.ask("GET", "/v1/status", token=TOKEN)[0] == 401
    served.token_file.unlink()
    assert served.ask("GET", "/v1/status", token="a-new-token")[0] == 401
    status = served.sidecar.status()
    assert status is not None
    assert [problem["code"] for problem in status["problems"]] == ["token-unreadable"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no json", 400, "not-json"),
        (b"[]", 400, "not-json"),
        (b'"x"', 400, "not-json"),
        (b"\xff\xfe", 400, "not-json"),
        (b'{"timeout": NaN}', 400, "not-json"),
        ({"when": "now"}, 422, "unknown-field"),
        ({"timeout": 60}, 422, "invalid-field"),
        ({"timeout": "soon"}, 422, "invalid-field"),
        ({"timeout": "-5s"}, 422, "invalid-field"),
        ({"deadline": "2026-11-22"}, 422, "invalid-field"),
        ({"deadline": "2026-11-22T00:00:00"}, 422, "invalid-field"),
        ({"timeout": "1h", "deadline": "never"}, 422, "invalid-field"),
        ({"reason": 5}, 422, "invalid-field"),
        ({"reason": "x" * 501}, 422, "invalid-field"),
        ({"by": "a\nb"}, 422, "invalid-field"),
        ({"id": "../../x"}, 422, "invalid-field"),
        ({"deadline": "2001-01-01T00:00:00Z"}, 422, "deadline-in-the-past"),
        ({"timeout": "0s"}, 422, "deadline-in-the-past"),
        ({"timeout": "49h"}, 422, "deadline-beyond-cap"),
        ({"timeout": "9999999999999999h"}, 422, "deadline-beyond-cap"),
    ],
)
def test_bad_bodies_get_a_clear_answer_and_change_nothing(served: Served, body: Any, status: int, code: str) -> None:
    found, problem = served.ask("POST", "/v1/drain", body)
    assert (found, problem["code"]) == (status, code)
    assert problem["type"] == f"https://drainer.dev/problems/{code}"
    assert problem["detail"]
    state = served.ask("GET", "/v1/status")[1]
    assert (state["phase"], state["drain"], state["history"]) == ("serving", None, [])


def test_orders_in_the_wrong_phase(served: Served) -> None:
    for method, path in [("DELETE", "/v1/drain"), ("POST", "/v1/force"), ("PATCH", "/v1/drain")]:
        assert served.ask(method, path)[1]["code"] == "nothing-drains"
    status, first = served.ask("POST", "/v1/drain", {"timeout": "1h", "reason": "why", "by": "me"})
    assert (status, first["phase"], first["drain"]["reason"]) == (202, "draining", "why")
    status, second = served.ask("POST", "/v1/drain", {"timeout": "2h"})
    assert (status, second["drain"]["id"]) == (200, first["drain"]["id"])
    assert 7190 < second["drain"]["remaining_seconds"] <= 7200
    assert served.ask("DELETE", "/v1/drain")[1]["phase"] == "serving"
    served.ask("POST", "/v1/drain")
    assert served.ask("POST", "/v1/force")[0] == 202
    status, problem = served.ask("POST", "/v1/force")
    assert (status, problem["code"]) == (409, "verdict-reached")
    assert served.ask("DELETE", "/v1/drain")[1]["code"] == "verdict-reached"


def test_a_large_body_is_refused_early(served: Served) -> None:
    with served.raw() as sock:
        head = f"POST /v1/drain HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Length: {10 * 2**20}\r\n\r\n"
        sock.sendall(head.encode())
        assert b" 413 " in sock.makefile("rb").readline()
    status, problem = served.ask("POST", "/v1/drain", b"x" * 100_000)
    assert (status, problem["code"]) == (413, "too-large")


def test_slow_and_half_open_clients_hold_nothing_up(served: Served) -> None:
    slow = []
    for sent in (b"", b"GET /livez", b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"):
        for _ in range(20):
            sock = served.raw()
            sock.sendall(sent)
            slow.append(sock)
    start = time.monotonic()
    assert served.ask("GET", "/livez")[0] == 200
    assert time.monotonic() - start < 2
    for sock in slow:  # each is answered or closed within its time
        sock.settimeout(15)
        data = sock.recv(100)
        assert data == b"" or b" 401 " in data or b" 408 " in data
        sock.close()


def test_paths_and_methods_that_are_not_there(served: Served) -> None:
    assert served.ask("GET", "/v1/nothing")[1]["code"] == "not-found"
    assert served.ask("PUT", "/v1/drain")[1]["code"] == "method-not-allowed"


def test_the_stream_tells_each_change(served: Served) -> None:
    events = served.sidecar.client.events(10)
    assert next(events)["phase"] == "serving"
    served.sidecar.drain(reason="deploy")
    assert next(status for status in events if status["phase"] == "draining")["drain"]["reason"] == "deploy"
    events.close()


def test_the_document_is_the_one_that_is_checked_in(served: Served) -> None:
    status, document = served.ask("GET", "/openapi.json", token=None)
    kept = Path(__file__).parent.parent.parent / "docs/reference/openapi.json"
    assert status == 200
    assert document == json.loads(kept.read_text())


def test_it_goes_on_answering_after_sigterm(on_redis: Setting) -> None:
    """Uvicorn would close its listener: `serve.Server.capture_signals` must go on preventing that."""
    port = free_port()
    worker = on_redis.worker()
    sidecar = on_redis.sidecar(worker.directory, "--listen", f"127.0.0.1:{port}")
    on_redis.send_work(range(1), 3)
    sidecar.until(lambda s: s["running"], 20)
    sidecar.process.terminate()
    sidecar.until(lambda s: s["terminating"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    connection.close()
    assert sidecar.process.wait(15) == 0


def test_without_a_token_only_loopback_is_listened_on(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "drainer", "sidecar", "--dir", str(tmp_path / "d"), "--listen", "0.0.0.0:0"]
    command += ["--timeout", "3x", "--log-level", "loud"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 64
    assert "--listen: without --token-file only a loopback address" in done.stderr
    assert "--timeout" in done.stderr
    assert "--log-level" in done.stderr
    assert not (tmp_path / "d").exists()
