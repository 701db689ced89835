"""The figures of issue 3, on a real Redis and a real worker."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import Celery

from tests.support.servers import RedisServer
from tests.support.waiting import eventually
from tests.support.worker import ROOT, Setting, Worker


@dataclass(frozen=True)
class Row:
    """One figure; values are texts for people, reached is the judgement."""

    name: str
    ours: str
    plain: str
    reach: str
    reached: bool

    def line(self) -> str:
        missed = "" if self.reached else "NOT REACHED"
        return f"{self.name:<52} {self.ours:>22} {self.plain:>30} {self.reach:>16}  {missed}"


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


@contextlib.contextmanager
def on_redis(folder: Path) -> Iterator[tuple[Setting, RedisServer]]:
    server = RedisServer(folder / "redis")
    setting = Setting(server.url, folder / "s")
    try:
        yield setting, server
    finally:
        setting.close()
        server.stop()


def stop(folder: Path) -> list[Row]:
    """Request to verified not consuming, all children busy; beside `celery control`."""
    rows = []
    for children in (4, 16):
        with on_redis(folder / str(children)) as (setting, _):
            worker = setting.worker(concurrency=children)
            agent = worker.agent()
            setting.send_work(range(children), 120)
            eventually(lambda n=children: len(agent.ask("status")["running"]) == n, 30)
            times = []
            for number in range(100):
                start = time.perf_counter()
                assert agent.ask("stop", drain=f"d-{number}")["verified"]
                times.append(time.perf_counter() - start)
                agent.ask("resume")
                time.sleep(0.02)
            plain = []
            command = [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "tests.support.app",
                "control",
                "cancel_consumer",
                "celery",
            ]
            for _ in range(3):
                start = time.perf_counter()
                subprocess.run(command, env=setting.environ(), cwd=ROOT, capture_output=True, check=True)
                plain.append(time.perf_counter() - start)
            median, worst = statistics.median(times), p99(times)
            rows.append(
                Row(
                    f"request to verified not consuming, {children} busy",
                    f"{ms(median)} / p99 {ms(worst)}",
                    f"celery control {ms(statistics.median(plain))}",
                    "5 / p99 50 ms",
                    median <= 0.005 and worst <= 0.05,
                )
            )
    return rows


def release(folder: Path) -> list[Row]:
    """Last task ends to released, less the settle time; beside polling `inspect active` at 1 Hz."""
    times = []
    with on_redis(folder) as (setting, _):
        settle = 0.05
        for number in range(20):
            worker = setting.worker(f"w{number}", concurrency=1)
            sidecar = setting.sidecar(worker.directory, "--settle", "50ms")
            sidecar.connected()
            setting.send_work(range(number, number + 1), 0.6)
            sidecar.until(lambda s: s["running"])
            sidecar.drain()
            released = worker.directory / "released"
            while not released.exists():
                time.sleep(0.001)
            seen = released.stat().st_mtime
            ended = [float(line[3]) for line in setting.ledger.lines() if line[:2] == ["end", str(number)]][0]
            times.append(seen - ended - settle)
            worker.close()
            sidecar.close()
    median, worst = statistics.median(times), p99(times)
    row = Row(
        "last task ends to released, after the settle time",
        f"{ms(median)} / p99 {ms(worst)}",
        "inspect at 1 Hz: 500 ms mean",
        "p99 100 ms",
        worst <= 0.1,
    )
    return [row]


def gone(folder: Path) -> list[Row]:
    """Released to worker process gone; beside a warm shutdown of an empty worker."""
    times, plain = [], []
    with on_redis(folder) as (setting, _):
        for number in range(20):
            worker = setting.worker(f"w{number}")
            agent = worker.agent()
            agent.ask("stop", drain="d")
            start = time.perf_counter()
            agent.ask("terminate", when="empty")
            worker.process.wait(10)
            times.append(time.perf_counter() - start)
        for number in range(3):
            worker = setting.worker(f"p{number}", agent=False)
            start = time.perf_counter()
            worker.process.terminate()
            worker.process.wait(20)
            plain.append(time.perf_counter() - start)
    return [
        Row(
            "released to worker process gone",
            f"{ms(statistics.median(times))} / p99 {ms(p99(times))}",
            f"warm shutdown {ms(statistics.median(plain))}",
            "p99 300 ms",
            p99(times) <= 0.3,
        )
    ]


def handback(folder: Path) -> list[Row]:
    """Thirty prefetched messages on Redis: how long the loop is held, and their order; beside one by one."""
    script = (
        "import os\n"
        "from drainer_agent import handback, handback_redis\n"
        "import time\n"
        "plain = handback_redis._push\n"
        "def one_by_one(channel, prefix, arguments):\n"
        "    for tag in arguments[0::3]: channel.qos.restore_by_tag(tag, leftmost=False)\n"
        "give = handback.Returning.give_chunk\n"
        "def timed(self, consumer):\n"
        "    count = len(self); start = time.perf_counter(); give(self, consumer)\n"
        "    open(os.environ['BENCH_OUT'], 'a').write(f'{count} {time.perf_counter() - start}\\n')\n"
        "handback.Returning.give_chunk = timed\n"
        "if os.environ.get('BENCH_PLAIN'): handback_redis._push = one_by_one\n"
    )
    found: dict[str, list[float]] = {"": [], "1": []}
    ordered = True
    for plain in ("", "1"):
        with on_redis(folder / f"h{plain}") as (setting, server):
            (setting.folder / "bench_hook.py").write_text(script)
            out = setting.folder / "out"
            for number in range(10):
                environ = {
                    "BENCH_OUT": str(out),
                    "BENCH_PLAIN": plain,
                    "PYTHONPATH": f"{setting.folder}/agent:{setting.folder}:{ROOT}",
                    "CELERY_WORKER_INCLUDE": "drainer_agent,bench_hook",
                }
                setting.conf = {"task_acks_late": True}
                setting.send_work(range(100 * number, 100 * number + 32), 30)
                worker = setting.worker(f"w{plain}{number}", options=("--prefetch-multiplier", "16"), environ=environ)
                agent = worker.agent()
                eventually(lambda agent=agent: len(agent.ask("status")["reserved"]) == 30, 20)
                agent.ask("stop", drain="d")
                eventually(lambda agent=agent: agent.ask("status")["returned"] == 30, 10)
                if not plain:
                    ordered = ordered and _order(server) == sorted(_order(server))
                worker.close()
                with server.client() as client:
                    client.flushall()
            found[plain] = [float(line.split()[1]) for line in out.read_text().splitlines() if line.startswith("30 ")]
    ours, other = found[""], found["1"]
    return [
        Row(
            "hand-back of 30 on Redis: the loop is held",
            f"{ms(statistics.median(ours))} / max {ms(max(ours))}",
            f"restore_by_tag {ms(statistics.median(other))}",
            "50 ms, in order",
            max(ours) <= 0.05 and ordered,
        )
    ]


def _order(server: RedisServer) -> list[int]:
    with server.client() as client:
        raw = client.lrange("celery", 0, -1)
    return [int(json.loads(item)["headers"]["argsrepr"].strip("[]()").split(",")[0]) for item in reversed(raw)]


def commands(folder: Path) -> list[Row]:
    """Broker commands caused by a drain with the agent, and while waiting; beside a worker that isn't drained."""
    with on_redis(folder) as (setting, server):
        worker = setting.worker(concurrency=1, options=("--without-gossip", "--without-mingle", "--without-heartbeat"))
        sidecar = setting.sidecar(worker.directory)
        sidecar.connected()
        setting.send_work(range(1), 60)
        sidecar.until(lambda s: s["running"])

        def during(seconds: float) -> int:
            before = _calls(server)
            time.sleep(seconds)
            return _calls(server) - before

        idle = during(5)
        before = _calls(server)
        sidecar.drain()
        sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
        time.sleep(0.2)
        caused = _calls(server) - before
        waiting = during(5)
    return [
        Row("broker commands caused by one drain", str(caused), "", "O(1)", caused <= 20),
        Row(
            "broker commands while waiting, 5 s",
            str(waiting),
            f"not draining: {idle}",
            "none",
            waiting <= idle and waiting <= 3,
        ),
    ]


