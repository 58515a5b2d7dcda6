"""What the product logs: an internal error is a violation, the rest is talk."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def listening(violate: Callable[[str], None]) -> Iterator[None]:
    """Tell of every exception that the product logs, as long as this lasts."""

    def hear(_: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        if method == "exception" or event.get("exc_info"):
            violate(f"internal error: {event}\n{traceback.format_exc()}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[hear], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
