"""Logging of a worker: human lines on a terminal, JSON lines elsewhere.

No line names an address, and nothing in one steers the terminal or begins a line of its own: messages and
errors may quote what Intercom or a producer said.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict

from onelane import display

_JSON_LIKE = (str, int, float, dict, list, tuple, set, frozenset)
_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: int = logging.INFO) -> None:
    """Send structlog's and the standard library's records the same way, to standard error."""
    ending: tuple[structlog.typing.Processor, ...] = (
        (_spell_out, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
        if _on_a_terminal()
        else (structlog.processors.JSONRenderer(),)
    )
    # Celery puts a logging proxy in the place of sys.stderr: a handler on that would feed itself.
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(_SHARED),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask,
                *ending,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _mask(logger: object, method: str, event: EventDict) -> EventDict:
    return {name: display.masked(_plain(value)) for name, value in event.items()}


def _plain(value: object) -> object:
    """What is no JSON as its text, which may name an address."""
    return value if value is None or isinstance(value, _JSON_LIKE) else repr(value)


def _spell_out(logger: object, method: str, event: EventDict) -> EventDict:
    """Text only: of everything else the renderer prints the `repr`, in which nothing is left to spell out."""
    told = {name: display.visible(each) if isinstance(each, str) else each for name, each in event.items()}
    if isinstance(trace := event.get("exception"), str):  # many lines, and none may pass for a record
        told["exception"] = "\n".join(f"  {display.visible(line)}" for line in trace.split("\n"))
    return told


def _on_a_terminal() -> bool:
    return sys.__stderr__ is not None and sys.__stderr__.isatty()
