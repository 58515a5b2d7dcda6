"""The composition root: how settings become the parts that the turns of one process share.

Each part is made once, when it is first needed; after a fork the child makes its own.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import redis
import structlog
from celery import Celery
from celery.worker import state as worker_state
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from onelane import keyspace, turns
from onelane.keyspace import QueueName
from onelane.turns import TASK_PREFIX, Turn
from onelane_worker.breaker import Breaker, BulkBreaker
from onelane_worker.core.policy import Policy
from onelane_worker.epoch import Epochs
from onelane_worker.history import History
from onelane_worker.intercom.gateway import Gateway
from onelane_worker.intercom.limiter import Limiter
from onelane_worker.lanes.model import DAY_MS, LaneSettings
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Heartbeat
from onelane_worker.performer import Performer
from onelane_worker.presence import LIFE_MS, Presence
from onelane_worker.rows import RowEvents
from onelane_worker.settings import Settings
from onelane_worker.stopping import Stop
from onelane_worker.timer import DueTimer
from onelane_worker.turn import Dependencies, Timing
from onelane_worker.workspace import OtherWorkspace, OwnGateway, note

log = structlog.get_logger(__name__)
UNKNOWN_KIND = "unknown"
REDIS_RETRIES = 3
REDIS_TIMEOUT_S = 5
"""For connecting to the Redis of the lanes, and for one answer of it."""
BROKER_TIMEOUT_S = 3
"""The same for the broker: longer than it holds back an empty answer, which is a second."""
HEALTH_CHECK_S = 5
"""How often a connection that only waits for messages is checked."""


def make_redis(settings: Settings, on_connect: Callable[[Any], None] | None = None) -> redis.Redis:
    """The client for lanes. It repeats a call whose reply was lost: every script bears that."""
    target = settings.redis_target
    return redis.Redis.from_url(
        target.url,
        **target.tls,
        **socket_options(target.url, REDIS_TIMEOUT_S),
        decode_responses=True,
        health_check_interval=30,
        redis_connect_func=on_connect,
        encoding_errors="replace",  # what is no text becomes what cannot be read, and that is guarded
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), REDIS_RETRIES),
    )


def socket_options(url: str, timeout_s: float) -> dict[str, Any]:
    """What bounds a connection that is silently dropped: by a firewall, or a server that lost its power."""
    bounds = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    if url.startswith("unix://"):
        return bounds
    names = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # each system has some of them
    probes = {getattr(socket, name): value for name, value in names.items() if hasattr(socket, name)}
    return {**bounds, "socket_keepalive": True, "socket_keepalive_options": probes}


class Services:
    """What the turns of one process share."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self.settings = settings
        self.app = app
        self.stop = Stop(settings.stop_grace_s)

    @cached_property
    def redis(self) -> redis.Redis:
        return make_redis(self.settings, None if self.settings.redis_durable else self._epochs.on_connect)

    @cached_property
    def _epochs(self) -> Epochs:
        return Epochs()

    @cached_property
    def store(self) -> LaneStore:
        return LaneStore(self.redis, lane_settings(self.settings))

    @cached_property
    def breaker(self) -> Breaker:
        settings = self.settings
        return Breaker(
            self.redis,
            calls=settings.breaker_calls,
            lanes=settings.breaker_lanes,
            pause_ms=_ms(settings.parked_retry_s),
        )

    @cached_property
    def bulk(self) -> BulkBreaker:
        settings = self.settings
        pause_ms = _ms(settings.parked_retry_s)
        return BulkBreaker(self.redis, rejections=settings.bulk_rejections, pause_ms=pause_ms)

    @cached_property
    def gateway(self) -> OwnGateway:
        return OwnGateway(Gateway(self.settings), self.redis, self.end_worker)

    @cached_property
    def presence(self) -> Presence:
        return Presence(self.redis)

    @cached_property
    def rows(self) -> RowEvents:
        return RowEvents(self.app)

    @cached_property
    def history(self) -> History:
        return History(self.redis, _ms(self.settings.status_ttl_s))

    @cached_property
    def turns(self) -> Dependencies:
        settings = self.settings
        performer = Performer(
            self.store,
            self.gateway,
            Limiter(self.redis, settings.requests_per_10s),
            commit_ms=settings.commit_ms,
            send_grace_s=settings.send_grace_s,
        )
        return Dependencies(
            store=self.store,
            breaker=self.breaker,
            bulk=self.bulk,
            performer=performer,
            heartbeat=Heartbeat(self.store, settings.renew_s, settings.max_hold_s),
            publish=self.publish,
            policy=policy(settings),
            timing=timing(settings),
            epoch_ms=lambda: self._epochs.since_ms(self.redis),
            stop=self.stop,
        )

    def publish(self, turn: Turn) -> None:
        """Send the lane's next turn; if the broker is away, the due timer finds the lane later.

        Celery drops a message whose task it does not know; a kind of newer producers goes by another name.
        """
        known = TASK_PREFIX + turn.kind in self.app.tasks
        turns.publish(self.app, turn if known else replace(turn, kind=UNKNOWN_KIND))

    def waiting(self) -> dict[QueueName, int]:
        """How many messages there are in each of the broker's queues."""
        with self.app.pool.acquire(block=True, timeout=BROKER_TIMEOUT_S) as connection:
            channel = connection.default_channel
            return {queue: _count(channel, queue) for queue in keyspace.QUEUES}

    def due_timer(self) -> DueTimer:
        return DueTimer(
            self.store,
            self.breaker.look,
            self.publish,
            self.waiting,
            self.settings.due_interval_s,
            self.announce,
            self.settings.dead_letter_ttl_s,
            self.bulk.look,
        )

    def announce(self) -> None:
        """Tell that this worker lives, and look whether the queue is still that of its workspace.

        Another workspace ends the worker: somebody has moved the queue, or changed what Redis holds.
        """
        self.rows.catch_up()
        if self.gateway.workspace is not None:
            try:
                note(self.redis, self.gateway.workspace)
            except OtherWorkspace as other:
                self.end_worker(str(other))
                raise
        self.presence.tell(max(LIFE_MS, 3 * _ms(self.settings.due_interval_s)))

    def end_worker(self, why: str) -> None:
        """Let the worker end in good order, with exit code 1."""
        log.error("this worker ends", why=why)
        self.stop.ask()
        worker_state.should_stop = 1

    def close(self) -> None:
        """Stop threads and close connections that have been made."""
        made = self.__dict__
        if "turns" in made:
            self.turns.heartbeat.stop()
        if "gateway" in made:
            self.gateway.close()
        if "rows" in made:
            self.rows.close()
        if "presence" in made:
            with suppress(redis.RedisError):  # the others notice it a little later
                self.presence.end()
        if "redis" in made:
            self.redis.close()


