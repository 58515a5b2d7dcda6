"""The Lua scripts as Redis gets them: the shared parts first, then the script itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_CLOCK = "_clock.lua"


@cache
def script(name: str, clock: str | None = None, package: str = "onelane", settings: str = "") -> str:
    """The text of a script of a package.

    The parts that all scripts share (their names begin with "_") come first: those of the SDK, then the Lua
    text `settings`, then those of `package`. `clock` replaces the text of `_clock.lua`.
    """
    folder = files(package) / "lua"
    parts = list(_shared(files("onelane") / "lua", clock))
    if package != "onelane":
        parts += [settings, *_shared(folder, clock)]
    return "".join([*parts, (folder / f"{name}.lua").read_text("utf-8")])


@cache
def sha1(text: str) -> str:
    """By which Redis knows a script's text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _shared(folder: Traversable, clock: str | None) -> Iterator[str]:
    for part in sorted(folder.iterdir(), key=lambda part: part.name):
        if part.name.startswith("_") and part.name.endswith(".lua"):
            yield clock if part.name == _CLOCK and clock is not None else part.read_text("utf-8")
