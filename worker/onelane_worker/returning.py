"""A turn that cannot go on although its process lives: its lane is given back as soon as Redis answers.

Redis refused a write, or a connection broke, or a fault of ours came through. The lane's lease would run out,
and whoever claims the lane next would take the holder for dead and charge its head a kill. So the holder says
that it lives: nobody's intent is buried for what Redis did.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog
from redis import RedisError

from onelane_worker.planner import operations as op
from onelane_worker.lanes.store import LaneStore
from onelane_worker.payloads import error_json
from onelane_worker.redis_errors import may_pass, said
from onelane_worker.stopping import Stop

log = structlog.get_logger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
"""Between two tries to give a lane back."""


def problem_of(error: Exception) -> op.Problem:
    """What `status` tells of an attempt that ended in this error."""
    if isinstance(error, RedisError):
        return op.Problem("redis", message=said(error))
    return op.Problem("internal_error", message=type(error).__name__)


def give_back(
    store: LaneStore,
    lane: str,
    token: str,
    error: Exception,
    *,
    soon_s: float,
    late_s: float,
    stop: Stop,
    sleep: Callable[[float], None],
) -> None:
    """Return the lane that `token` may hold. Waits for Redis, but not once this process is to end.

    It is due again `soon_s` later if the error may pass, else after `late_s`; both with jitter.
    """
    problem = problem_of(error)
    passing = isinstance(error, RedisError) and may_pass(error)
    if passing:
        log.warning("turn interrupted", lane=lane, problem=problem.message)
    else:
        log.error("turn failed", lane=lane, error=type(error).__name__, exc_info=error)
    delay_ms = round(1000 * random.uniform(0.5, 1) * (soon_s if passing else late_s))
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            answer = store.give_back(lane, token, delay_ms, error_json(problem))
        except RedisError as refused:
            if stop.asked:
                log.warning("lane not given back, its lease runs out", lane=lane, problem=said(refused))
                return
        else:
            log.info("lane given back", lane=lane, answer=answer)
            return
        sleep(pause_s * random.uniform(0.5, 1))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
