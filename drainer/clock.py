"""The one file that reads the clocks; everything else takes `now` as an argument."""

import time
import uuid
from pathlib import Path

from drainer.core.clock import Now


def boot_id() -> str:
    """Names this boot of the machine (the same in all its containers)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no /proc: every start of the process counts as a boot
        return f"process-{uuid.uuid4()}"


_BOOT_ID = boot_id()
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read() -> Now:
    """Both clocks, now."""
    return Now(wall=time.time(), boot=time.clock_gettime(_BOOT_CLOCK), boot_id=_BOOT_ID)
