"""Every metric: name, help, labels, in one file; a registry of its own, no globals."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from drainer.core.phases import Phase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STOP_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30)
_DRAIN_BUCKETS = (1, 10, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 48 * 3600)


class Metrics:
    """The metrics of one sidecar."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.phase = Gauge(
            "drainer_phase",
            "1 for the phase that the worker is in, 0 for the others.",
            ["phase"],
            registry=self.registry,
        )
        self.running = Gauge("drainer_running_tasks", "Tasks that run in the worker now.", registry=self.registry)
        self.reserved = Gauge(
            "drainer_reserved_tasks", "Tasks that the worker holds and has not started.", registry=self.registry
        )
        self.stop_seconds = Histogram(
            "drainer_stop_seconds",
            "From the request of a drain to not consuming, verified.",
            buckets=_STOP_BUCKETS,
            registry=self.registry,
        )
        self.drain_seconds = Histogram(
            "drainer_drain_seconds",
            "From the request of a drain to its verdict.",
            ["verdict"],
            buckets=_DRAIN_BUCKETS,
            registry=self.registry,
        )
        self.orphans = Counter(
            "drainer_orphans", "Tasks cut off by a drain, by what became of them.", ["outcome"], registry=self.registry
        )
        self.link_up = Gauge("drainer_link_up", "1 while the worker answers.", ["link"], registry=self.registry)
        self.last_contact = Gauge(
            "drainer_last_contact_timestamp_seconds", "When the worker last answered (epoch).", registry=self.registry
        )
        self.deadline = Gauge(
            "drainer_deadline_timestamp_seconds", "Deadline of the drain (epoch); 0 for none.", registry=self.registry
        )
        self.released = Gauge("drainer_released", "1 once the worker may die.", registry=self.registry)
        self.problems = Gauge("drainer_problems", "Problems that the status names now.", registry=self.registry)
        for link in ("agent", "pidbox"):
            self.link_up.labels(link).set(0)
        self.show_phase(Phase.SERVING)

    def show_phase(self, phase: Phase) -> None:
        for one in Phase:
            self.phase.labels(one).set(1 if one is phase else 0)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