def _calls(server: RedisServer) -> int:
    with redis.Redis(port=server.port, single_connection_client=True) as client:
        stats = client.info("commandstats")
    ignored = ("info", "client|setinfo", "hello", "client", "ping", "select")
    return sum(value["calls"] for name, value in stats.items() if name.removeprefix("cmdstat_") not in ignored)


def cost(folder: Path) -> list[Row]:
    """Throughput of empty tasks with and without the agent, in paired runs."""
    count, rounds = int(os.environ.get("BENCH_TASKS", "3000")), int(os.environ.get("BENCH_ROUNDS", "5"))
    ratios = []
    with on_redis(folder) as (setting, server):
        for number in range(rounds):
            pair = {}
            order = (True, False) if number % 2 else (False, True)
            for agent in order:
                pair[agent] = _main_cpu(setting, server, count, f"{'a' if agent else 'p'}{number}", agent)
            ratios.append(pair[True] / pair[False] - 1)
    median = statistics.median(ratios)
    spread = f"{min(ratios) * 100:+.1f} to {max(ratios) * 100:+.1f} %"
    return [
        Row("cost of the agent to a worker, MainProcess CPU", f"{median * 100:+.1f} %", spread, "1 %", median <= 0.01)
    ]


def _main_cpu(setting: Setting, server: RedisServer, count: int, name: str, agent: bool) -> float:
    """CPU seconds of the main process for `count` empty tasks: its throughput's limit, less noisy than time."""
    worker = setting.worker(name, agent=agent, level="warning", wait=False)
    app = Celery("b", broker=setting.broker, set_as_current=False)
    eventually(lambda: app.control.ping([worker.node], timeout=0.5), 30)
    app.close()
    before = _cpu(worker)
    setting.send_work(range(count))
    eventually(lambda: server.length() == 0 and server.unacked() == 0, 120)
    used = _cpu(worker) - before
    worker.close()
    return used


