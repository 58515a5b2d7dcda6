"""The Celery app: `celery -A onelane_worker.app worker` starts a worker.

Importing this module reads the settings from the environment.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import Celery
from celery.utils.nodenames import default_nodename, host_format
from pydantic import ValidationError

from onelane import BadSetting, keyspace
from onelane.turns import celery_queue
from onelane_worker import tasks
from onelane_worker.plain_app import plain_app
from onelane_worker.presence import free_name
from onelane_worker.services import BROKER_TIMEOUT_S, HEALTH_CHECK_S, Services, socket_options
from onelane_worker.settings import Settings, complaints

_REDIS_BROKERS = ("redis", "sentinel")


def make_app(settings: Settings) -> Celery:
    """A Celery app with Onelane's conventions: turns carry no data, results live in the lanes."""
    app = plain_app(settings.broker_target)
    app.conf.update(
        task_queues=[celery_queue(queue) for queue in keyspace.QUEUES],
        task_default_queue=keyspace.broker_queue(keyspace.INTERACTIVE),
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,  # with a prefetch of 1: what is fetched is being worked on
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=False,
        task_track_started=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        broker_channel_error_retry=True,
        worker_consumer="onelane_worker.consumer:PatientConsumer",
        broker_connection_timeout=BROKER_TIMEOUT_S,
        broker_transport_options=_transport_options(settings.broker),
        worker_hijack_root_logger=False,
        enable_utc=True,
    )
    return app


def _transport_options(url: str) -> dict[str, Any]:
    if not url.startswith(_REDIS_BROKERS):
        return {}
    return {
        "queue_order_strategy": "priority",
        "health_check_interval": HEALTH_CHECK_S,
        **socket_options(url, BROKER_TIMEOUT_S),
    }


_services: dict[int, Services] = {}
_lock = threading.Lock()


def services() -> Services:
    """The services of this process; a forked child gets its own."""
    with _lock:
        if os.getpid() not in _services:
            _services[os.getpid()] = Services(settings, app)
        return _services[os.getpid()]


try:
    settings = Settings()
except ValidationError as error:
    raise SystemExit(f"onelane: {'; '.join(complaints(error))}") from None
except BadSetting as error:
    raise SystemExit(f"onelane: {error}") from None
app = make_app(settings)
tasks.register(app, services)


def serve(concurrency: int, loglevel: str, name: str | None = None) -> int:
    """Be a worker until a signal ends it; returns the exit code. `name` may hold %h, the host.

    A worker waits on the network nearly all the time, so threads serve it best. Gossip and mingle, Celery's
    talk among workers, are of no use to lanes and cost a start of a second.
    """
    worker = app.Worker(
        hostname=host_format(default_nodename(name or f"{free_name()}@%h")),
        pool_cls="threads",
        concurrency=concurrency,
        loglevel=loglevel,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return worker.exitcode or 0
