"""Fill in what the README shows of the code: its settings, and with `--demo` the output of a real run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings import Settings

README = Path(__file__).parent.parent / "README.md"


def settings_table() -> str:
    """Every setting with its default and meaning, in the order of the code."""
    rows = ["| setting | default | meaning |", "| ------- | ------- | ------- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{name.upper()}` | {_default(field)} | {_meaning(field)} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return "–"
    return f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower()}`"


def _meaning(field: FieldInfo) -> str:
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    return f"{field.description}" + (f": {', '.join(choices)}" if choices else "")


def filled(text: str, marker: str, content: str) -> str:
    """`text` with what stands between the markers replaced."""
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def demo_output() -> str:
    """What `onelane demo` prints into 100 columns."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "worker.cli", "demo"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```"


def main() -> None:
    text = filled(README.read_text(), "settings", settings_table())
    if "--demo" in sys.argv:
        text = filled(text, "demo", demo_output())
    README.write_text(text)


if __name__ == "__main__":
    main()
