"""Which link: the agent when it answers, else the broker where it is given."""

from drainer import clock
from drainer.core.clock import Instant
from drainer.errors import LinkError
from drainer.links.agent import AgentLink, socket_exists
from drainer.ports import Link
from drainer.settings import SidecarSettings
from drainer.sidecar.brain import Brain

#: What a worker that a drain has expired ends with.
EXPIRED_EXIT = 3


class Chooser:
    """Called for each attempt to connect."""

    def __init__(self, settings: SidecarSettings, brain: Brain) -> None:
        self._settings, self._brain = settings, brain
        self._started = Instant.of(clock.read())

    def __call__(self) -> Link:
        return self._pidbox() if self._use_pidbox() else AgentLink(self._settings.dir, EXPIRED_EXIT)

    def _use_pidbox(self) -> bool:
        if self._settings.link != "auto":
            return self._settings.link == "pidbox"
        if socket_exists(self._settings.dir):
            self._brain.problems.clear("agent-not-loaded")
            return False
        waited = -self._started.seconds_until(clock.read())
        if waited < self._settings.agent_wait:
            return False
        broker = bool(self._settings.broker_url or self._settings.broker_url_file)
        self._brain.problems.put(
            "agent-not-loaded",
            f"no agent within {self._settings.agent_wait:g} s; "
            + ("using the broker instead" if broker else "and no broker is given for pidbox"),
        )
        return broker

    def _pidbox(self) -> Link:
        try:
            from drainer.links.pidbox import BrokerAccess, PidboxLink
        except ImportError as exc:
            raise LinkError("the pidbox link needs celery: pip install 'drainer[pidbox]'") from exc
        try:
            url = self._settings.broker()
        except OSError as exc:
            raise LinkError("the file with the broker's URL can't be read") from exc
        if not url:
            raise LinkError("no broker is given: --broker-url-file or DRAINER_BROKER_URL")
        return PidboxLink(
            BrokerAccess(
                url=url,
                worker=self._settings.worker,
                key_prefix=self._settings.broker_key_prefix,
                control_exchange=self._settings.broker_control_exchange,
                ca_file=str(self._settings.broker_ca_file) if self._settings.broker_ca_file else None,
                sentinel_master=self._settings.broker_sentinel_master,
                brpop_timeout=self._settings.brpop_timeout,
            )
        )
