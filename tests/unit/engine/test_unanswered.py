"""A create that never gets an answer: cleared up each time, sent again so often, and then a dead letter."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest
from tests.world.workers import Knobs, Worker
from tests.world.world import World

from onelane import ContactSync, LeadCapture, Receipt
from onelane_worker.engine.lane import Timing
from onelane_worker.planner import operations as op

ANN = "ann@example.test"
HOUR_S = 3_600.0
POISON: dict[str, Any] = {"email": ANN, "name": "Poison", "custom_attributes": {"seq": "poison"}}
LEADS = LeadCapture(**POISON), LeadCapture(email=ANN, name="Ann")
USERS = ContactSync(**POISON, external_id="u-1"), ContactSync(email=ANN, external_id="u-1", name="Ann")
PAIRS = pytest.param(LEADS, id="lead"), pytest.param(USERS, id="user")
"""A poison intent, and one behind it in its lane that would go through alone."""
Pair = tuple[Any, Any]
How = Literal["dies", "500"]
MOST_ATTEMPTS, MAX_KILLS = 5, 4
CHANCES: dict[How, tuple[int, str]] = {
    "dies": (MAX_KILLS, "killed_worker"),
    "500": (MOST_ATTEMPTS, "upstream_error"),
}
"""What becomes of it → how often it is sent, and why it is a dead letter then."""
FAULTS = {"dies": ("crash_in_flight", "crash_after"), "500": ("error_before", "error_after")}


class Story:
    """A world in which no create of the poison is answered; the one of the number `made` takes effect."""

    def __init__(self, world: World, how: How, made: int = 0) -> None:
        self.world = world
        self.sent_s: list[float] = []
        self._how = how
        self._made = made
        self._fail_next()
        world.attributes("seq")

    def go_on(self, seconds: float) -> None:
        """Whoever dies is followed by another engine."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.loop.run_until(lambda: not self._last.process.alive, min(end, self.world.now + 60))
            if not self._last.process.alive:
                self.world.hire()

    def end(self, *receipts: Receipt, within_s: float = 6 * HOUR_S) -> None:
        began = self.world.now
        while not all(self.world.outcome(receipt) for receipt in receipts):
            assert self.world.now - began < within_s
            self.go_on(30)

    @property
    def _last(self) -> Worker:
        return self.world.workers[-1]

    def _fail_next(self) -> None:
        lost, done = FAULTS[self._how]
        number = len(self.sent_s) + 1
        fault = done if number == self._made else lost
        if fault == "crash_in_flight":  # what is in flight would take effect
            fault = "dropped_and_crash"
        self.world.fault("intercom", is_poison, fault)
        self.world.when(is_poison, self._sent)

    def _sent(self) -> None:
        self.sent_s.append(self.world.now)
        self._fail_next()


def is_poison(operation: Any) -> bool:
    body: Any = operation.body if isinstance(operation, op.Create) else {}
    return bool(body.get("custom_attributes", {}).get("seq") == "poison")


def names(world: World) -> list[str]:
    return [contact["name"] for contact in world.contacts(ANN)]


@pytest.fixture
def world(make_world: Any) -> World:
    """With few attempts: each of a lead's takes as long as the index may lag."""
    timing = Timing(max_attempts=MOST_ATTEMPTS, max_kills=MAX_KILLS)
    made: World = make_world(knobs=Knobs(timing=timing), lag_s=120.0)
    return made


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_a_dead_letter_after_its_chances(world: World, pair: Pair, how: How) -> None:
    """And nothing was made of it: the next one in the lane makes the person."""
    story = Story(world, how)
    poison, mate = world.enqueue(*pair)
    story.end(poison, mate)
    rejected, created = world.ended(poison), world.ended(mate)
    assert (len(story.sent_s), rejected.reason) == CHANCES[how]
    assert (rejected.result, rejected.contact_id, created.result) == ("rejected", None, "created")
    assert names(world) == ["Ann"]


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_made_by_the_last_try_it_is_adopted(world: World, pair: Pair, how: How) -> None:
    chances, _ = CHANCES[how]
    story = Story(world, how, made=chances)
    poison, mate = world.enqueue(*pair)
    story.end(poison, mate)
    outcome = world.ended(poison)
    assert (len(story.sent_s), outcome.result, outcome.adopted) == (chances, "created", True)
    assert names(world) == ["Ann"]


@pytest.mark.parametrize("pair", PAIRS)
def test_it_costs_one_attempt_however_often_is_looked(world: World, pair: Pair) -> None:
    story = Story(world, "500")
    [poison] = world.enqueue(pair[0])
    looked = 0
    while len(story.sent_s) < 3:
        story.go_on(20)
        if world.status(poison).state == "reconciling":
            looked += 1
            assert world.status(poison).attempts == len(story.sent_s)
    assert looked > 3


def test_it_is_sent_again_ever_later(make_world: Any) -> None:
    """A user's create is found out about in half a minute; that alone would hammer for ever."""
    world = make_world()
    story = Story(world, "500")
    story.end(*world.enqueue(USERS[0]))
    pauses_s = [later - earlier for earlier, later in pairwise(story.sent_s)]
    commit_s = world.knobs.timing.commit_s
    assert len(story.sent_s) == world.knobs.timing.max_attempts
    assert all(commit_s - 1 <= pause_s <= commit_s + 4 for pause_s in pauses_s[:5])
    assert sum(pauses_s[-10:]) > 10 * 2 * commit_s


def test_a_users_burial_does_not_wait_for_the_index(world: World) -> None:
    """Its external id tells at once that nobody was made."""
    story = Story(world, "dies")
    story.end(*world.enqueue(USERS[0]))
    assert world.now - story.sent_s[-1] < 2 * 60


@pytest.mark.parametrize("pair", PAIRS)
def test_an_outage_for_one_lane_only_makes_no_dead_letter(world: World, pair: Pair) -> None:
    """Too few fail for the breaker: before it is buried, one call finds out that nobody's get through. Then
    its attempts begin anew."""
    world.attributes("seq")
    world.sandbox.add_fault("status_503", times=None, method="post", path="^/contacts$")
    world.sandbox.add_fault("status_503", times=None, path="^/me$")
    receipts = world.enqueue(*pair)
    world.until(lambda: world.status(receipts[0]).attempts == world.knobs.timing.max_attempts, 3 * HOUR_S)
    world.until(lambda: world.status(receipts[0]).attempts < 3, HOUR_S)
    world.sandbox.clear_faults()
    assert [world.ended(one).result for one in receipts] == ["created", "updated"]
    assert names(world) == ["Ann"]


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_death_before_the_burial_gives_no_other_chance(world: World, pair: Pair, how: How) -> None:
    """The doubt was ended already; what was decided on its account must not be forgotten with it."""
    world.fault("redis", "bury", "crash_before")
    story = Story(world, how)
    [poison] = world.enqueue(pair[0])
    story.end(poison)
    assert len(story.sent_s) == CHANCES[how][0]
    assert names(world) == []
