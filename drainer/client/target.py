"""Which sidecar a command speaks to: a directory, a URL, or the only one on this machine."""

import fcntl
import os
import stat
from pathlib import Path

from drainer.errors import DrainerError, Unreachable
from drainer.settings import DEFAULT_DIR


def runs_directory() -> Path:
    """Where `drainer run` makes its private directories: one level, a directory a run."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "drainer"
    return Path(os.environ.get("TMPDIR", "/tmp")) / f"drainer-{os.getuid()}"


def is_served(directory: Path) -> bool:
    """Whether a living sidecar holds `directory`."""
    try:
        with open(directory / "sidecar.lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def local_sidecars() -> list[Path]:
    """Directories with a living sidecar on this machine that this user can see."""
    candidates = [Path(os.environ.get("DRAINER_DIR") or DEFAULT_DIR)]
    runs = runs_directory()
    if runs.is_dir() and runs.stat().st_uid == os.getuid():
        candidates += sorted(path for path in runs.iterdir() if path.is_dir())
    return [path for path in candidates if is_served(path)]


def resolve(target: str | None) -> str:
    """A URL (http://…) or the path of a ``sidecar.sock``.

    target: a URL, a directory, a socket, or the name of a `drainer run`; None: the only one.

    Raises:
        Unreachable: there is none. DrainerError: there are several.
    """
    if target is not None:
        if target.startswith(("http://", "https://")):
            return target.rstrip("/")
        for path in (Path(target), runs_directory() / target):
            if path.is_dir():
                return str(path / "sidecar.sock")
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                return str(path)
        raise Unreachable(f"there is no sidecar directory, URL or run named {target}")
    found = local_sidecars()
    if not found:
        raise Unreachable("no sidecar runs on this machine", "name one: a directory or a URL like http://HOST:8480")
    if len(found) > 1:
        names = ", ".join(path.name if path.parent == runs_directory() else str(path) for path in found)
        error = DrainerError(f"several sidecars run here: {names}", "name the one you mean")
        error.exit_code = 64
        raise error
    return str(found[0] / "sidecar.sock")
