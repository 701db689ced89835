"""Problems that stand now: shown in the status until they are gone."""

from collections.abc import Callable
from dataclasses import dataclass

#: code: what to do about it. The codes are stable.
ADVICE = {
    "no-link": "check that the worker runs and loads the agent, or give the broker for pidbox",
    "agent-not-loaded": "the worker has --include/-I or starts by worker_main: put drainer_agent into its include",
    "agent-incompatible": "install the agent of this version: `drainer agent install DIR`, then restart the worker",
    "intent-malformed": "the annotation drainer.dev/drain is not valid; nothing was changed",
    "intent-refused": "the drain that the annotation asks for is refused; nothing was changed",
    "state-not-saved": "the directory is full or gone: a restart of the sidecar would forget this drain",
    "state-unreadable": "not consuming until a person decides: `drainer cancel` to serve, `drainer drain` to drain",
    "token-unreadable": "the token file can't be read: every request is refused",
    "worker-silent": "the worker doesn't answer: unknown, not idle",
}


@dataclass(frozen=True)
class Problem:
    code: str
    detail: str

    @property
    def advice(self) -> str:
        return ADVICE.get(self.code, "")


class Problems:
    """The set of standing problems, one a code."""

    def __init__(self, on_change: Callable[[Problem, bool], None]) -> None:
        self._standing: dict[str, Problem] = {}
        self._on_change = on_change

    def put(self, code: str, detail: str) -> None:
        problem = Problem(code, detail)
        if self._standing.get(code) != problem:
            self._standing[code] = problem
            self._on_change(problem, True)

    def clear(self, *codes: str) -> None:
        for code in codes:
            problem = self._standing.pop(code, None)
            if problem is not None:
                self._on_change(problem, False)

    def standing(self) -> list[Problem]:
        return list(self._standing.values())
