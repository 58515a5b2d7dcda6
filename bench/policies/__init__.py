"""Ways of writing contacts, each as its users would write it, to be compared on the same stories.

A policy is made for one run; `apply` writes one intent and returns when it is written, and several threads
call it at once. What it raises counts as an intent that was given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from bench.policies.cool_down import CoolDown
from bench.policies.create_when_several import CreateWhenSeveral
from bench.policies.find_then_create import FindThenCreate
from bench.policies.first_hit import FirstHit
from bench.policies.lock import UnderALock
from bench.policies.lock_held import LockHeld
from bench.policies.mirror import Mirror
from bench.policies.onelane_queue import OnelaneQueue
from bench.policies.repeated_post import RepeatedPost
from bench.policies.setting import Setting
from onelane import Intent


class Policy(Protocol):
    """A way of writing contacts."""

    def apply(self, service: str, intent: Intent) -> None:
        """Write what the intent says; `service` is the one that says it."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


POLICIES: Mapping[str, Callable[[Setting], Policy]] = {
    "find-then-create": FindThenCreate,
    "under a lock": UnderALock,
    "lock held 60 s": LockHeld,
    "cool-down 3 min": CoolDown,
    "create when several": CreateWhenSeveral,
    "first hit, retry on 409": FirstHit,
    "repeated POST": RepeatedPost,
    "mirror, nightly": Mirror,
    "Onelane": OnelaneQueue,
}
