"""What is no intent's own fault stops the line, or the class of bulk intents; then all is applied.

These stories stop everybody's line, so they are not among those that are told side by side (`scenario`).
"""

from __future__ import annotations

from collections.abc import Sequence

from onelane import ContactSync, LeadCapture, ProductSignUp, Receipt

from .story import Story

ALIKE = 20
"""ONELANE_BULK_REJECTIONS by default."""


def parked(story: Story, receipts: Sequence[Receipt]) -> bool:
    return all(story.status(receipt).state == "parked" for receipt in receipts)


def test_32_a_token_that_may_not_write(story: Story) -> None:
    # Given a token that may read but not write
    with story.struck("forbidden"):
        # When people come
        receipts = [story.queue.enqueue(LeadCapture(email=story.email(), name="Ann")) for _ in range(6)]

        # Then they wait, and it costs them nothing
        story.wait_until(lambda: parked(story, receipts), "all are parked")
        assert {story.status(receipt).attempts for receipt in receipts} == {0}

    # And all is applied once the permission was granted, without a restart
    assert {story.end(receipt).result for receipt in receipts} == {"created"}
    assert {story.status(receipt).attempts for receipt in receipts} == {1}


def test_35_a_re_sync_with_a_renamed_attribute(story: Story) -> None:
    # Given a re-sync that brings an attribute which Intercom does not know
    renamed = f"renamed_{story.external_id().replace('-', '_')}"
    syncs = story.queue.enqueue_many(
        ContactSync(email=story.email(), external_id=story.external_id(), custom_attributes={renamed: "x"})
        for _ in range(60)
    )

    # When it has stopped
    rest = story.wait_until(lambda: stopped(story, syncs), "what is not dead is parked")

    # Then few are dead, and sign-ups go on
    assert len(syncs) - len(rest) <= ALIKE
    assert story.do(ProductSignUp(email=story.email(), external_id=story.external_id())).result == "created"

    # And the re-sync goes on by itself once the attribute is there
    story.elsewhere("POST", "/data_attributes", {"name": renamed, "model": "contact", "data_type": "string"})
    assert {story.end(receipt).result for receipt in rest} == {"created"}


def stopped(story: Story, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Those that wait, once none is on its way any more."""
    states = {receipt: story.status(receipt).state for receipt in receipts}
    still = set(states.values()) <= {"parked", "dead"} and "parked" in states.values()
    return [receipt for receipt, state in states.items() if state == "parked"] if still else []
