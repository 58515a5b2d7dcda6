"""Find-then-create by a client that repeats each call on 408, 429 and 5xx and after a lost answer, POST
included. Seen in generated API clients: Intercom's official ones do so with `max_retries`."""

from __future__ import annotations

import time

from bench.policies.find_then_create import FindThenCreate
from bench.policies.setting import Body, Passing, Setting
from onelane import Intent

RETRIES, PAUSE_S = 2, 1.0


class _Repeating(Setting):
    def call(self, method: str, path: str, body: Body | None = None) -> tuple[int, Body]:
        for _ in range(RETRIES):
            try:
                return super().call(method, path, body)
            except Passing:
                time.sleep(self.s(PAUSE_S))
        return super().call(method, path, body)


class RepeatedPost(FindThenCreate):
    """The client tries again, and not its caller."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(
            _Repeating(setting.intercom_url, setting.redis_url, setting.scale, setting.timeout_s)
        )

    def apply(self, service: str, intent: Intent) -> None:
        self.write(service, intent)
