"""Deliberate faults in the product: a function of it, or the answer of a Redis command, replaced by name.

A fault is applied in a process of its own, before the tests are collected: nothing is undone. The proofs of
the guarantees and the mutants of the simulation are made of these.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any

SIMULATION = "simulation"
PRODUCT = ("onelane", "onelane_worker", "tests")


@dataclass(frozen=True, slots=True)
class Fault:
    """One deliberate mistake."""

    name: str
    about: str
    apply: Callable[[], None]
    """Makes the mistake in this process. Raises `LookupError` if what it replaces is not there."""
    catcher: str = SIMULATION
    """Who has to notice: the simulation, or the test of this id."""


def python(target: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Replaces `module:name` or `module:Class.name` by what `make` makes of it, wherever it is imported."""

    def apply() -> None:
        module, _, path = target.partition(":")
        owner: Any = import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part, None)
        if name not in vars(owner):
            raise LookupError(f"{target} is not there")
        old = vars(owner)[name]
        new = make(old)
        setattr(owner, name, new)
        if not outer:
            _replace_imported(old, new)

    return apply


def item(target: str, *path: str, new: str) -> Callable[[], None]:
    """In the table `module:name`, the entry at `path` becomes another; all named as `module:name`."""

    def apply() -> None:
        table = _found(target)
        *outer, last = (_found(key) for key in path)
        for key in outer:
            table = table[key]
        if last not in table:
            raise LookupError(f"{target} has no {path}")
        table[last] = _found(new)

    return apply


def lua(name: str, text: str) -> Callable[[], None]:
    """Replaces a whole function of the Lua scripts by another text."""
    pattern = re.compile(
        rf"^(?:local )?function {re.escape(name)}\((?:.*\bend\n|(?:.*\n)+?end\n)", re.MULTILINE
    )

    def apply() -> None:
        times = sum(len(pattern.findall(text)) for text in _lua_files())
        if times != 1:
            raise LookupError(f"the function {name} stands {times} times in the Lua scripts, not once")
        _edit_scripts(lambda _, script: pattern.sub(lambda _: text + "\n", script))

    return apply


def lua_call(script: str, command: str, body: str) -> Callable[[], None]:
    """Runs `body` first when that script calls that command; what it returns is the answer.

    It sees the arguments as the list `a` and the real function as `call`; without an answer, Redis gives one.
    """
    front = (
        "local real_redis = redis\nlocal redis = setmetatable({ call = function(command, ...)\n"
        f"  local a, call = {{ ... }}, real_redis.call\n  if command == '{command}' then\n    {body}\n  end\n"
        "  return real_redis.call(command, ...)\nend }, { __index = real_redis })\n"
    )

    def apply() -> None:
        _edit_scripts(lambda name, text: front + text if name == script else text)

    return apply


def _edit_scripts(edit: Callable[[str, str], str]) -> None:
    def make(old: Any) -> Any:
        @functools.cache
        def script(name: str, *args: Any, **options: Any) -> str:
            return edit(name, old(name, *args, **options))

        return script

    python("onelane.scripts:script", make)()


def _lua_files() -> Iterator[str]:
    for package in ("onelane", "onelane_worker.lanes"):
        for file in (files(package) / "lua").iterdir():
            if file.name.endswith(".lua"):
                yield file.read_text("utf-8")


def _found(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _replace_imported(old: object, new: object) -> None:
    for name, module in tuple(sys.modules.items()):
        if name.partition(".")[0] in PRODUCT:
            for key, value in tuple(vars(module).items()):
                if value is old:
                    setattr(module, key, new)
