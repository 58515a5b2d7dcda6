"""The Celery side: one thin task per kind, and the steps that a worker takes when it starts.

A task's end is what Flower shows: SUCCESS with the outcome, RETRY while the intent is put back, FAILURE for a
dead letter. A turn that has nothing to do with its own intent any more ends without a word.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.exceptions import Ignore
from celery.signals import (
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker import state
from kombu.transport import virtual
from redis import RedisError

from onelane.intents import KINDS
from onelane.keyspace import INTERACTIVE
from onelane.turns import QUEUE_HEADER, SEQ_HEADER, TASK_PREFIX
from onelane_worker import logs
from onelane_worker.checks import Unfit, require_fit
from onelane_worker.core.operations import Problem
from onelane_worker.history import Observers
from onelane_worker.payloads import SETTLE_CHECK
from onelane_worker.redis_errors import said as redis_said
from onelane_worker.returning import problem_of
from onelane_worker.rows import Rejected, Told, TurnRows
from onelane_worker.services import UNKNOWN_KIND, Services
from onelane_worker.turn import serve
from onelane_worker.wakeup import WakeUpStep
from onelane_worker.workspace import OtherWorkspace

log = structlog.get_logger(__name__)
WORKSPACE_S = 5.0
"""How long a starting worker waits for Intercom to tell whose token it has."""


def register(app: Celery, services: Callable[[], Services]) -> None:
    """Give the app its tasks and its boot steps."""
    for kind in (*KINDS, SETTLE_CHECK, UNKNOWN_KIND):
        _register_kind(app, services, kind)
    app.steps["worker"].add(_timer_step(services))
    app.steps["consumer"].add(_lost_broker_step(services))
    app.steps["consumer"].add(WakeUpStep)
    _connect_signals(services)


def _register_kind(app: Celery, services: Callable[[], Services], kind: str) -> None:
    @app.task(name=TASK_PREFIX + kind, bind=True, throws=(Rejected,), max_retries=None)
    def turn(self: Any, lane: str, who: str = "") -> Told:
        return run_turn(services(), self.request, lane)


def run_turn(services: Services, request: Any, lane: str) -> Told:
    """Serve the lane; say what became of the intent whose id this task bears."""
    services.rows.hostname = request.hostname
    rows = TurnRows(services.rows, request.id)
    headers = request.get("headers") or {}
    queue = request.get(QUEUE_HEADER) or headers.get(QUEUE_HEADER) or INTERACTIVE
    seq = int(request.get(SEQ_HEADER) or headers.get(SEQ_HEADER) or 0)
    with services.history.of(lane) as story:
        try:
            serve(services.turns, lane, queue, seq, Observers(rows, story))
        except Exception as error:  # told in the log; the lane was given back, so this is no failed intent
            rows.interrupted(problem_of(error))
    if rows.rejected is not None:
        raise rows.rejected
    if rows.outcome is not None:
        return Told(rows.outcome)
    if rows.postponed is not None:
        raise rows.postponed
    raise Ignore


def _timer_step(services: Callable[[], Services]) -> type[bootsteps.StartStopStep]:
    class DueTimerStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Runs the due timer beside the consumer, in the worker's main process."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.timer = services().due_timer()

        def start(self, parent: Any) -> None:
            self.timer.start()

        def stop(self, parent: Any) -> None:
            self.timer.stop()

    return DueTimerStep


def _lost_broker_step(services: Callable[[], Services]) -> type[bootsteps.StartStopStep]:
    class TellAgainStep(LostBrokerStep):
        """Part of the consumer; made anew for every connection to the broker."""

        def start(self, consumer: Any) -> None:
            super().start(consumer)
            services().rows.connection_is_back()

    return TellAgainStep


class LostBrokerStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Lets the worker outlive a broken connection to the broker.

    When it breaks, the channel is closed twice, and the turns at work end after that (Celery and kombu 5.7).
    To put them back, or to acknowledge them, by a channel that is gone raises what ends the process. Neither
    is needed: they are being served. In an orderly end they are put back: others begin what we have not. But
    once the broker has left one without an answer, nothing more is asked: each would cost a time-out.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        if isinstance(channel, virtual.Channel):
            _keep_turns(channel)

    def shutdown(self, consumer: Any) -> None:
        channel = getattr(consumer.task_consumer, "channel", None)
        if isinstance(channel, virtual.Channel):
            channel.do_restore = not getattr(channel, "unanswered", False)


def _keep_turns(channel: Any) -> None:
    channel.do_restore = False
    channel.unanswered = False
    channel.basic_ack = _unless_closed(channel, channel.basic_ack)
    channel.basic_reject = _unless_closed(channel, channel.basic_reject)


def _unless_closed(channel: Any, answer: Callable[..., None]) -> Callable[..., None]:
    def checked(*args: Any, **options: Any) -> None:
        if channel.closed or channel.unanswered:
            return
        try:
            answer(*args, **options)
        except channel.connection_errors:
            channel.unanswered = state.should_stop is not None
            raise
        except RedisError as error:  # refused: the message comes again one day, and finds nothing to do
            log.warning("turn not acknowledged", problem=redis_said(error))

    return checked


def _refuse_other_workspace(services: Services) -> None:
    """End the worker before it begins, if its token is of another workspace than the queue.

    If Intercom does not tell now, the worker starts, and asks again before its first call.
    """
    try:
        unknown = services.gateway.confirm(deadline=time.monotonic() + WORKSPACE_S)
    except OtherWorkspace as other:
        raise SystemExit("\n  ".join([f"onelane: {other.says}", *other.todo.splitlines()])) from None
    except RedisError as error:
        log.warning("nothing is written before Redis has the workspace on record", problem=redis_said(error))
        return
    if unknown is not None:
        problem = getattr(unknown, "problem", Problem("unreadable"))
        said = {"problem": problem.kind, "status": problem.http_status, "message": problem.message}
        log.warning("nothing is written before Intercom has told whose token this is", **said)


def _connect_signals(services: Callable[[], Services]) -> None:
    @worker_init.connect(weak=False)
    def refuse_unfit_redis(**_: Any) -> None:
        logs.configure()
        try:
            require_fit(services().redis, services().settings.redis_wait_s)
        except Unfit as unfit:
            raise SystemExit(f"onelane: {unfit}") from None
        _refuse_other_workspace(services())

    @worker_ready.connect(weak=False)
    def tell_name(sender: Any, **_: Any) -> None:
        services().presence.name = sender.hostname

    @worker_process_init.connect(weak=False)
    def configure_child(**_: Any) -> None:
        logs.configure()

    @worker_shutting_down.connect(weak=False)
    def take_no_more(**_: Any) -> None:
        services().stop.ask()

    @worker_shutdown.connect(weak=False)
    def close(**_: Any) -> None:
        services().close()
