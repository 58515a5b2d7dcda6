"""The Celery app: `celery -A onelane_worker.celery_app worker` starts a worker, as does `onelane worker`.

Importing this module reads the settings from the environment.

Celery runs the process: its signals, its connection to the broker, its remote control. The intents are served
by an engine in a thread of the main process, whatever the pool is. A wake-up message pokes it where Celery
receives it, and never reaches the pool; so the pool has one idle process or thread. `--concurrency` is how
many lanes the engine serves at the same time.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from copy import copy
from itertools import chain, repeat
from typing import Any, NoReturn

import structlog
from celery import Celery, bootsteps
from celery.signals import worker_init, worker_process_init, worker_shutting_down
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state
from pydantic import ValidationError

from onelane import BadSetting
from onelane.wakeup import TASK, celery_queue
from onelane_worker.bootstrap import make_engine, plain_app, require_usable_redis
from onelane_worker.engine.engine import Engine
from onelane_worker.engine.task_events import TaskEvents
from onelane_worker.engine.thread import EngineThread
from onelane_worker.engine.workspace_check import OtherWorkspace
from onelane_worker.lanes.client import socket_options
from onelane_worker.operate import logs
from onelane_worker.operate.redis_requirements import Unfit
from onelane_worker.settings import Settings, complaints

log = structlog.get_logger(__name__)
NEGATIVE, USAGE, UNREACHABLE = 1, 2, 4
"""Exit codes of a worker that does not start, as those of the command line."""
BROKER_TIMEOUT_S = 3
"""For connecting to the broker and for one answer of it: longer than it holds back an empty one (1 s)."""
HEALTH_CHECK_S = 5
"""How often a connection that only waits for messages is checked."""
_REDIS_BROKERS = ("redis", "sentinel")
_MOST_WORKERS = 200


def make_app(settings: Settings) -> Celery:
    """A Celery app that takes the workspace's wake-ups and runs an engine."""
    app = plain_app(settings.broker_target)
    queue = copy(celery_queue(settings.workspace))
    queue.no_ack = True  # a wake-up is gone once it is received: the engine finds ready lanes without it
    app.conf.update(
        task_queues=[queue],
        task_default_queue=queue.name,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        worker_pool="solo",
        worker_concurrency=settings.concurrency,
        worker_consumer="onelane_worker.engine.patient_consumer:PatientConsumer",
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # there are none: else Celery warns of it
        worker_enable_prefetch_count_reduction=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        broker_channel_error_retry=True,
        broker_connection_timeout=BROKER_TIMEOUT_S,
        broker_transport_options=_transport_options(settings.broker),
        enable_utc=True,
    )
    process = _Process(settings, app)
    # Not shared: a host application's own Celery apps do not get this task.
    options = {"name": TASK, "shared": False, "ignore_result": True, "send_events": False}
    app.task(**options, Strategy=process.strategy)(_never_run)
    app.steps["worker"].add(_engine_step(process))
    app.steps["consumer"].add(_events_step(process))
    worker_init.connect(process.prepare, weak=False)
    return app


def _transport_options(url: str) -> dict[str, Any]:
    if not url.startswith(_REDIS_BROKERS):
        return {}
    return {"health_check_interval": HEALTH_CHECK_S, **socket_options(url, BROKER_TIMEOUT_S)}


def _never_run(workspace: str) -> None:
    """Something in the workspace is ready. `_Process.strategy` takes the message before any pool sees it."""


def _configure_child(**_: Any) -> None:
    logs.configure()


