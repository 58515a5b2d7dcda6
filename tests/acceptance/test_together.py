"""Story 6: two services, two workers, one address, the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from onelane import ContactQueue, ContactUpsert, Outcome

from .story import Story, call_name, scenario

ROUNDS = 20


def speak(story: Story, email: str, attribute: str) -> list[Outcome]:
    """One service: it counts up in an attribute of its own."""
    with ContactQueue.from_url(story.world.redis_url) as queue:
        intents = [
            ContactUpsert(email=email, source=attribute, set={"custom_attributes": {attribute: number}})
            for number in range(1, ROUNDS + 1)
        ]
        receipts = [queue.enqueue(intent) for intent in intents]
    return [story.end(receipt) for receipt in receipts]


@scenario(6)
def test_06_two_services_at_the_same_moment(story: Story) -> None:
    # Given two services that speak of the same person at the same moment, many times
    email, services = story.email(), ("left", "right")
    if story.alone:  # calls that take a while would overlap if they could
        story.sandbox.fault("slow", times=None, seconds=0.02, path="^/contacts")
    with story.calls() as calls, ThreadPoolExecutor() as pool:
        spoken = list(pool.map(lambda service: speak(story, email, service), services))

    # Then there is one contact, with the data of both
    ends = [end for service in spoken for end in service]
    assert {end.contact_id for end in ends} == {story.one(email)["id"]}
    assert story.one(email)["custom_attributes"] == dict.fromkeys(services, ROUNDS)
    assert [end.result for end in ends].count("created") == 1
    assert {end.result for end in ends} <= {"created", "updated", "unchanged", "superseded"}

    # And no two calls for the person were under way at once
    for one, after in zip(calls.requests, calls.requests[1:], strict=False):
        assert one["at"] + one["duration_ms"] / 1000 <= after["at"], (call_name(one), call_name(after))

    # And what each service said arrived in the order in which it was accepted
    for service in services:
        bodies = [*calls.bodies("create"), *calls.bodies("update")]
        numbers = [
            b["custom_attributes"][service] for b in bodies if service in b.get("custom_attributes", {})
        ]
        assert numbers == sorted(numbers)
