"""Brokers that a test starts and stops itself, on free ports."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import redis

from tests.support.waiting import eventually


def need(program: str, package: str) -> str:
    """The path of a server; skips, naming what is missing, or fails when CI=true."""
    for place in (shutil.which(program), f"/usr/sbin/{program}", f"/usr/lib/rabbitmq/bin/{program}"):
        if place and os.access(place, os.X_OK):
            return place
    return missing(f"{program} is missing: apt-get install {package}")


def need_module(name: str) -> None:
    """Skips where a module isn't installed, naming it; fails when CI=true."""
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is missing: pip install {name}")


def missing(message: str) -> NoReturn:
    """Skip, or fail when CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """A Redis of our own. aof: keeps its data over a kill. tls: certificate files."""

    def __init__(self, folder: Path, aof: bool = False, tls: "Certificates | None" = None, extra: tuple[str, ...] = ()):
        self._program = need("redis-server", "redis-server")
        self.folder, self.port, self._tls = folder, free_port(), tls
        folder.mkdir(parents=True, exist_ok=True)
        self._arguments = ["--dir", str(folder), "--save", "", "--bind", "127.0.0.1", "--loglevel", "warning"]
        if aof:
            self._arguments += ["--appendonly", "yes", "--appendfsync", "always"]
        if tls is None:
            self._arguments += ["--port", str(self.port)]
        else:
            self._arguments += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            self._arguments += ["--tls-cert-file", tls.cert, "--tls-key-file", tls.key, "--tls-ca-cert-file", tls.ca]
        self._arguments += extra
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        if self._tls is not None:
            return f"rediss://127.0.0.1:{self.port}/0?ssl_cert_reqs=required&ssl_ca_certs={self._tls.ca}"
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        with open(self.folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen([self._program, *self._arguments], stdout=log, stderr=log)

        def up() -> bool:
            with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
                return bool(client.ping())
            return False

        eventually(up, 15, "redis answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def length(self, queue: str = "celery") -> int:
        with self.client() as client:
            return int(client.llen(queue))

    def unacked(self) -> int:
        with self.client() as client:
            return int(client.hlen("unacked"))

    def cut_connections(self) -> None:
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind)


class RabbitServer:
    """A RabbitMQ node of our own, with a port mapper of its own."""

    url_user = "guest:guest"

    def __init__(self, folder: Path):
        self._program = need("rabbitmq-server", "rabbitmq-server")
        self.port, self._dist, self._epmd = free_port(), free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "rabbitmq.conf").write_text("vm_memory_high_watermark.absolute = 1GB\n")
        self._environ = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"drainer{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://{self.url_user}@127.0.0.1:{self.port}//"

    def start(self) -> None:
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the Debian wrapper changes the user
        with open(self.folder / "out.log", "ab") as log:
            self._process = subprocess.Popen(
                [str(program) if program.exists() else self._program],
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._up, 90, "rabbitmq answers")

    def _up(self) -> bool:
        import kombu

        try:
            with kombu.Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except Exception:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        epmd = shutil.which("epmd")
        if epmd:  # Erlang's port mapper, a daemon of its own
            eventually(lambda: b"Killed" in self._kill_epmd(epmd) or not self._epmd_up(), 10, "epmd is gone")

    def _kill_epmd(self, epmd: str) -> bytes:
        command = [epmd, "-port", str(self._epmd), "-kill"]
        return subprocess.run(command, capture_output=True, check=False).stdout

    def _epmd_up(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self._epmd)) == 0

    def length(self, queue: str = "celery") -> int:
        import kombu

        with kombu.Connection(self.url) as connection, connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except connection.channel_errors:
                return 0

    def purge(self, queue: str) -> None:
        import kombu

        with kombu.Connection(self.url) as connection:
            with connection.channel() as channel, contextlib.suppress(Exception):
                channel.queue_delete(queue)


class Sentinel:
    """A Sentinel that watches one Redis as ``mymaster``."""

    def __init__(self, folder: Path, master: RedisServer):
        program = need("redis-sentinel", "redis-sentinel")
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 3000\n"
        )
        with open(folder / "sentinel.log", "ab") as log:
            self._process = subprocess.Popen([program, str(config)], stdout=log, stderr=log)

        def up() -> bool:
            with contextlib.suppress(redis.RedisError, OSError), redis.Redis(port=self.port) as client:
                return bool(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"))
            return False

        eventually(up, 15, "sentinel answers")

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Certificates:
    """A certificate for 127.0.0.1, signed by itself."""

    def __init__(self, folder: Path):
        openssl = need("openssl", "openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self.cert = self.ca = str(folder / "cert.pem")
        self.key = str(folder / "key.pem")
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
            + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.key, "-out", self.cert],
            check=True,
            capture_output=True,
        )


@contextlib.contextmanager
def stopping(server: "RedisServer | RabbitServer | Sentinel") -> Iterator["RedisServer | RabbitServer | Sentinel"]:
    try:
        yield server
    finally:
        server.stop()
