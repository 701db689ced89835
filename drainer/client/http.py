"""A small HTTP client on the standard library: over a Unix socket or TCP."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drainer.errors import DrainerError, NotAllowed, Refused, Unreachable

#: How long an ordinary answer may take, seconds.
TIMEOUT = 10.0
#: The longest silence on an event stream, seconds: the server speaks every 15 s.
STREAM_TIMEOUT = 40.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Speaks to one sidecar."""

    def __init__(self, place: str, token_file: str | None = None) -> None:
        self._place = place
        self._headers: dict[str, str] = {}
        token_file = token_file or os.environ.get("DRAINER_TOKEN_FILE")
        if token_file and place.startswith("http"):
            try:
                lines = Path(token_file).read_text().splitlines()
            except OSError as exc:
                raise NotAllowed(f"the token file can't be read: {exc.strerror}") from exc
            self._headers["authorization"] = f"Bearer {lines[0].strip() if lines else ''}"

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if not self._place.startswith("http"):
            return _UnixConnection(self._place, timeout)
        url = urlsplit(self._place)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname or "", url.port, timeout=timeout)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer.

        Raises:
            Unreachable, NotAllowed, Refused (a problem of the state machine or the body).
        """
        connection = self._connection(TIMEOUT)
        try:
            response = self._send(connection, method, path, body)
            raw = response.read(8 * 1024 * 1024)
        except (OSError, http.client.HTTPException) as exc:
            raise Unreachable(f"no sidecar answers at {self._place}") from exc
        finally:
            connection.close()
        return _answer(response.status, raw, self._place)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None
    ) -> http.client.HTTPResponse:
        headers = dict(self._headers)
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        connection.request(method, path, data, headers)
        return connection.getresponse()

    def status(self) -> dict[str, Any]:
        return self.request("GET", "/v1/status")

    def events(self, timeout: float = STREAM_TIMEOUT) -> Iterator[dict[str, Any]]:
        """Statuses as they change; ends when the sidecar does.

        Raises:
            Unreachable: from the start. TimeoutError: silence longer than `timeout` seconds.
        """
        connection = self._connection(timeout)
        try:
            try:
                response = self._send(connection, "GET", "/v1/events", None)
            except (OSError, http.client.HTTPException) as exc:
                raise Unreachable(f"no sidecar answers at {self._place}") from exc
            if response.status != 200:
                _answer(response.status, response.read(65536), self._place)
            yield from _statuses(response)
        finally:
            connection.close()


def _statuses(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while True:
        try:
            line = response.readline()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return
        if not line:
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def _answer(status: int, raw: bytes, place: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(raw)
    except ValueError:
        raise Unreachable(f"what answers at {place} is no drainer sidecar") from None
    if status < 400:
        return values
    detail = str(values.get("detail", f"HTTP {status}"))
    if status in (401, 403):
        raise NotAllowed(detail)
    if status >= 500:
        raise DrainerError(detail, str(values.get("hint", "")))
    refusal = Refused(str(values.get("code")), detail, str(values.get("hint", "")))
    if status in (400, 413) or values.get("code") in ("invalid-field", "unknown-field"):
        refusal.exit_code = 64
    raise refusal
