"""Which Redis a command means, and settings errors in human words.

The environment decides; without it, a running `onelane up` of this user; without that, the SDK's default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from onelane_worker.cli import state
from onelane_worker.cli._errors import NEGATIVE, USAGE, fail

if TYPE_CHECKING:
    from redis.exceptions import RedisError

    from onelane import ContactQueue, QueueSettings
    from onelane_worker.lanes.client import LaneClient
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.settings import Settings

T = TypeVar("T")

REDIS_URL = "ONELANE_REDIS_URL"
BROKER_URL = "ONELANE_BROKER_URL"
_PATIENCE_S = 2.0


def is_set(variable: str) -> bool:
    """Whether the environment, or a file of secrets, sets the variable; an empty one is not set."""
    from onelane.settings import PREFIX, secrets_of

    return bool(os.environ.get(variable) or secrets_of([variable.removeprefix(PREFIX).lower()]))


def queue_settings() -> QueueSettings:
    """The SDK's settings, with the addresses of a running `up` where the environment is silent."""
    from onelane import QueueSettings

    given: dict[str, Any] = dict(_of_up())
    return QueueSettings.from_env(**given)


def open_queue() -> ContactQueue:
    """The queue that the command means. Ends the command if the Redis holds data of version 0.2."""
    from contextlib import suppress

    from redis.exceptions import RedisError

    from onelane import ContactQueue, link
    from onelane_worker.operate import old_data

    settings = queue_settings()
    with suppress(RedisError), link.blocking_client(settings) as redis:  # the queue itself is more patient
        with redis.pipeline(transaction=False) as pipe:
            for command in old_data.calls():
                pipe.execute_command(*command)
            found = old_data.complaint(pipe.execute(raise_on_error=False))
        if found is not None:
            fail(NEGATIVE, found)
    return ContactQueue(settings)


def run(
    work: Callable[[OpenWorkspace], Coroutine[Any, Any, T]],
    *,
    create: bool = False,
    patience_s: float | None = None,
) -> T:
    """What `work` returns, done with the workspace that the command means.

    `create`: the workspace is made if nobody has used it yet; else it looks empty then. `patience_s`: how
    long Redis may be away or refuse; 2 s, or ENQUEUE_TIMEOUT_S if that is less. Raises redis-py's errors and
    `OnelaneError`, and ends the command if the Redis holds data of version 0.2.
    """
    import asyncio

    if patience_s is None:
        patience_s = min(_PATIENCE_S, queue_settings().enqueue_timeout_s)
    return asyncio.run(_run(work, create, patience_s))


async def _run(work: Callable[[OpenWorkspace], Coroutine[Any, Any, T]], create: bool, patience_s: float) -> T:
    import asyncio

    from onelane_worker.lanes.client import LaneClient

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    settings, gave_up, timer = settings_of_workspace(), [], None

    def give_up(error: RedisError) -> None:
        gave_up.append(error)
        task.cancel()  # type: ignore[union-attr]

    def waiting(error: RedisError | None) -> None:
        """The client tells when its calls begin to wait for Redis, and when none waits any more."""
        nonlocal timer
        if timer is not None:
            timer.cancel()
        timer = None if error is None else loop.call_later(patience_s, give_up, error)

    target = settings.redis_target
    client = LaneClient.from_url(target.url, target.tls, waiting)
    try:
        return await work(await _opened(client, settings, create))
    except asyncio.CancelledError:
        if gave_up:
            raise gave_up[0] from None
        raise
    finally:
        await client.aclose()


async def _opened(client: LaneClient, settings: Settings, create: bool) -> OpenWorkspace:
    from secrets import token_hex

    from onelane.keys import Keys
    from onelane.workspace import META, Workspace, open_calls, opened
    from onelane_worker.lanes.store import LaneStore
    from onelane_worker.lanes.types import LaneSettings
    from onelane_worker.operate import old_data
    from onelane_worker.operate.open_workspace import OpenWorkspace

    keys = Keys(settings.workspace)
    calls = open_calls(keys) if create else (("HGETALL", keys.key(META)),)
    replies = await client.ask([*calls, *old_data.calls()])
    if (found := old_data.complaint(replies[len(calls) :])) is not None:
        fail(NEGATIVE, found)
    if create or replies[0].get("secret"):
        workspace = opened(settings.workspace, replies[: len(calls)])
    else:
        workspace = Workspace(settings.workspace, token_hex(16))  # of nobody: nothing is known
    return OpenWorkspace(workspace, LaneStore(client, workspace, LaneSettings.of(settings)), client.ask)


def where_redis_is() -> str:
    """Advice for whoever could not reach it."""
    if is_set(REDIS_URL):
        return f"Is the server of {REDIS_URL} running?"
    if _of_up():
        return "`onelane up` runs, but its Redis does not answer."
    return f"Set {REDIS_URL}, or start everything on this machine with `onelane up`."


def worker_settings(**given: Any) -> Settings:
    """The worker's settings. Ends the command if the environment cannot be used."""
    from pydantic import ValidationError

    from onelane_worker.settings import Settings, complaints

    try:
        return Settings(**given)
    except ValidationError as error:
        fail(USAGE, "; ".join(complaints(error)), "Correct the environment and start again.")


def settings_of_workspace() -> Settings:
    """The worker's settings for the Redis and the workspace that the command means.

    A running `onelane up` writes to its sandbox, unless the environment names a workspace.
    """
    from onelane_worker.cli._local_stack import SANDBOX_TOKEN

    given = queue_settings()
    url = state.addresses().get("sandbox")
    sandbox = {"intercom_url": url, "intercom_token": SANDBOX_TOKEN}
    of_up = isinstance(url, str) and not is_set("ONELANE_INTERCOM_TOKEN")
    return worker_settings(
        redis_url=given.redis_url,
        broker_url=given.broker_url,
        workspace=given.workspace,
        **(sandbox if of_up else {}),
    )


def _of_up() -> dict[str, str]:
    if is_set(REDIS_URL):
        return {}
    known = state.addresses()
    found = {"redis_url": known.get("redis")}
    if not is_set(BROKER_URL):
        found["broker_url"] = known.get("broker")
    return {name: url for name, url in found.items() if isinstance(url, str)}
