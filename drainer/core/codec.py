"""State to JSON values and back: the content of ``state.json``, version 1.

The agent reads ``version`` and ``phase`` of the same file (drainer/agent/statefile.py).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drainer.core.clock import Instant
from drainer.core.drain import Drain, Record, State, Trigger
from drainer.core.phases import Phase
from drainer.core.workload import AirflowIdentity, Orphan, Outcome

VERSION = 1


class Unreadable(ValueError):
    """The values are not a state that this version understands."""


def encode_state(state: State) -> dict[str, Any]:
    """The parts of `state` that must survive the sidecar, as JSON values."""
    return {
        "version": VERSION,
        "phase": str(state.phase),
        "terminating": state.terminating,
        "intent": state.intent,
        "drain": None if state.drain is None else asdict(state.drain),
        "history": [asdict(record) for record in state.history],
    }


def decode_state(values: Any) -> State:
    """The state of `values`.

    Raises:
        Unreadable: damaged, or of a version of the future; never a guess.
    """
    try:
        if values["version"] != VERSION:
            raise Unreadable(f"state.json has version {str(values['version'])[:20]}, this drainer knows {VERSION}")
        drain = values["drain"]
        state = State(
            phase=Phase(values["phase"]),
            drain=None if drain is None else _drain(drain),
            terminating=bool(values["terminating"]),
            history=tuple(_record(record) for record in values["history"]),
            intent=values["intent"],
        )
    except Unreadable:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise Unreadable("state.json is damaged") from exc
    if (state.drain is None) is not (state.phase is Phase.SERVING):
        raise Unreadable("state.json contradicts itself: its phase and its drain don't fit")
    return state


def _drain(values: Mapping[str, Any]) -> Drain:
    return Drain(
        id=_text(values["id"]),
        trigger=Trigger(values["trigger"]),
        by=_text(values["by"]),
        reason=_text(values["reason"]),
        requested=_instant(values["requested"]),
        deadline=_maybe(values["deadline"]),
        operator_deadline=bool(values["operator_deadline"]),
        stopped=_maybe(values["stopped"]),
        ended=_maybe(values["ended"]),
        released=_maybe(values["released"]),
        orphans=tuple(_orphan(orphan) for orphan in values["orphans"]),
    )


def _instant(values: Mapping[str, Any]) -> Instant:
    return Instant(float(values["wall"]), float(values["boot"]), _text(values["boot_id"]))


def _maybe(values: Mapping[str, Any] | None) -> Instant | None:
    return None if values is None else _instant(values)


def _orphan(values: Mapping[str, Any]) -> Orphan:
    airflow = values["airflow"]
    return Orphan(
        id=_text(values["id"]),
        name=_text(values["name"]),
        started=values["started"],
        elapsed=values["elapsed"],
        outcome=Outcome(values["outcome"]),
        airflow=None if airflow is None else AirflowIdentity(**airflow),
    )


def _record(values: Mapping[str, Any]) -> Record:
    return Record(
        float(values["at"]), _text(values["event"]), _text(values["by"]), _text(values["detail"]), values["drain"]
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value
