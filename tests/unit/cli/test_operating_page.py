"""docs/operating.md: every command is there, and what its transcripts type can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from onelane_worker.cli.main import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operating.md").read_text()
README = (ROOT / "README.md").read_text()
TRANSCRIPTS = re.findall(r"<!-- ([\w-]+) -->\n```console\n(.*?)\n```\n<!-- /\1 -->", PAGE, re.DOTALL)
TYPED = [line for _, screen in TRANSCRIPTS for line in screen.splitlines() if line.startswith("$ ")]
OPERATING = (
    "doctor", "lanes", "lane", "status", "pause", "resume", "repair", "dead list", "dead show", "dead replay",
    "dead discard",
)  # fmt: skip


def every_command(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, *path, name)
        else:
            yield (*path, name)


def words_of(line: str) -> list[str]:
    """What follows `onelane`: without the prompt, an environment before it, a pipe or a file behind it."""
    words = shlex.split(line.removeprefix("$ "))
    for end in "|>":
        words = words[: words.index(end)] if end in words else words
    return words[words.index("onelane") + 1 :]


@pytest.mark.parametrize("path", [*every_command(typer.main.get_command(app))], ids=" ".join)
def test_every_command_is_told_of(path: tuple[str, ...]) -> None:
    named = rf"onelane {' '.join(path)}\b"
    assert re.search(named, PAGE + README), f"`onelane {' '.join(path)}` stands nowhere"


@pytest.mark.parametrize("command", OPERATING)
def test_every_command_of_an_operator_has_a_transcript(command: str) -> None:
    assert any(" ".join(words_of(line)).startswith(command) for line in TYPED)


@pytest.mark.parametrize("line", TYPED)
def test_what_a_transcript_types_can_be_typed(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = words_of(line)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("onelane", words)  # raises a usage error


def test_every_place_for_a_transcript_is_filled() -> None:
    places = re.findall(r"<!-- ([\w-]+) -->", PAGE)
    assert [name for name, _ in TRANSCRIPTS] == places, "run: python docs/transcripts.py"


def test_the_screens_show_no_address_and_nothing_of_the_machine_they_were_made_on() -> None:
    shown = "\n".join(line for _, screen in TRANSCRIPTS for line in screen.splitlines() if line not in TYPED)
    assert not re.search(r"[\w.+-]{2,}@", shown)
    assert not re.search(r"/(tmp|home|root|work|usr|Users)\b", PAGE)
    assert max(map(len, re.sub(r"(?m)^(\$ |\{).*$", "", shown).splitlines())) <= 100


def test_readme_and_runbook_lead_there() -> None:
    assert "(docs/operating.md)" in README
    assert "(operating.md)" in (ROOT / "docs" / "runbook.md").read_text()
