"""Settings: a frozen dataclass; each field a flag and a ``DRAINER_`` variable.

The reference in docs/reference/settings.md is generated from the fields below.
"""

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from drainer.core.drain import Policy
from drainer.core.durations import parse_duration
from drainer.errors import SettingsError

DEFAULT_DIR = "/run/drainer"
LOOPBACK_LISTEN = "127.0.0.1:8480"
OPEN_LISTEN = "0.0.0.0:8480"


def _setting(help: str, default: Any, parse: Callable[[str], Any], show: str | None = None) -> Any:
    return field(default=default, metadata={"help": help, "parse": parse, "show": show})


def _seconds(minimum: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < minimum:
            raise ValueError(f"must be at least {minimum:g}s")
        return seconds

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _listen(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if text == "none":
        return text
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, like 127.0.0.1:8480 (port 0: any free one), or none")
    ipaddress.ip_address(host.strip("[]"))
    return text


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no", ""):
        return False
    raise ValueError("must be true or false")


@dataclass(frozen=True)
class SidecarSettings:
    """What `drainer sidecar` and `drainer run` can be told."""

    dir: Path = _setting(
        "Directory shared with the worker: sockets, state, the agent's code.", Path(DEFAULT_DIR), Path, DEFAULT_DIR
    )
    listen: str | None = _setting(
        "HOST:PORT of the HTTP API, or none. Default: 0.0.0.0:8480 with a token file, else 127.0.0.1:8480.",
        None,
        _listen,
        "",
    )
    token_file: Path | None = _setting(
        "File with the bearer token; a second line holds the previous one. Re-read when it changes.", None, Path, ""
    )
    intent_file: Path | None = _setting(
        "File with the annotation drainer.dev/drain (downward API); a drain is started from it.", None, Path, ""
    )
    timeout: float = _setting("How long a drain may last when its request doesn't say.", 86400.0, _seconds(0.1), "24h")
    cap: float = _setting("The longest that any drain may last, from its request.", 172800.0, _seconds(0.1), "48h")
    settle: float = _setting("How long a stopped worker must stay empty to be drained.", 0.05, _seconds(0), "50ms")
    kill_grace: float = _setting(
        "At the deadline: from SIGTERM to SIGKILL of an Airflow task.", 30.0, _seconds(0), "30s"
    )
    link: str = _setting(
        "How to speak to the worker: agent, pidbox, or auto (what answers; the agent first).",
        "auto",
        _one_of("auto", "agent", "pidbox"),
    )
    agent_wait: float = _setting("How long auto waits for an agent before it tries pidbox.", 10.0, _seconds(0), "10s")
    broker_url: str | None = _setting(
        "The worker's broker, for pidbox only. Holds a password: prefer the file.", None, str, ""
    )
    broker_url_file: Path | None = _setting("File with the broker's URL.", None, Path, "")
    broker_key_prefix: str = _setting("The worker's global_keyprefix (Redis).", "", str)
    broker_control_exchange: str = _setting("The worker's control_exchange.", "celery", str)
    broker_ca_file: Path | None = _setting("CA certificate of the broker's TLS.", None, Path, "")
    broker_sentinel_master: str | None = _setting("Name of the master behind Redis Sentinel.", None, str, "")
    brpop_timeout: float = _setting("The worker's brpop_timeout or polling_interval (Redis).", 1.0, _seconds(0), "1s")
    worker: str | None = _setting(
        "Node name of the worker for pidbox, like celery@host. Default: the only one.", None, str, ""
    )
    end_worker: bool = _setting("End a drained worker also when nothing terminates it.", False, _flag, "false")
    log_format: str = _setting(
        "json, console, or auto: console on a terminal.", "auto", _one_of("auto", "json", "console")
    )
    log_level: str = _setting("debug, info, warning or error.", "info", _one_of("debug", "info", "warning", "error"))

    def policy(self) -> Policy:
        """The part that the state machine needs."""
        return Policy(
            timeout=self.timeout,
            cap=self.cap,
            settle=self.settle,
            kill_grace=self.kill_grace,
            kill_bound=self.kill_grace + 30.0,
            end_worker=self.end_worker,
        )

    def broker(self) -> str | None:
        """The broker's URL, from the file or the variable."""
        if self.broker_url_file is not None:
            return self.broker_url_file.read_text().strip()
        return self.broker_url


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"DRAINER_{name.upper()}"


def load(flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None, **fixed: Any) -> SidecarSettings:
    """Settings from flags, then variables, then defaults.

    Raises:
        SettingsError: naming every problem at once, before anything starts.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    values: dict[str, Any] = dict(fixed)
    for setting in fields(SidecarSettings):
        flag, name = flags.get(setting.name), variable(setting.name)
        text, source = (flag, "--" + setting.name.replace("_", "-")) if flag is not None else (environ.get(name), name)
        if text is None or setting.name in fixed or (flag is None and text == ""):
            continue
        try:
            values[setting.name] = setting.metadata["parse"](text)
        except ValueError as exc:
            problems.append(f"{source}: {exc}")
    settings = SidecarSettings(**values)
    problems += _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _contradictions(settings: SidecarSettings) -> list[str]:
    problems = []
    if settings.timeout > settings.cap:
        problems.append("--timeout: is longer than --cap")
    for name in ("token_file", "broker_url_file", "broker_ca_file"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            problems.append(f"--{name.replace('_', '-')}: there is no file {path}")
    if settings.link == "pidbox" and not (settings.broker_url or settings.broker_url_file):
        problems.append("--link: pidbox needs --broker-url-file or DRAINER_BROKER_URL")
    if settings.listen not in (None, "none") and settings.token_file is None:
        assert settings.listen is not None
        if not ipaddress.ip_address(settings.listen.rpartition(":")[0].strip("[]")).is_loopback:
            problems.append("--listen: without --token-file only a loopback address is allowed")
    return problems


def default_text(name: str) -> str:
    """The default of a setting as a person would write it."""
    for setting in fields(SidecarSettings):
        if setting.name == name:
            show = setting.metadata["show"]
            if show is not None:
                return str(show)
            return "" if setting.default in (None, MISSING) else str(setting.default)
    raise KeyError(name)
