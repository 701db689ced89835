"""``state.json``: replaced atomically, so that kill -9 at any instant leaves the old or the new."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO

from drainer.core.codec import Unreadable, decode_state, encode_state
from drainer.core.drain import State
from drainer.errors import DirectoryTaken, DirectoryUnusable

#: The longest path of a directory whose sockets can still be bound, bytes.
LONGEST = 94


def prepare(directory: Path) -> None:
    """Make the directory, mode 0700.

    Raises:
        DirectoryUnusable: it can't be made, this user can't write in it, or its path is too
            long for a socket (Linux takes 107 bytes for the whole path).
    """
    if len(os.fsencode(directory)) > LONGEST:
        raise DirectoryUnusable(f"{directory} is too long: a directory for sockets has at most {LONGEST} bytes")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 64)
        probe.unlink()
    except OSError as exc:
        raise DirectoryUnusable(f"{directory} can't be written: {exc.strerror}") from exc


def claim(directory: Path) -> IO[str]:
    """Hold `directory` for this sidecar; the kernel lets go when the process dies.

    Raises:
        DirectoryTaken: a living sidecar holds it.
    """
    file = open(directory / "sidecar.lock", "w")  # noqa: SIM115 (held until the process ends)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        file.close()
        raise DirectoryTaken(f"another sidecar serves {directory}") from exc
    return file


class Store:
    """Keeps a state in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "state.json"

    def load(self) -> State | None:
        """The kept state, or None when there is none.

        Raises:
            Unreadable: there is one that can't be understood; it is left as it is.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as exc:
            raise Unreadable("state.json can't be read") from exc
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise Unreadable("state.json is damaged or cut off") from exc
        return decode_state(values)

    def save(self, state: State) -> None:
        """Raises OSError when the directory is full or gone; the old file is whole then."""
        self._replace("state.json", json.dumps(encode_state(state), indent=1).encode() + b"\n")

    def set_aside(self) -> str | None:
        """Keep a file that can't be understood under another name; returns that name."""
        for number in range(1, 100):
            kept = self._directory / f"state.json.unreadable-{number}"
            if not kept.exists():
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self._path, kept)
                return kept.name
        return None

    def release(self, verdict: str) -> None:
        """Write ``released``: the worker may die."""
        self._replace("released", verdict.encode() + b"\n")

    def unrelease(self) -> None:
        """Remove a ``released`` of a drain that is over (another life of this directory)."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._directory / "released")

    def _replace(self, name: str, content: bytes) -> None:
        fresh = self._directory / f".{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, self._directory / name)
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
