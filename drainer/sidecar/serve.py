"""uvicorn, made to live as long as the sidecar does, with a limit on slow clients."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from drainer.errors import CantListen

#: How long a client may take to send the head of a request, seconds.
HEAD_TIME = 10.0


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose request's head doesn't arrive in time (uvicorn waits for ever)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIME, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """A uvicorn server that leaves SIGTERM alone: the sidecar answers until it exits.

    ``capture_signals`` is not a documented switch of uvicorn (facts/styles.md 13);
    tests/integration/test_sigterm.py breaks when it stops being one.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """Stop serving."""
        self.should_exit = True
        if self._leaving is not None:
            self._leaving.set()

    _leaving: asyncio.Event | None = None

    async def main_loop(self) -> None:
        """Without uvicorn's ten ticks a second, which are most of an idle sidecar's CPU."""
        self._leaving = asyncio.Event()
        if not self.should_exit:
            await self._leaving.wait()


def server(app: Starlette) -> Server:
    """A server for `app`; give it a bound socket to serve."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # it would need a tick a second
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
        limit_concurrency=256,
        h11_max_incomplete_event_size=32 * 1024,
    )
    return Server(config)


def tcp_socket(listen: str) -> socket.socket:
    """A listening socket at HOST:PORT.

    Raises:
        CantListen: the address is taken or not ours.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
    except OSError as exc:
        sock.close()
        raise CantListen(f"can't listen on {listen}: {exc.strerror}") from exc
    sock.listen(128)
    return sock


def unix_socket(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600, put in place of a stale one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f".s.{os.getpid()}")  # short: the whole path has at most 107 bytes
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    mask = os.umask(0o177)
    try:
        sock.bind(str(fresh))
    finally:
        os.umask(mask)
    sock.listen(128)
    fresh.rename(path)
    return sock


def address(sock: socket.socket) -> str:
    """HOST:PORT of a bound socket."""
    name: Any = sock.getsockname()
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
