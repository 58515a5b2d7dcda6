"""Can this Redis serve as the store of record? A worker that cannot rely on it refuses to start.

Each refusal says what is wrong and what to do about it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import redis

from onelane_worker.redis_errors import refusal

OLDEST_REDIS: Final = (6, 2)
OLDEST_VALKEY: Final = (7, 2)
EVICTION: Final = "maxmemory-policy"
SCRIPT: Final = "return #redis.call('INFO', 'server')"
"""What every script of the worker does: it asks which server it runs on."""


class Unfit(Exception):
    """Redis cannot serve; the message is for the operator. `unreachable` tells why in one bit."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


def require_fit(
    client: redis.Redis,
    wait_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait up to `wait_s` for Redis, then raise `Unfit` unless it can serve."""
    info = _reach(client, wait_s, clock, sleep)
    for complaint in complaints(info, _configured(client)):
        raise Unfit(complaint)
    try:
        client.eval(SCRIPT, 0)
    except redis.ResponseError as error:
        if (known := refusal(error)) is None or known.code == "NOPERM":
            raise Unfit(script_complaint(error)) from None


def complaints(info: Mapping[str, Any], configured: Mapping[str, str]) -> Iterator[str]:
    """What makes a Redis unfit. `info`: the answer to INFO; `configured`: what CONFIG GET tells, if any."""
    found = (_too_old(info), _of_a_cluster(info), _replica(info), _evicting(info, configured))
    return (complaint for complaint in found if complaint is not None)


def script_complaint(error: Exception) -> str:
    """What it means that `SCRIPT` cannot be run."""
    why = str(error).partition("script:")[0].strip().rstrip(".,")
    return f"scripts may not call INFO ({why}); the Redis user needs +info, +eval and +evalsha"


def version(info: Mapping[str, Any]) -> str:
    """The server's name and version."""
    name, text = _named(info)
    return f"{name} {text}"


def _reach(
    client: redis.Redis, wait_s: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Mapping[str, Any]:
    until = clock() + wait_s
    while True:
        try:
            return dict(client.info())
        except redis.AuthenticationError as error:
            raise Unfit(f"Redis refuses our credentials ({error}); check ONELANE_REDIS_URL") from None
        except redis.RedisError as error:
            if (refused := _certificate_problem(error)) is not None:  # waiting does not mend it
                raise Unfit(
                    f"the certificate that Redis shows was refused ({refused}); "
                    "ONELANE_CA_FILE names the authorities to trust, ONELANE_REDIS_URL the host",
                    unreachable=True,
                ) from None
            known = refusal(error)
            if clock() >= until and known is not None:
                raise Unfit(f"{known}, for {wait_s:g} s now. {known.todo}", unreachable=True) from None
            if clock() >= until:
                raise Unfit(
                    f"Redis was not reachable for {wait_s:g} s ({type(error).__name__}: {error}); "
                    "check ONELANE_REDIS_URL and that the server runs",
                    unreachable=True,
                ) from None
            sleep(min(0.2, max(0.0, until - clock())))


def _configured(client: redis.Redis) -> Mapping[str, str]:
    try:
        found = client.config_get(EVICTION)
    except redis.ResponseError:  # hosted servers forbid CONFIG
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _named(info: Mapping[str, Any]) -> tuple[str, str]:
    valkey = info.get("valkey_version")
    return ("Valkey", str(valkey)) if valkey else ("Redis", str(info.get("redis_version", "0")))


def _too_old(info: Mapping[str, Any]) -> str | None:
    name, text = _named(info)
    oldest = OLDEST_VALKEY if name == "Valkey" else OLDEST_REDIS
    if tuple(int(part) for part in text.split(".")[:2] if part.isdigit()) >= oldest:
        return None
    return f"{name} {text} is too old; Onelane needs {name} {oldest[0]}.{oldest[1]} or newer"


def _certificate_problem(error: BaseException | None) -> str | None:
    """Why the server's certificate was refused, if that is what went wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


def _of_a_cluster(info: Mapping[str, Any]) -> str | None:
    if not int(info.get("cluster_enabled") or 0):
        return None
    return (
        "this Redis is a node of a Redis Cluster, and Onelane needs a single server; "
        "point ONELANE_REDIS_URL at one with cluster-enabled no"
    )


def _replica(info: Mapping[str, Any]) -> str | None:
    if info.get("role", "master") == "master":
        return None
    return "this Redis is a read-only replica; point ONELANE_REDIS_URL at the primary"


def _evicting(info: Mapping[str, Any], configured: Mapping[str, str]) -> str | None:
    policy = info.get("maxmemory_policy") or configured.get(EVICTION)
    if policy in (None, "noeviction"):
        return None
    return (
        f"Redis may evict accepted intents: its maxmemory-policy is {policy}; "
        "set it to noeviction (CONFIG SET maxmemory-policy noeviction)"
    )
