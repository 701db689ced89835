"""Process trees, read from /proc."""

import os
import signal
import time


def children(pid):
    """The direct children of `pid` (of all its threads); empty when it is gone."""
    found = []
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread)) as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue
    return found


def descendants(pid):
    """`pid`'s children, their children and so on; list them while the parents live."""
    found, todo = [], children(pid)
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children(one)
    return found


def send(pid, number):
    """Send a signal; False when there is no such process (or it isn't ours)."""
    try:
        os.kill(pid, number)
        return True
    except OSError:
        return False


def kill_and_reap(pids, timeout):
    """SIGKILL `pids` and wait, at most `timeout` seconds, until the last one is dead."""
    for pid in pids:
        send(pid, signal.SIGKILL)
    end = time.monotonic() + timeout
    left = set(pids)
    while left and time.monotonic() < end:
        for pid in list(left):
            if not _alive(pid):
                left.discard(pid)
        if left:
            time.sleep(0.002)
    return not left


def _alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[-1].split()[0] not in ("Z", "X")
    except OSError:
        return False
