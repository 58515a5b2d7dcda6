"""The addresses of a running `onelane up`, for the commands in other terminals.

They stand in `$XDG_STATE_HOME/onelane/up.json`, which `up` keeps locked for as long as it lives: the lock,
and not the file, says that it runs, so a killed `up` misleads nobody. No secret is written here.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_READ_S = 0.1  # a command that only reads holds the file for less than this


class AlreadyUp(Exception):
    """Another `onelane up` holds the file."""


def path() -> Path:
    """Where the addresses are kept."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "onelane" / "up.json"


def addresses() -> dict[str, Any]:
    """What a running `up` wrote; empty if none runs here."""
    try:
        with path().open() as file:
            if _take(file.fileno(), fcntl.LOCK_SH):
                return {}  # nobody holds it: left behind by an `up` that was killed
            found = json.load(file)
    except (OSError, ValueError):  # no file, or only half of it yet
        return {}
    return found if isinstance(found, dict) else {}


class Claim:
    """The right to say where things are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def publish(self, known: Mapping[str, Any]) -> None:
        """Write the addresses down."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(dict(known)).encode(), 0)


@contextmanager
def claim() -> Iterator[Claim]:
    """Hold the file while in the block, and take it away at the end. Raises `AlreadyUp`."""
    place = path()
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(descriptor, fcntl.LOCK_EX):
            time.sleep(_READ_S)
            if not _take(descriptor, fcntl.LOCK_EX):
                raise AlreadyUp
        try:
            os.ftruncate(descriptor, 0)
            yield Claim(descriptor)
        finally:
            place.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
