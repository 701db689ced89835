"""Errors that are answers: what is wrong, where, and what to do.

DrainerError
├── SettingsError     exit 64   a flag or variable is wrong; all problems at once
├── Refused           exit 4    the state machine says no; nothing has changed
├── DirectoryTaken    exit 73   another sidecar serves this directory
├── DirectoryUnusable exit 73   the directory can't be made or written
├── CantListen        exit 69   the port is taken
├── LinkError         exit 69   the worker can't be reached
│   └── Incompatible            an agent of another version answers
├── Unreachable       exit 69   no sidecar answers (of the CLI)
└── NotAllowed        exit 77   the token is missing or wrong (of the CLI)
"""

from collections.abc import Sequence


class DrainerError(Exception):
    """Base of all. `exit_code` is what a command ends with; `hint` is what to do."""

    exit_code = 1
    hint = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.hint


class SettingsError(DrainerError):
    """Flags and variables that can't be used; `problems` names each."""

    exit_code = 64

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Refused(DrainerError):
    """The request is understood and refused. `code` is stable: see `drainer.core.refusals`."""

    exit_code = 4

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class DirectoryTaken(DrainerError):
    exit_code = 73
    hint = "one sidecar serves one directory; stop the other one or give this one its own --dir"


class DirectoryUnusable(DrainerError):
    exit_code = 73
    hint = "give a directory that this user can create and write, with --dir or DRAINER_DIR"


class CantListen(DrainerError):
    exit_code = 69
    hint = "give another --listen HOST:PORT; port 0 takes any free one"


class LinkError(DrainerError):
    """The worker can't be reached over this link now. Never means: idle."""

    exit_code = 69


class Incompatible(LinkError):
    """What answers is an agent of another version."""


class Unreachable(DrainerError):
    exit_code = 69
    hint = "is the sidecar running? `drainer status` without a target lists the local ones"


class NotAllowed(DrainerError):
    exit_code = 77
    hint = "give the sidecar's bearer token with --token-file or DRAINER_TOKEN_FILE"
