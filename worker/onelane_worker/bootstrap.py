"""The composition root: how settings become the parts that a worker process works with."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import redis
import structlog
from celery import Celery
from redis.exceptions import RedisError

from onelane.keys import Keys
from onelane.tls import Target
from onelane.workspace import Workspace, open_calls, opened
from onelane_worker.engine import dead_letter_expiry
from onelane_worker.engine.engine import Engine, Parts
from onelane_worker.engine.lane import Timing
from onelane_worker.engine.timeline import Observer
from onelane_worker.engine.workspace_check import OwnIntercom
from onelane_worker.intercom.client import IntercomClient
from onelane_worker.lanes.client import TIMEOUT_S, LaneClient, socket_options
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import LaneSettings
from onelane_worker.operate import old_data
from onelane_worker.operate.redis_requirements import Unfit, require_fit
from onelane_worker.planner.operations import NotSent, Problem
from onelane_worker.planner.policy import Policy
from onelane_worker.redis_errors import refusal, said
from onelane_worker.settings import Settings

log = structlog.get_logger(__name__)
PAUSE_S: Final = 1.0
"""Between two tries to open the workspace."""
WHOSE_TOKEN_S: Final = 5.0
"""How long a starting worker waits for Intercom to tell whose token it has."""
LEAVE_S: Final = 2.0
"""Most seconds for telling Redis that an engine has ended."""
_OF_OTHER_APPS: Final = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_CONFIG_MODULE",
    "CELERY_CUSTOM_WORKER_POOL",
    "CELERY_RESULT_BACKEND",
)


@asynccontextmanager
async def make_engine(
    settings: Settings,
    name: str,
    concurrency: int,
    observer: Observer,
    end: Callable[[str], None],
    first: bool,
) -> AsyncIterator[Engine]:
    """An engine in the running loop, for as long as the block lasts.

    It waits for a Redis that is away or refuses. `first`: this process has made no other before. `end` is
    told why, if the queue turns out to belong to another workspace of Intercom. Raises `OtherWorkspace` if
    that is certain at once.
    """
    target = settings.redis_target
    intercom, client = IntercomClient(settings), LaneClient.from_url(target.url, target.tls, _waits)
    watches: list[asyncio.Task[None]] = []
    try:
        workspace = await _open(client, settings.workspace)
        own = OwnIntercom(intercom, client.ask, workspace.keys, end)
        await _confirm(own)
        stored = LaneSettings.of(settings, new_redis=first and settings.new_redis)
        store = LaneStore(client, workspace, stored)
        watches.append(asyncio.create_task(own.watch(), name="onelane-whose-queue"))
        if settings.dead_letter_ttl_s is not None:
            looking = dead_letter_expiry.watch(store, client.ask, workspace.keys, settings.dead_letter_ttl_s)
            watches.append(asyncio.create_task(looking, name="onelane-old-letters"))
        engine = Engine(
            Parts(
                store=store,
                intercom=own,
                workspace=workspace,
                observer=observer,
                policy=policy(settings),
                timing=timing(settings),
                concurrency=concurrency,
                grace_s=settings.stop_grace_s,
                name=name,
                random=random.Random(),
            )
        )
        yield engine
        await _take_leave(client, workspace.keys, engine.id)
    finally:
        for watch in watches:
            watch.cancel()
        await intercom.aclose()
        await client.aclose()


def _waits(error: RedisError | None) -> None:
    """Calls to Redis begin to wait, or none waits any more."""
    if error is None:
        log.info("Redis answers again")
    else:
        known = refusal(error)
        log.warning(
            "the worker waits for Redis", problem=said(error), **({"todo": known.todo} if known else {})
        )


async def _take_leave(client: LaneClient, keys: Keys, engine_id: str) -> None:
    """An engine that has ended counts as alive no more."""
    with suppress(RedisError, TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            await client.ask((("ZREM", keys.key("engines"), engine_id),))


async def _open(client: LaneClient, name: str) -> Workspace:
    while True:
        try:
            return opened(name, await client.ask(open_calls(Keys(name))))
        except RedisError as error:
            log.warning("the workspace cannot be opened, trying again", problem=said(error), in_s=PAUSE_S)
            await asyncio.sleep(PAUSE_S)


async def _confirm(own: OwnIntercom) -> None:
    """Ask whose token it is. If nobody tells now, it is asked again before the first call."""
    try:
        async with asyncio.timeout(WHOSE_TOKEN_S):
            unknown = await own.confirm(asyncio.get_running_loop().time() + WHOSE_TOKEN_S)
    except RedisError as error:
        log.warning("nothing is written before Redis has the workspace on record", problem=said(error))
        return
    except TimeoutError:
        unknown = NotSent(Problem("timeout"))
    if unknown is not None:
        problem = getattr(unknown, "problem", Problem("unreadable"))
        words = {"problem": problem.kind, "status": problem.http_status, "message": problem.message}
        log.warning("nothing is written before Intercom has told whose token this is", **words)


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
        commit_s=settings.commit_s,
        send_grace_s=settings.send_grace_s,
        slice_s=settings.slice_s,
        slice_intents=settings.slice_intents,
        max_hold_s=settings.max_hold_s,
        max_attempts=settings.max_attempts,
        max_kills=settings.max_kills,
        backoff_base_s=settings.backoff_base_s,
        backoff_cap_s=settings.backoff_cap_s,
        parked_retry_s=settings.parked_retry_s,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def require_usable_redis(settings: Settings) -> None:
    """Wait up to REDIS_WAIT_S for the Redis of the lanes. Raises `Unfit` unless a worker can rely on it."""
    target = settings.redis_target
    options = {**target.tls, **socket_options(target.url, TIMEOUT_S), "decode_responses": True}
    with redis.Redis.from_url(target.url, **options) as client:
        require_fit(client, settings.redis_wait_s)
        with suppress(RedisError):  # it refuses now; then there is nothing that a worker could do to it
            if (found := _old_data(client)) is not None:
                raise Unfit(found)


def _old_data(client: redis.Redis) -> str | None:
    with client.pipeline(transaction=False) as pipe:
        for command in old_data.calls():
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        return old_data.complaint(pipe.execute(raise_on_error=False))


def plain_app(broker: Target) -> Celery:
    """A Celery app on this broker, also where the environment is that of another Celery or Django project.

    Celery puts these variables above what an app was given: they are taken out of this process's environment.
    Without `fixups`, DJANGO_SETTINGS_MODULE does not make it load Django and search the current folder.
    """
    for name in _OF_OTHER_APPS:
        os.environ.pop(name, None)
    app = Celery("onelane", broker=broker.url, loader="app", fixups=[], set_as_current=False)
    app.conf.broker_use_ssl = dict(broker.tls) or False
    return app
