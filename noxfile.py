"""Test sessions in environments of their own; uv, which the development tools bring, makes them.

nox -s lowest    the lowest versions that pyproject.toml allows, on the oldest Python
nox -s pythons   the newest versions, on each Python from 3.11 to 3.14 that this machine has
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lowest"]

VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
# pyenv's shims answer for the chosen versions only: look where it keeps the others.
kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
found = [str(folder) for version in VERSIONS for folder in sorted(kept.glob(f"{version}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])

# What needs no stack of processes, and the plugin's fixtures: they bring a real worker.
FAST = [f"tests/{name}" for name in ("sandbox", "unit")]
PLUGIN = "tests/acceptance/test_13_pytest_plugin.py"
# A version that waits for ever says where, and fails.
STUCK = ["-o", "faulthandler_timeout=60", "-o", "faulthandler_exit_on_timeout=true"]


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The lowest allowed versions of what we depend on; the tools that test it are the newest."""
    session.install("--resolution", "lowest-direct", "--editable", ".[all]")
    _test(session)


@nox.session(python=VERSIONS)
def pythons(session: nox.Session) -> None:
    """The newest allowed versions."""
    session.install("--editable", ".[all]")
    _test(session)


def _test(session: nox.Session) -> None:
    session.install("--editable", ".[test]")
    options = ["-q", "--numprocesses=auto", "-p", "no:cacheprovider", *STUCK]
    session.run("pytest", *options, *(session.posargs or [*FAST, PLUGIN]))
