"""The snippets of the pages run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .story import Story
from .test_13_pytest_plugin import plugin_options

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"


def snippets(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def snippet(needle: str) -> str:
    """The one Python block of the README that has `needle`."""
    [found] = [block for block in snippets(README) if needle in block]
    return found


def test_the_sdk_snippet_prints_what_it_says(story: Story, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(snippet("queue = ContactQueue()"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ONELANE_REDIS_URL": story.world.redis_url}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    said = re.search(r"# (result=created contact_id=)… (calls=2)", script.read_text())
    assert said is not None
    assert re.fullmatch(rf"{said[1]}[0-9a-f]{{24}} {said[2]}", done.stdout.strip())


def test_the_pytest_snippets_pass(tmp_path: Path) -> None:
    for page in (README, ROOT / "docs" / "sandbox.md", ROOT / "docs" / "producers.md"):
        for number, block in enumerate(snippets(page)):
            if "def test_" in block:
                (tmp_path / f"test_{page.stem.lower()}_{number}.py").write_text(block)
    assert len(list(tmp_path.iterdir())) >= 5
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        *plugin_options(),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
