"""Workers die, are stopped, and lose their messages; the intents do not mind."""

from __future__ import annotations

import signal

import pytest

from onelane import LeadCapture, NewsletterOptIn, ProductSignUp
from onelane.keys import wake_queue

from .story import JsonObject, Story
from .world import SHORT_LAG_S, STORMY, OpenWorld, World

TAKES_S = 1.5
"""How long Intercom takes for a call during which a worker is to die: long enough to be caught at it."""


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    """One worker, to be killed; the index lags for less than the settle window."""
    return open_world(settings={**STORMY, "HTTP_TIMEOUT_S": 3}, lag_s=SHORT_LAG_S, workers=1)


@pytest.fixture
def story(world: World) -> Story:
    return Story(world)


def under_way(story: Story) -> JsonObject | None:
    """The create that Intercom is working on at this moment."""
    creates = [r for r in story.requests() if (r["method"], r["path"]) == ("POST", "/contacts")]
    return next((r for r in creates if r["duration_ms"] is None), None)


@pytest.mark.parametrize("role", ["lead", "user"])
def test_29_a_worker_is_killed_in_the_middle_of_a_create(story: Story, role: str) -> None:
    # Given a create that Intercom takes its time for
    email, external_id = story.email(), story.external_id()
    story.sandbox.fault("slow", method="post", path="^/contacts$", seconds=TAKES_S)
    intent = {
        "lead": NewsletterOptIn(email=email, name="Ann"),
        "user": ProductSignUp(email=email, external_id=external_id, name="Ann"),
    }[role]
    receipt = story.queue.enqueue(intent)
    behind = story.queue.enqueue(LeadCapture(email=email, phone="+4930123456"))
    story.wait_until(lambda: under_way(story), "the create to be under way")

    # When its worker is killed, and another one comes
    story.world.workers[0].kill()
    story.world.start_workers()

    # Then the contact that the dead one has made is found, and the lane goes on
    outcome = story.end(receipt)
    assert (outcome.result, outcome.adopted, outcome.role) == ("created", True, role)
    assert story.end(behind).contact_id == outcome.contact_id
    person = story.one(email)
    assert (person["id"], person["name"], person["phone"]) == (outcome.contact_id, "Ann", "+4930123456")


def test_29_a_worker_is_killed_between_its_calls(story: Story) -> None:
    """Nothing was in flight: the next worker waits for the lease alone, and blames nobody."""
    email = story.email()
    story.sandbox.fault("slow", path="/contacts/search", seconds=TAKES_S)
    receipt = story.queue.enqueue(LeadCapture(email=email))
    story.wait_until(lambda: story.requests(), "the search to be under way")
    story.world.workers[0].kill()
    story.world.start_workers()
    assert story.end(receipt).result == "created"
    assert story.one(email)["role"] == "lead"


def test_29_a_worker_that_is_asked_to_stop_finishes_what_it_is_doing(story: Story) -> None:
    # Given a create that Intercom takes its time for, and an intent behind it
    email = story.email()
    story.sandbox.fault("slow", method="post", path="^/contacts$", seconds=TAKES_S)
    receipt = story.queue.enqueue(LeadCapture(email=email, name="Ann"))
    story.wait_until(lambda: under_way(story), "the create to be under way")
    behind = story.queue.enqueue(LeadCapture(email=email, name="Anna"))

    # When the worker is asked to stop, it ends in good order, and the create is no riddle to anybody
    [worker] = story.world.workers
    worker.send(signal.SIGTERM)
    assert worker.join() == 0
    assert story.status(receipt).state == "done"
    assert story.status(receipt).outcome.result == "created"

    # Then what it has not done is done by the next one
    story.world.start_workers()
    assert story.end(behind).result in ("updated", "unchanged")
    assert story.one(email)["name"] == "Anna"


def test_29_without_its_wake_up_a_lane_is_found_by_the_timer(open_world: OpenWorld) -> None:
    # Given intents that were accepted, and a broker that has lost every message of them
    world = open_world(settings=STORMY, workers=0)
    story = Story(world)
    emails = [story.email() for _ in range(3)]
    receipts = story.queue.enqueue_many([LeadCapture(email=email) for email in emails])
    assert world.redis.llen(wake_queue("main")) == len(receipts)
    world.redis.delete(wake_queue("main"))

    # When a worker starts, it finds the lanes by itself
    world.start_workers()
    assert [story.end(receipt).result for receipt in receipts] == ["created"] * 3
    assert all(story.one(email) for email in emails)
