"""The documentation against the code: links, commands, flags, bodies, problem codes."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from drainer.agent import protocol
from drainer.cli.main import COMMANDS, cli
from drainer.sidecar.problems import ADVICE
from drainer.sidecar.requests import parse_drain

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEXT = {page: page.read_text() for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT[page]):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in nav, page


def command_lines() -> list[str]:
    found = []
    for text in TEXT.values():
        for block in re.findall(r"```(?:console|yaml|ini)\n(.*?)```", text, re.S):
            for line in block.splitlines():
                match = re.search(r"(?:^|[ /])drainer ((?:{})\b[^#&]*)".format("|".join(COMMANDS)), line)
                if match and "docker exec" not in line.split("drainer")[0]:
                    found.append(match.group(1).strip())
        found += list(re.findall(r"`drainer ((?:{})[^`]*)`".format("|".join(COMMANDS)), text))
    return sorted(set(found))


@pytest.mark.parametrize("line", command_lines())
def test_commands_and_flags_exist(line: str) -> None:
    words = shlex.split(line.split(" -- ")[0])
    command = cli.get_command(click.Context(cli), words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        command = command.commands[words[1]]
    assert command is not None
    known = {flag for parameter in command.params for flag in parameter.opts} | {"--", "--help"}
    for word in words[1:]:
        if word.startswith("-"):
            assert word in known, f"drainer {line}: {word}"


def test_there_are_examples_at_all() -> None:
    assert len(command_lines()) > 15


def test_bodies_in_the_documentation_are_accepted() -> None:
    text = TEXT[ROOT / "docs/reference/http.md"]
    bodies = re.findall(r"```json\n(.*?)```", text, re.S) + re.findall(r"-d '(.*?)'", text)
    assert len(bodies) == 2
    for body in bodies:
        parse_drain(body.encode())
    request = re.findall(r"```json\n(.*?)\n", TEXT[ROOT / "docs/reference/agent-protocol.md"])[0]
    assert protocol.parse(request.encode())["do"] == "stop"
    assert json.loads(request)["v"] == protocol.VERSION


def test_every_operation_of_the_agent_is_documented() -> None:
    text = TEXT[ROOT / "docs/reference/agent-protocol.md"]
    for operation in protocol.OPERATIONS:
        assert f"| `{operation}` |" in text


def test_problem_codes_that_are_named_exist() -> None:
    named = re.findall(r"^- `([a-z-]+)`:", TEXT[ROOT / "docs/howto/operate.md"], re.M)
    assert named
    assert set(named) <= set(ADVICE)
