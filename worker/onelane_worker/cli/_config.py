"""Which Redis a command means, and settings errors in human words.

The environment decides; without it, a running `onelane up` of this user; without that, the SDK's default.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import state
from onelane_worker.cli._errors import USAGE, fail

if TYPE_CHECKING:
    from redis import Redis

    from onelane import ContactQueue, QueueSettings
    from onelane_worker.settings import Settings

REDIS_URL = "ONELANE_REDIS_URL"
BROKER_URL = "ONELANE_BROKER_URL"


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
    """The queue that the command means."""
    from onelane import ContactQueue

    return ContactQueue(queue_settings())


def open_redis(tries: int | None = None) -> Redis:
    """A client of the same Redis, for looking at lanes. It gives up as soon as the SDK does.

    `tries`: how often each call is made at most; None is redis-py's own choice.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    from onelane import link

    settings = queue_settings()
    options = link.client_options(settings)
    if tries is not None:
        options["retry"] = Retry(NoBackoff(), tries - 1)
    return Redis.from_url(**options)


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
        redis_url=given.redis_url, broker_url=given.broker_url, **(sandbox if of_up else {})
    )


def _of_up() -> dict[str, str]:
    if is_set(REDIS_URL):
        return {}
    known = state.addresses()
    found = {"redis_url": known.get("redis")}
    if not is_set(BROKER_URL):
        found["broker_url"] = known.get("broker")
    return {name: url for name, url in found.items() if isinstance(url, str)}
