"""A lock for each address that is taken and not given back: it ends by itself after a minute, so that the
next writer finds what the index shows by then. Seen in newsletter systems that write no more than once a
minute to anybody."""

from __future__ import annotations

import time

from bench.policies.find_then_create import FindThenCreate
from bench.policies.lock import UnderALock
from onelane import Intent

HELD_S = 60.0


class LockHeld(UnderALock):
    """One write to each address in a minute."""

    def apply(self, service: str, intent: Intent) -> None:
        life_ms = round(self.setting.s(HELD_S) * 1000)
        while not self.redis.set(f"held:{intent.address}", "1", nx=True, px=life_ms):
            time.sleep(self.setting.s(1.0))
        FindThenCreate.apply(self, service, intent)