def _cpu(worker: Worker) -> float:
    words = Path(f"/proc/{worker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def sidecar(folder: Path) -> list[Row]:
    """Memory and CPU of an idle sidecar with the agent link; beside the bare libraries."""
    with on_redis(folder) as (setting, _):
        worker = setting.worker()
        side = setting.sidecar(worker.directory, "--listen", "127.0.0.1:0")
        side.connected()
        time.sleep(2)
        memory = _rss(side.process.pid)
        ticks = os.sysconf("SC_CLK_TCK")

        def cpu() -> float:
            words = Path(f"/proc/{side.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(words[11]) + int(words[12])) / ticks

        seconds = float(os.environ.get("BENCH_IDLE", "60"))
        before = cpu()
        time.sleep(seconds)
        share = (cpu() - before) / seconds * 100
    code = (
        "import sys; sys.modules['rich'] = None; import starlette.applications, uvicorn, structlog, prometheus_client; "
    )
    code += "print(open('/proc/self/status').read())"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    bare = int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024
    return [
        Row(
            "sidecar memory when idle, RSS",
            f"{memory:.1f} MiB",
            f"bare libraries {bare:.1f} MiB",
            "40 MiB",
            memory <= 40,
        ),
        Row("sidecar CPU when idle", f"{share:.3f} % of a core", "", "below 0.1 %", share < 0.1),
    ]


def _rss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def status(folder: Path) -> list[Row]:
    """`drainer status` for the whole process; beside `celery inspect active`."""
    with on_redis(folder) as (setting, _):
        worker = setting.worker()
        side = setting.sidecar(worker.directory)
        side.connected()
        ours, plain = [], []
        for times, command in (
            (ours, [sys.executable, "-m", "drainer", "status", str(side.directory)]),
            (plain, [sys.executable, "-m", "celery", "-A", "tests.support.app", "inspect", "active", "-t", "1"]),
        ):
            for _ in range(10 if times is ours else 3):
                start = time.perf_counter()
                subprocess.run(command, env=setting.environ(), cwd=ROOT, capture_output=True, check=True)
                times.append(time.perf_counter() - start)
    return [
        Row(
            "drainer status, the whole process",
            f"{ms(statistics.median(ours))} / max {ms(max(ours))}",
            f"celery inspect {ms(statistics.median(plain))}",
            "200 ms",
            statistics.median(ours) <= 0.2,
        )
    ]
