"""The command line in this process, on a real Redis, untouched by what its user has set or runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from onelane_worker.cli.main import app

from .helpers import Ended, Hand, Onelane


@pytest.fixture
def bare_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of Onelane, no `onelane up` running."""
    for name in list(os.environ):
        if name.startswith("ONELANE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def anywhere(bare_env: None) -> Onelane:
    """`onelane` with nothing set."""

    def run(*args: str, given: str = "") -> Ended:
        result = CliRunner().invoke(app, list(args), input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def onelane(anywhere: Onelane, valkey: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Onelane:
    """`onelane` on an empty Redis."""
    monkeypatch.setenv("ONELANE_REDIS_URL", f"{valkey_url}/0")
    return anywhere


@pytest.fixture
def hand(valkey: Redis) -> Hand:
    return Hand(valkey)