class _Process:
    """What one worker process runs beside Celery's own parts."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._lanes = settings.concurrency
        self.events = TaskEvents(app)
        self.engine: EngineThread | None = None

    def prepare(self, sender: Any, **_: Any) -> None:
        """Before anything is started: what Celery is to leave out, and whether Redis can be relied on.

        Celery's signals are for all apps of a process: a worker of another app is left alone.
        """
        if sender.app is not self._app:
            return
        worker_shutting_down.connect(self.stop, weak=False)
        worker_process_init.connect(_configure_child, weak=False)
        logs.configure()
        self._lanes, sender.concurrency = sender.concurrency, 1
        sender.options.update(without_gossip=True, without_mingle=True)  # talk among workers: of no use here
        try:
            require_usable_redis(self._settings)
        except Unfit as unfit:
            _refuse(str(unfit), UNREACHABLE if unfit.unreachable else NEGATIVE)

    def start(self, hostname: str) -> None:
        """Serve lanes. Ends the process if the queue belongs to another workspace of Intercom."""
        first = chain([True], repeat(False))

        def make() -> AbstractAsyncContextManager[Engine]:
            settings, lanes = self._settings, self._lanes
            return make_engine(settings, hostname, lanes, self.events, self._end_worker, next(first))

        self.engine = EngineThread(make, self._engine_ended)
        self.events.start()
        try:
            self.engine.start()
        except OtherWorkspace as other:
            _refuse("\n  ".join([other.says, *other.todo.splitlines()]), NEGATIVE)

    def stop(self, **_: Any) -> None:
        """A signal asks for the end: hand back what is at work. A second one: end at once."""
        if self.engine is not None:
            self.engine.stop()

    def join(self) -> None:
        """Wait for the engine's end, and tell the last events."""
        if self.engine is not None:
            if not self.engine.stopping:
                self.engine.stop()
            self.engine.join()
        self.events.close()

    def strategy(self, task: Any, app: Celery, consumer: Any) -> Callable[..., None]:
        """What Celery's consumer does with a wake-up: poke the engine, in the main process."""

        def received(*_: Any, **__: Any) -> None:
            if self.engine is not None:
                self.engine.poke()

        return received

    def _end_worker(self, why: str) -> None:
        """Let the worker end in good order."""
        log.error("this worker ends", why=why)
        state.should_stop = NEGATIVE

    def _engine_ended(self, error: BaseException | None) -> None:
        if error is not None:
            state.should_stop = NEGATIVE


def _engine_step(process: _Process) -> type[bootsteps.StartStopStep]:
    class EngineStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Starts the engine after the pool has forked its processes."""

        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            process.start(worker.hostname)

        def stop(self, worker: Any) -> None:
            process.join()

        terminate = stop

    return EngineStep


def _events_step(process: _Process) -> type[bootsteps.StartStopStep]:
    class TaskEventsStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Tells whether somebody listens; made anew for every connection to the broker."""

        requires = ("celery.worker.consumer.events:Events",)

        def start(self, consumer: Any) -> None:
            process.events.connected(consumer.hostname, consumer.event_dispatcher)

    return TaskEventsStep


def _refuse(why: str, code: int) -> NoReturn:
    """End a worker that is about to start."""
    print(f"onelane: {why}", file=sys.__stderr__)
    raise SystemExit(code)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        _refuse("; ".join(complaints(error)), USAGE)
    except BadSetting as error:
        _refuse(str(error), USAGE)


app = make_app(_settings())


def serve(concurrency: int | None, loglevel: str, name: str | None = None) -> int:
    """Be a worker until a signal ends it; returns the exit code. `name` may hold %h, the host."""
    worker = app.Worker(
        hostname=host_format(default_nodename(name or f"{free_name()}@%h")),
        concurrency=concurrency or app.conf.worker_concurrency,
        loglevel=loglevel,
    )
    worker.start()
    return worker.exitcode or 0


def free_name() -> str:
    """`onelane-1`, or with the next number that no worker of this machine has; this process's until it ends.

    Two workers of one name would be one to Flower, and a name with a process id in it would be another one
    after each restart, and in the labels of metrics a new series.
    """
    for number in range(1, _MOST_WORKERS + 1):
        place = os.path.join(tempfile.gettempdir(), f"onelane-worker-{number}.lock")
        try:
            lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return f"onelane-{number}"
    return "onelane"  # nowhere to keep locks, as in a container that may write nowhere
