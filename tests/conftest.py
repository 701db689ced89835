"""Shared servers: one Redis a test, one RabbitMQ a session, a queue a test."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import RabbitServer, RedisServer
from tests.support.worker import Setting


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def rabbit(session_folder: Path) -> Iterator[RabbitServer]:
    server = RabbitServer(session_folder / "rabbit")
    yield server
    server.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture(params=["redis", "rabbit"])
def broker(request: pytest.FixtureRequest) -> Any:
    """Each broker in turn."""
    return request.getfixturevalue("redis_server" if request.param == "redis" else "rabbit")


@pytest.fixture
def setting(broker: Any, tmp_path: Path) -> Iterator[Setting]:
    """A setting on each broker in turn, with a queue of its own."""
    setting = Setting(broker.url, tmp_path / "s", queue=f"q-{uuid.uuid4().hex[:8]}")
    yield setting
    setting.close()
    if isinstance(broker, RabbitServer):
        broker.purge(setting.queue)


@pytest.fixture
def on_redis(redis_server: RedisServer, tmp_path: Path) -> Iterator[Setting]:
    """A setting on a Redis of its own."""
    setting = Setting(redis_server.url, tmp_path / "s")
    yield setting
    setting.close()


@pytest.fixture
def on_rabbit(rabbit: RabbitServer, tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(rabbit.url, tmp_path / "s", queue=f"q-{uuid.uuid4().hex[:8]}")
    yield setting
    setting.close()
    rabbit.purge(setting.queue)
