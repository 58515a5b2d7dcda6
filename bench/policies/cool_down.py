"""After a write nobody writes to the address for three minutes, and a 409 adopts whom it names. Seen where
the lag of the index is known and waited for."""

from __future__ import annotations

import time

from bench.policies.find_then_create import FindThenCreate
from bench.policies.first_hit import named_by
from bench.policies.lock import UnderALock
from bench.policies.setting import Body, wanted
from onelane import Intent

COOL_DOWN_S = 180.0


class CoolDown(UnderALock):
    """One at a time for each address, and a pause behind each write."""

    def apply(self, service: str, intent: Intent) -> None:
        cold = f"cold:{intent.address}"
        with self.redis.lock(f"lock:{intent.address}", timeout=60 + self.setting.s(COOL_DOWN_S)):
            while (left_ms := self.redis.pttl(cold)) > 0:  # type: ignore[operator]
                time.sleep(left_ms / 1000)  # type: ignore[operator]
            FindThenCreate.apply(self, service, intent)
            self.redis.set(cold, "1", px=round(self.setting.s(COOL_DOWN_S) * 1000))

    def create(self, intent: Intent) -> tuple[int, Body]:
        status, answer = super().create(intent)
        if (contact_id := named_by(status, answer)) is not None:
            return self.setting.call("PUT", f"/contacts/{contact_id}", wanted(intent))
        return status, answer
