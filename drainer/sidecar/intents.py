"""Follow the intent file. Reading a small file twice a second costs less than a watcher."""

import asyncio
from pathlib import Path

from drainer.core.drain import Trigger
from drainer.core.events import Cancelled, Requested
from drainer.core.intent import Malformed, digest, parse_intent
from drainer.core.phases import Phase
from drainer.errors import Refused
from drainer.sidecar.brain import Brain

#: How often the file is looked at, seconds.
INTERVAL = 0.5
#: An annotation is small; what is larger is none of ours.
SIZE = 64 * 1024


class Intents:
    """Acts on each new content once; what it acted on is kept in state.json."""

    def __init__(self, path: Path, brain: Brain) -> None:
        self._path, self._brain = path, brain
        self._last: tuple[int, int, int] | None = None

    async def follow(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(INTERVAL)

    def look(self) -> None:
        """Read the file if it has changed, and act on it. Never raises."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._last:
                return
            content = self._path.read_bytes()[:SIZE].decode()
        except FileNotFoundError:
            return  # not mounted (yet): says nothing
        except (OSError, UnicodeDecodeError):
            self._brain.problems.put("intent-malformed", "the intent file can't be read as text")
            return
        self._last = seen
        self.take(content)

    def take(self, content: str) -> None:
        """Act on `content` unless it is what was acted on last."""
        problems, name = self._brain.problems, digest(content)
        try:
            intent = parse_intent(content)
        except Malformed as exc:
            problems.put("intent-malformed", str(exc))
            return
        problems.clear("intent-malformed")
        if name == self._brain.state.intent:
            return
        state = self._brain.state
        try:
            if intent is not None:
                self._brain.apply(Requested(intent.id, Trigger.CONTROLLER, intent.by, intent.reason, intent.deadline))
            elif state.phase is Phase.DRAINING and state.drain and state.drain.trigger is Trigger.CONTROLLER:
                self._brain.apply(Cancelled("controller", "the annotation is gone"))
            problems.clear("intent-refused")
        except Refused as exc:
            problems.put("intent-refused", str(exc))
        self._brain.intent_seen(name)
