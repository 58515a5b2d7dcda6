"""Calls of the lanes without an event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def finish(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call whose client does not wait, such as a blocking one."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise RuntimeError("the client of these lanes waits: await the call in an event loop")
