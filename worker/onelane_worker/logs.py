"""Logging of a worker: human lines on a terminal, JSON lines elsewhere. No line names an address."""

from __future__ import annotations

import logging
import sys

import structlog

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: int = logging.INFO) -> None:
    """Send structlog's and the standard library's records the same way, to standard error."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if _on_a_terminal() else structlog.processors.JSONRenderer()
    )
    # Celery puts a logging proxy in the place of sys.stderr: a handler on that would feed itself.
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(_SHARED),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
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


def _on_a_terminal() -> bool:
    return sys.__stderr__ is not None and sys.__stderr__.isatty()
