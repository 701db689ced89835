"""The worker container's preStop hook; run it as a file: ``python .../drainer_agent/wait.py``.

Tells the sidecar that the pod is terminating, and blocks until the worker may die. If the
sidecar gives no answer for 5 s (refused, hung, stopped), it tells the agent to stop and
waits itself. It ends at the deadline of state.json by itself, and counts no time from its
own start: a kubelet restart kills it and runs it again (facts/cluster.md 21 to 24). Two of
it at once do no harm: everything it asks for is idempotent.

Never exits with the worker still consuming, unless sidecar and agent are both dead.
Standard library only; runs without Celery.
"""

import http.client
import json
import os
import socket
import sys
import time

#: How long the sidecar may be silent before this hook acts by itself, seconds.
PATIENCE = 5.0
#: Between two looks, seconds.
INTERVAL = 0.5


class _Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=2.0)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_sidecar(directory, method, path):
    """The sidecar's answer as a dict, or None when it gives none."""
    connection = _Unix(os.path.join(directory, "sidecar.sock"))
    try:
        connection.request(method, path, body="{}" if method == "POST" else None)
        response = connection.getresponse()
        return json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask_agent(directory, **request):
    """The agent's answer as a dict, or None when it gives none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(3.0)
    try:
        sock.connect(os.path.join(directory, "agent.sock"))
        sock.sendall(json.dumps(dict(request, v=1)).encode() + b"\n")
        with sock.makefile("rb") as lines:
            return json.loads(lines.readline())
    except (OSError, ValueError):
        return None
    finally:
        sock.close()


def deadline_passed(directory):
    """Whether the deadline that state.json names has passed, by the boot clock."""
    try:
        with open(os.path.join(directory, "state.json")) as file:
            deadline = json.load(file)["drain"]["deadline"]
        with open("/proc/sys/kernel/random/boot_id") as file:
            same_boot = file.read().strip() == deadline["boot_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if same_boot:
        return time.clock_gettime(time.CLOCK_BOOTTIME) >= deadline["boot"]
    return time.time() >= deadline["wall"]


def idle(status):
    """Whether an agent's status proves that nothing is left to wait for."""
    return bool(status.get("verified")) and not (
        status.get("running") or status.get("reserved") or status.get("returning")
    )


def wait(directory):
    """Block until the worker may die; the reason as a text."""
    told, silent_since, dead_since = False, None, None
    while True:
        now = time.monotonic()
        if os.path.exists(os.path.join(directory, "released")):
            return "released"  # also when the sidecar has gone since: it leaves after the worker
        if not told:
            told = ask_sidecar(directory, "POST", "/v1/termination") is not None
        status = ask_sidecar(directory, "GET", "/v1/status") if told else None
        if status is not None:
            silent_since = dead_since = None
        else:
            told = False  # a sidecar that comes back is told again
            silent_since = now if silent_since is None else silent_since
            if deadline_passed(directory):
                return "the deadline has passed"
            if now - silent_since >= PATIENCE:
                answer = ask_agent(directory, do="stop", drain="preStop")
                if answer is not None:
                    dead_since = None
                    if idle(answer):
                        return "no sidecar; the worker is stopped and empty"
                else:
                    dead_since = now if dead_since is None else dead_since
                    if now - dead_since >= PATIENCE:
                        return "neither the sidecar nor the worker's agent answers"
        time.sleep(INTERVAL)


def main():
    directory = os.environ.get("DRAINER_DIR") or "/run/drainer"
    reason = wait(directory)
    sys.stderr.write("drainer preStop: %s\n" % (reason,))


if __name__ == "__main__":
    main()
