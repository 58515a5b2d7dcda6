"""The ways to start us: the command with its completion and version, and the names of the Celery app."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ONELANE = [sys.executable, "-m", "onelane_worker"]


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        (["onelane", "do"], ["doctor"]),
        (["onelane", "dead", "re"], ["replay"]),
        (["onelane", "enqueue", "newsletter"], ["newsletter-opt-in", "newsletter-opt-out"]),
    ],
)
def test_the_shell_completes_commands_and_kinds(typed: list[str], completions: list[str]) -> None:
    asked = {
        "_ONELANE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(typed),
        "COMP_CWORD": str(len(typed) - 1),
    }
    ended = subprocess.run(ONELANE, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (ended.stdout.split(), ended.stderr) == (completions, "")


@pytest.mark.parametrize("name", ["onelane_worker.app", "onelane_worker.celery_app"])
def test_celery_finds_the_app_by_both_names(name: str) -> None:
    command = [sys.executable, "-m", "celery", "-A", name, "report"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "onelane.main" in ended.stdout
