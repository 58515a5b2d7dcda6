"""What the log shows of foreign words: no address, nothing that steers a terminal."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from onelane_worker.operate import logs

HOSTILE = "\x1b[2J\x9b31m o'watson@example.test\r\n2026-11-30 [info] all is well \u202e\u2028"
"""Clears the screen, names a person, forges a line, turns the writing round."""
STEERING = ("\x1b", "\x9b", "\r", "\u202e", "\u2028")
Log = Callable[[], str]


class Terminal(io.StringIO):
    def __init__(self, *, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """What a worker's log holds."""
    stream = Terminal(is_one=request.param)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "__stderr__", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure()
    yield stream.getvalue
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def log_by_keys() -> None:
    structlog.get_logger("x").warning("event", said=HOSTILE, inner={"said": [HOSTILE]}, odd=Odd())


def log_by_message() -> None:
    logging.getLogger("x").warning("intercom said: %s", HOSTILE)


def log_an_error() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        structlog.get_logger("x").exception(HOSTILE)


class Odd:
    def __repr__(self) -> str:
        return HOSTILE


@pytest.mark.parametrize("say", [log_by_keys, log_by_message, log_an_error])
def test_a_log_line_names_nobody_and_steers_nothing(written: Log, say: Callable[[], None]) -> None:
    say()

    found = re.sub(r"\x1b\[[\d;]*m", "", written())  # the renderer's own colours
    assert "watson" not in found
    assert "***@example.test" in found
    assert not any(sign in found for sign in STEERING)
    assert not any(line.startswith("2026-11-30 [info]") for line in found.splitlines())


def test_a_log_line_for_programs_stays_json(written: Log) -> None:
    log_an_error()

    if not written().startswith("{"):
        return  # a terminal
    [record] = [json.loads(line) for line in written().splitlines()]
    assert "\x1b[2J" in record["event"]
