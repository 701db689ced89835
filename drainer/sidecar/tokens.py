"""Bearer tokens from a file: a current and a previous one, re-read when it changes."""

import hmac
from collections.abc import Callable
from pathlib import Path


class Tokens:
    """Checks bearer tokens. Without a readable token in the file nobody gets in."""

    def __init__(self, path: Path, on_problem: Callable[[str | None], None]) -> None:
        self._path, self._on_problem = path, on_problem
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[bytes, ...] = ()

    def accepts(self, token: str) -> bool:
        """Compares with each known token, all of them, in constant time."""
        self._refresh()
        given = token.encode("utf-8", "surrogateescape")
        found = False
        for known in self._tokens:
            found |= hmac.compare_digest(given, known)
        return found

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return
            lines = [line.strip() for line in self._path.read_bytes().splitlines()]
            self._seen = seen
        except OSError as exc:
            self._tokens, self._seen = (), None
            self._on_problem(f"{self._path.name}: {exc.strerror}")
            return
        self._tokens = tuple(line for line in lines if line)[:2]
        self._on_problem(None if self._tokens else f"{self._path.name} holds no token")
