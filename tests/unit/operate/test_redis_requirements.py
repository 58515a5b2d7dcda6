"""What a Redis must be able to do, or no worker starts on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from onelane_worker.operate.redis_requirements import Unfit, complaints, require_fit


@pytest.fixture
def user(valkey: Redis, valkey_url: str) -> Iterator[Any]:
    """Makes clients of a user with these rights."""

    def client(*rights: str) -> Redis:
        valkey.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">secret", "~*", *rights)
        return Redis.from_url(valkey_url.replace("redis://", "redis://worker:secret@"))

    yield client
    valkey.execute_command("ACL", "DELUSER", "worker")


def test_a_new_server_will_do(valkey: Redis) -> None:
    require_fit(valkey, 0)


@pytest.mark.parametrize("rights", [("+info", "-eval"), ("+@all", "-eval", "-evalsha")])
def test_a_user_that_may_not_run_scripts_is_told_what_is_missing(rights: tuple[str, ...], user: Any) -> None:
    with user(*rights) as client, pytest.raises(Unfit, match=r"the Redis user needs \+info, \+eval"):
        require_fit(client, 0)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"redis_version": "6.0.16"}, "Redis 6.0.16 is too old"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "Valkey 7.1.9 is too old"),
        ({"redis_version": "7.2", "cluster_enabled": 1}, "node of a Redis Cluster"),
        ({"redis_version": "7.2", "role": "slave"}, "read-only replica"),
        ({"redis_version": "7.2", "maxmemory_policy": "volatile-lru"}, "maxmemory-policy is volatile-lru"),
    ],
)
def test_complaints(info: dict[str, Any], words: str) -> None:
    [complaint] = complaints(info, {})
    assert words in complaint


def test_where_info_does_not_tell_the_policy_the_configuration_does() -> None:
    told = {"maxmemory-policy": "allkeys-lru"}
    assert [*complaints({"redis_version": "7.2"}, told)]
    assert not [*complaints({"redis_version": "7.2"}, {"maxmemory-policy": "noeviction"})]