def _count(channel: Any, queue: QueueName) -> int:
    """Declared as `celery_queue` does, and not passively: a queue that nobody has used yet is no error."""
    name = keyspace.broker_queue(queue)
    declared = channel.queue_declare(queue=name, durable=True, exclusive=False, auto_delete=False)
    return int(declared.message_count)


def lane_settings(settings: Settings) -> LaneSettings:
    return LaneSettings(
        lease_ms=_ms(settings.lease_s),
        leaf_ms=_ms(settings.lease_s) + settings.commit_ms,
        registry_ttl_ms=_ms(settings.registry_ttl_s),
        memory_ttl_ms=_ms(settings.consent_memory_s),
        status_ttl_ms=_ms(settings.status_ttl_s),
        unchanged_ttl_ms=_ms(min(settings.unchanged_ttl_s, settings.status_ttl_s)),
        dedupe_ttl_ms=_ms(settings.dedupe_ttl_s),
        lane_idle_ttl_ms=max(DAY_MS, _ms(settings.registry_ttl_s)),
        fold_max=settings.fold_max,
        lost_after_turns=settings.lost_after_turns,
        max_kills=settings.max_kills,
    )


def policy(settings: Settings) -> Policy:
    return Policy(
        other_external_id=settings.other_external_id,
        revive=settings.revive,
        merge_leads=settings.merge_leads,
        form_fields_on_user=settings.form_fields_on_user,
        optout_creates=settings.optout_creates,
        newsletter_subscription_types=settings.newsletter_subscription_types,
        settle_check=settings.settle_check,
        settle_window_ms=_ms(settings.settle_window_s),
        registry_ttl_ms=_ms(settings.registry_ttl_s),
        consent_memory_ms=_ms(settings.consent_memory_s),
        version_memory_ms=_ms(settings.version_memory_s),
        fold_max=settings.fold_max,
    )


def timing(settings: Settings) -> Timing:
    return Timing(
        lease_s=settings.lease_s,
        slice_s=settings.slice_s,
        slice_intents=settings.slice_intents,
        max_attempts=settings.max_attempts,
        max_kills=settings.max_kills,
        backoff_base_s=settings.backoff_base_s,
        backoff_cap_s=settings.backoff_cap_s,
        parked_retry_s=settings.parked_retry_s,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
