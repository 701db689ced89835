"""Settings, tokens, the store, the agent's small parts: no socket, no broker."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from drainer.agent import airflow, protocol, statefile
from drainer.core.clock import Now
from drainer.core.codec import encode_state
from drainer.core.drain import Policy, State, Trigger
from drainer.core.events import Requested
from drainer.core.machine import step
from drainer.core.phases import Phase
from drainer.errors import DirectoryTaken, DirectoryUnusable, SettingsError
from drainer.settings import load
from drainer.sidecar import store
from drainer.sidecar.install import install_agent
from drainer.sidecar.tokens import Tokens

ROOT = Path(__file__).parent.parent.parent


def test_flags_win_over_variables_and_both_over_defaults(tmp_path: Path) -> None:
    settings = load({"timeout": "2h"}, {"DRAINER_TIMEOUT": "3h", "DRAINER_CAP": "10h", "DRAINER_DIR": str(tmp_path)})
    assert (settings.timeout, settings.cap, settings.dir) == (7200, 36000, tmp_path)
    assert load({}, {}).timeout == 86400


def test_all_problems_are_told_at_once() -> None:
    wrong = {"DRAINER_TIMEOUT": "1", "DRAINER_LINK": "smoke", "DRAINER_TOKEN_FILE": "/nonexistent/token"}
    with pytest.raises(SettingsError) as error:
        load({"listen": "here", "cap": "0s"}, wrong)
    assert len(error.value.problems) == 5
    assert error.value.exit_code == 64


def test_a_timeout_beyond_the_cap_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="longer than --cap"):
        load({"timeout": "50h"}, {})


def test_tokens(tmp_path: Path) -> None:
    told: list[str | None] = []
    path = tmp_path / "token"
    tokens = Tokens(path, told.append)
    assert not tokens.accepts("")
    path.write_text("\n current \n\nprevious\nthird\n")
    assert tokens.accepts("current")
    assert tokens.accepts("previous")
    assert not tokens.accepts("third")
    assert not tokens.accepts("curren")
    path.write_text("\n")
    assert not tokens.accepts("")
    assert told[0] is not None
    assert "holds no token" in str(told[-1])


def test_one_sidecar_a_directory(tmp_path: Path) -> None:
    held = store.claim(tmp_path)
    with pytest.raises(DirectoryTaken):
        store.claim(tmp_path)
    held.close()
    store.claim(tmp_path).close()


def test_a_directory_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable, match="too long"):
        store.prepare(tmp_path / ("x" * 95))


def test_kill_9_at_any_instant_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """A process that saves all the time is killed at twenty random moments."""
    code = (
        "import sys; from pathlib import Path; from drainer.sidecar.store import Store\n"
        "from drainer.core.drain import State, Record\n"
        "store = Store(Path(sys.argv[1])); number = 0\n"
        "while True:\n"
        " number += 1\n"
        " store.save(State(history=tuple(Record(number, 'e', 'b', 'd' * 200) for _ in range(50))))\n"
        " print(number, flush=True)\n"
    )
    kept = store.Store(tmp_path)
    for moment in range(20):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment * 0.0013)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        state = kept.load()
        assert state is not None
        assert len({record.at for record in state.history}) == 1
        assert len(state.history) == 50


def test_an_unreadable_state_is_set_aside_under_a_new_name_each_time(tmp_path: Path) -> None:
    kept = store.Store(tmp_path)
    for number in (1, 2):
        (tmp_path / "state.json").write_text(f"damaged {number}")
        assert kept.set_aside() == f"state.json.unreadable-{number}"
        assert (tmp_path / f"state.json.unreadable-{number}").read_text() == f"damaged {number}"


def test_the_agent_reads_what_the_sidecar_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    assert statefile.must_not_consume(path) is None
    kept = store.Store(tmp_path)
    kept.save(State())
    assert statefile.must_not_consume(path) is None
    now = Now(1e9, 1.0, "b")
    draining, _ = step(State(), Requested("d-1", Trigger.OPERATOR, "me"), now, Policy())
    for phase in (Phase.DRAINING, Phase.DRAINED, Phase.EXPIRED):
        values = {**encode_state(draining), "phase": str(phase)}
        (tmp_path / "state.json").write_text(json.dumps(values))
        assert statefile.must_not_consume(path) == f"state.json says {phase}"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"phase": "serving"}', '{"version": 2, "phase": "serving"}', "\xff"]
)
def test_what_the_agent_does_not_understand_closes_the_gate(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_bytes(content.encode("latin-1"))
    assert statefile.must_not_consume(str(tmp_path / "state.json")) is not None


def test_the_agent_is_replaced_whole(tmp_path: Path) -> None:
    first = install_agent(tmp_path)
    (first / "old.py").write_text("")
    second = install_agent(tmp_path)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["drainer_agent"]
    assert not (second / "old.py").exists()
    assert {path.name for path in second.iterdir()} == {path.name for path in (ROOT / "drainer/agent").glob("*.py")}


INSTANCE = {"dag_id": "d", "task_id": "t", "run_id": "r", "try_number": 1, "map_index": -1}


def request(name: str, *args: object) -> SimpleNamespace:
    return SimpleNamespace(name=name, args=args)


def test_airflows_identity_without_its_token() -> None:
    workload = json.dumps({"token": "jwt", "ti": {**INSTANCE, "id": "x", "hostname": "h"}})
    assert airflow.identity(request("a.b.execute_workload", workload)) == INSTANCE
    command = ["airflow", "tasks", "run", "d", "t", "r", "--local", "--map-index", "4"]
    expected = {**INSTANCE, "try_number": None, "map_index": 4}
    assert airflow.identity(request("a.b.execute_command", command)) == expected


@pytest.mark.parametrize("args", [(), ("{",), ("[]",), ('{"ti": 5}',), ('{"callback": {}}',), (5,)])
def test_what_is_no_task_instance_has_no_identity(args: tuple[object, ...]) -> None:
    assert airflow.identity(request("a.b.execute_workload", *args)) is None
    assert airflow.identity(request("work", *args)) is None


def test_requests_of_the_agents_protocol() -> None:
    asked = protocol.parse(b'{"v": 1, "do": "terminate", "when": "now", "grace": 5, "later": true}')
    assert asked == {"do": "terminate", "id": None, "when": "now", "code": 3, "grace": 5.0}
    for line in (
        b"",
        b"[]",
        b'{"v": 1}',
        b'{"v": 1, "do": ["stop"]}',
        b'{"v": 1, "do": "stop", "id": {}}',
        b"[" * 100_000,
    ):
        with pytest.raises(protocol.BadRequest):
            protocol.parse(line)
