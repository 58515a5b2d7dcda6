"""Find-then-create under a redis-py Lock for each address. Seen where somebody has found the race of two
services and not yet the lag of the index."""

from __future__ import annotations

from redis import Redis

from bench.policies.find_then_create import FindThenCreate
from bench.policies.setting import Setting
from onelane import Intent

LOCK_S = 30.0
"""Real seconds after which the lock of a dead holder is free again."""


class UnderALock(FindThenCreate):
    """One writer for each address at a time."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.redis = Redis.from_url(setting.redis_url)

    def apply(self, service: str, intent: Intent) -> None:
        with self.redis.lock(f"lock:{intent.address}", timeout=max(5.0, self.setting.s(LOCK_S))):
            super().apply(service, intent)

    def close(self) -> None:
        super().close()
        self.redis.close()
