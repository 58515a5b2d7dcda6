"""How a rule is switched off: a function is replaced by another one, in Python or in a Lua script."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from onelane import scripts

OURS = ("onelane", "onelane_worker")
PACKAGES = ("onelane", "onelane_worker.lanes")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule switched off, in this process, for good."""

    name: str
    about: str
    """What happens then."""
    apply: Callable[[], None]
    covered: str = ""
    """Why no history and no comparison notices it, and the unit test that does."""


def swap(owner: Any, **new: Any) -> Callable[[], None]:
    """Replace functions of a module wherever the product has imported them; or methods of a class."""
    return partial(_swap, owner, new)


def all_of(*changes: Callable[[], None]) -> Callable[[], None]:
    """Several replacements: where two rules guard the same thing, both are switched off."""

    def apply() -> None:
        for change in changes:
            change()

    return apply


def _swap(owner: Any, new: Mapping[str, Any]) -> None:
    modules = [vars(module) for name, module in sys.modules.items() if name.partition(".")[0] in OURS]
    for name, function in new.items():
        old = getattr(owner, name)
        setattr(owner, name, function)
        for names in modules:
            for key, value in list(names.items()):
                if value is old:
                    names[key] = function
                elif isinstance(value, tuple) and old in value:
                    names[key] = tuple(function if one is old else one for one in value)


# ── Lua ──


def in_lua(before: str = "", **functions: str) -> Callable[[], None]:
    """Replace functions that the scripts share. `before`: text before everything else, for all scripts. A
    function's text is an expression; `old` in it is the function that it replaces."""
    return partial(_change_scripts, None, before, functions)


def in_script(name: str, before: str = "", **functions: str) -> Callable[[], None]:
    """The same for one script."""
    return partial(_change_scripts, name, before, functions)


def calls(body: str) -> str:
    """Text between a script and `redis.call`, whose arguments are `name`, `key` and `...`; `real` goes on."""
    return f"""
local real = redis.call
local redis = {{ call = function(name, key, ...)
  if not key then return real(name) end
{body}
  return real(name, key, ...)
end }}
"""


def _change_scripts(only: str | None, before: str, functions: Mapping[str, str]) -> None:
    inner, everything = scripts.script, _shared()
    for function in functions:
        if f"function {function}(" not in everything:
            raise LookupError(f"no shared part has a function {function}")

    def script(name: str, clock: str | None = None, package: str = "onelane", settings: str = "") -> str:
        text = inner(name, clock, package, settings)
        if only not in (None, name):
            return text
        own = (files(package) / "lua" / f"{name}.lua").read_text("utf-8")
        shared = text.removesuffix(own)
        changes = "".join(
            f"do\n  local old = {function}\n  {function} = {new}\nend\n"
            for function, new in functions.items()
            if f"function {function}(" in shared
        )
        return before + shared + changes + own

    scripts.script = script  # type: ignore[assignment]


def _shared() -> str:
    folders = [files(package) / "lua" for package in PACKAGES]
    return "".join(
        part.read_text("utf-8")
        for folder in folders
        for part in folder.iterdir()
        if part.name.startswith("_")
    )
