"""The command `onelane` as its user runs it: a process of its own, untouched by what our own user has set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONELANE = [sys.executable, "-W", "error", "-m", "onelane_worker"]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


class Terminal:
    """Where commands are typed: its environment, and its user's home."""

    def __init__(self, home: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONELANE_")}
        self.env = {**inherited, "XDG_STATE_HOME": str(home / "state"), "COLUMNS": "120"}

    def run(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = 120) -> Ended:
        """Run a command to its end."""
        ended = subprocess.run(
            [*ONELANE, *args],
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        return subprocess.Popen(
            [*ONELANE, *args],
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def sessions_of(pid: int) -> set[int]:
    """The processes that it has started: each leads a session of its own."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return {int(word) for word in found.stdout.split()}


def is_alive(session: int) -> bool:
    """Whether anything of the session still runs."""
    found = subprocess.run(["ps", "-o", "stat=", "-s", str(session)], capture_output=True, text=True)
    return any(not one.startswith("Z") for one in found.stdout.split())
