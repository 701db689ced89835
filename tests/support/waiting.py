"""Wait for a condition of the outside world, bounded."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float = 10.0, what: str = "") -> T:
    """The first truthy value of `look()`; fails after `within` seconds, naming the last one seen."""
    end = time.monotonic() + within
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what or look!r} (last seen: {value!r})")
        time.sleep(0.01)
