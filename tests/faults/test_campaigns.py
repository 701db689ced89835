"""Drains at random moments under a load that never stops; see tests/support/campaign.py."""

import os
import random
import uuid
from pathlib import Path

import pytest

from tests.support.campaign import Campaign
from tests.support.servers import RabbitServer, RedisServer
from tests.support.worker import Setting

#: Drains in all; 500 in `tox -e soak`.
DRAINS = int(os.environ.get("DRAINER_TEST_DRAINS", "40"))
SEED = int(os.environ.get("DRAINER_TEST_SEED", "20261122"))

#: (broker, children, prefetch multiplier, acks late, link); each plays an equal share.
CAMPAIGNS = [
    ("redis", 4, 4, True, "agent"),
    ("rabbit", 4, 4, True, "agent"),
    ("redis", 16, 1, False, "agent"),
    ("rabbit", 16, 16, False, "agent"),
    ("redis", 4, 16, True, "agent"),
    ("rabbit", 4, 1, True, "agent"),
    ("redis", 4, 4, False, "pidbox"),
]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "children", "multiplier", "late", "link"), CAMPAIGNS)
def test_every_message_runs_once_and_only_once(
    kind: str, children: int, multiplier: int, late: bool, link: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = RedisServer(tmp_path / "redis", aof=True) if kind == "redis" else request.getfixturevalue("rabbit")
    conf = {"worker_prefetch_multiplier": multiplier, "task_acks_late": late}
    if kind == "redis":
        # What a broker's outage leaves in `unacked` comes back soon enough to be counted.
        conf["broker_transport_options"] = {
            "visibility_timeout": 40,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
        }
    setting = Setting(server.url, tmp_path / "s", queue=f"q-{uuid.uuid4().hex[:8]}", conf=conf)
    share = max(1, round(DRAINS / len(CAMPAIGNS) * (0.4 if link == "pidbox" else 1.1)))
    rng = random.Random(f"{SEED}-{kind}-{children}-{multiplier}-{late}-{link}")
    try:
        report = Campaign(setting, server, rng, children, share, late, link).play()
        print(f"\ncampaign {kind} {children}x{multiplier} late={late} {link}: {report}")
    finally:
        setting.close()
        if isinstance(server, RabbitServer):
            server.purge(setting.queue)
        else:
            server.stop()
