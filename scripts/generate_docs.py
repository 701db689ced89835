"""Write the parts of the documentation that are made from the code; --check only compares.

Settings, commands, metrics, exit codes, problems, files, the OpenAPI document and the
diagram of the states: each has one source, the code.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from drainer.cli.exits import EXIT_CODES
from drainer.cli.main import COMMANDS, cli
from drainer.core.phases import TRANSITIONS, VERDICTS
from drainer.core.refusals import REFUSALS
from drainer.metrics import Metrics
from drainer.settings import SidecarSettings, default_text, variable
from drainer.sidecar.openapi import document
from drainer.sidecar.problem_details import REQUEST_PROBLEMS, TYPE
from drainer.sidecar.problems import ADVICE

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- made from the code by scripts/generate_docs.py; change it there -->\n\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def settings() -> str:
    rows = []
    for setting in fields(SidecarSettings):
        flag = "" if setting.name == "broker_url" else f"`--{setting.name.replace('_', '-')}`"
        default = default_text(setting.name)
        rows.append((flag, f"`{variable(setting.name)}`", f"`{default}`" if default else "", setting.metadata["help"]))
    return (
        "# Settings\n\n" + NOTE + "Of `drainer sidecar`; `drainer run` takes them too, but for those that it decides "
        "itself (`--dir`, `--intent-file`, `--agent-wait`, `--end-worker`). A flag wins over its variable. "
        "All problems are reported at once, with exit code 64, before anything starts.\n\n"
        + table(("flag", "variable", "default", "what it is"), rows)
    )


def commands() -> str:
    parts = ["# Commands\n\n" + NOTE]
    root = click.Context(cli, info_name="drainer")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        parts.append(_help(command, f"drainer {name}", root, name))
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name, parent=root)
            parts += [_help(sub, f"drainer {name} {key}", context, key) for key, sub in command.commands.items()]
    return "".join(parts)


def _help(command: click.Command, title: str, parent: click.Context, name: str) -> str:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n\n"


def metrics() -> str:
    found: CollectorRegistry = Metrics().registry
    rows = []
    for metric in found.collect():
        labels = sorted({label for sample in metric.samples for label in sample.labels if label != "le"})
        name = metric.name + ("_total" if metric.type == "counter" else "")
        rows.append((f"`{name}`", metric.type, ", ".join(labels), metric.documentation))
    return (
        "# Metrics\n\n"
        + NOTE
        + "At `/metrics` of the sidecar.\n\n"
        + table(("name", "type", "labels", "what it is"), rows)
    )


def exit_codes() -> str:
    rows = [(str(code), name, meaning) for code, (name, meaning) in EXIT_CODES.items()]
    return (
        "# Exit codes\n\n" + NOTE + "Stable. `drainer run` passes on the code of a worker that ends by itself "
        "(128 + n for a signal).\n\n" + table(("code", "name", "meaning"), rows)
    )


def problems() -> str:
    rows = [(f"`{code}`", str(status), title, "") for code, (status, title) in REQUEST_PROBLEMS.items()]
    rows += [(f"`{code}`", str(status), title, hint) for code, (status, title, hint) in REFUSALS.items()]
    standing = [(f"`{code}`", advice) for code, advice in ADVICE.items()]
    return (
        "# Problems\n\n"
        + NOTE
        + f"Answers of the HTTP API are RFC 9457 problem details; `type` is `{TYPE}` and the code. "
        "A refused request changes nothing.\n\n"
        + table(("code", "status", "title", "hint"), rows)
        + "\nProblems that stand, shown in the status until they are gone:\n\n"
        + table(("code", "what to do"), standing)
    )


def states() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> serving"]
    lines += [f"    {row.source} --> {row.target}: {row.kind}" for row in TRANSITIONS]
    lines.append("```")
    rows = [(f"`{row.source}`", f"`{row.kind}`", f"`{row.target}`", row.when) for row in TRANSITIONS]
    verdicts = " and ".join(f"`{phase}`" for phase in sorted(VERDICTS))
    return (
        "# The states of a drain\n\n" + NOTE + "\n".join(lines) + "\n\n"
        f"{verdicts} are verdicts: a drain has exactly one, and there is no way back from it. "
        "*Released* means that the worker may die: the file `released` appears and `/readyz` turns 503.\n\n"
        + table(("from", "what happens", "to", "when"), rows)
    )


def openapi() -> str:
    return json.dumps(document(), indent=2) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings,
    "reference/commands.md": commands,
    "reference/metrics.md": metrics,
    "reference/exit-codes.md": exit_codes,
    "reference/problems.md": problems,
    "reference/openapi.json": openapi,
    "explanation/states.md": states,
}


def main() -> int:
    check, stale = "--check" in sys.argv, []
    for name, make in PARTS.items():
        path, text = DOCS / name, make()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        print(("stale (run python scripts/generate_docs.py): " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
