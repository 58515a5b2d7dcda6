"""The last moment before a request leaves, without a network."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from onelane_worker.intercom.call import Call, TooLate
from onelane_worker.intercom.wire import Request

PAST = 0.0
TIMEOUT_S = 15.0


@dataclass
class Limit:
    """Stands in for asyncio.Timeout."""

    set_to: list[float | None] = field(default_factory=list)

    def reschedule(self, when: float | None) -> None:
        self.set_to.append(when)


def a_call(**changes: Any) -> Call:
    values = {"send_by": math.inf, "deadline": math.inf, **changes}
    return Call(Request("GET", "/me"), answer_within_s=TIMEOUT_S, now_ms=lambda: 7, **values)


def leave(call: Call) -> Limit:
    limit = Limit()
    asyncio.run(call.leave(cast("asyncio.Timeout", limit)))
    return limit


def test_the_time_for_the_answer_begins_when_the_request_leaves() -> None:
    call = a_call()
    before = time.monotonic()
    (answer_by,) = leave(call).set_to
    assert answer_by is not None
    assert before + TIMEOUT_S <= answer_by <= time.monotonic() + TIMEOUT_S
    assert call.started_ms == 7


def test_the_callers_deadline_may_come_first() -> None:
    deadline = time.monotonic() + TIMEOUT_S / 2
    assert leave(a_call(deadline=deadline)).set_to == [deadline]


@pytest.mark.parametrize("late", [{"send_by": PAST}, {"deadline": PAST}])
def test_a_late_request_stays(late: dict[str, float]) -> None:
    call = a_call(**late)
    with pytest.raises(TooLate):
        leave(call)
    assert call.started_ms is None


def test_the_callers_word_replaces_send_by() -> None:
    call = a_call(send_by=PAST, ready=Future())
    call.permit(math.inf)
    leave(call)
    assert call.started_ms == 7


def test_a_word_that_comes_after_the_end_does_nothing() -> None:
    call = a_call(ready=Future())
    call.permission.cancel()
    call.permit(math.inf)
    assert call.permission.cancelled()
