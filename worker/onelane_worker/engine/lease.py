"""A lane that is held: its lease, the engine's own deadline, and the numbers of its steps.

The own deadline is the engine's monotonic clock, read before the first send of the call that granted or
renewed the lease, plus the lease. It can only be earlier than Redis' idea of the end. No call to Intercom
starts after it."""

from __future__ import annotations

from collections.abc import Callable

from onelane_worker.lanes.types import Grant, Step

Clock = Callable[[], float]


class Lease:
    """One engine's hold on one lane."""

    def __init__(self, grant: Grant, sent_at: float, lease_s: float, clock: Clock) -> None:
        self.grant = grant
        self.lost = False
        self.granted_at = clock()
        self.own_deadline = sent_at + lease_s
        """Seconds of the engine's clock."""
        self._lease_s = lease_s
        self._clock = clock
        self._granted_ms = grant.now_ms
        self._steps = 0

    @property
    def lapsed(self) -> bool:
        """The own deadline has passed. It stays so: a Redis that lost a moment renews the lease of a holder
        although, in the moment that it lost, another one had it, and wrote."""
        return self._clock() >= self.own_deadline

    def extended(self, sent_at: float) -> None:
        """A call that was first sent at `sent_at` has renewed the lease, if it had not lapsed by then."""
        if sent_at < self.own_deadline:
            self.own_deadline = max(self.own_deadline, sent_at + self._lease_s)

    def now_ms(self) -> int:
        """Redis' clock, at most a network delay behind: the age of a fact is never understated."""
        return self._granted_ms + int((self._clock() - self.granted_at) * 1000)

    def step(self) -> Step:
        """The next call under this lease; its number is kept when the call is sent again."""
        self._steps += 1
        return Step(self.grant.lane, self.grant.token, self.grant.fence, self._steps)
