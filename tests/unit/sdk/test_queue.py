"""The verbs of the queue, for both clients, on the double and on a real server."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from onelane import (
    ContactSync,
    DedupeMismatch,
    EmailChange,
    Intent,
    InvalidIntent,
    LeadCapture,
    NewsletterOptIn,
    Outcome,
    QueueFull,
    Receipt,
    UnknownIntent,
    WaitTimeout,
)
from onelane.submission import CHUNK_LENGTH, WAKE_MAX
from onelane_worker.engine.codec import to_store
from onelane_worker.planner.registry import Contact, Facts, RegistryEntry

ANN, BOB = "ann@example.test", "bob@example.test"


def capture(email: str = ANN, **fields: Any) -> LeadCapture:
    return LeadCapture(email=email, **fields)


class TestEnqueue:
    def test_stores_the_intent_and_wakes_a_worker(self, shop: Any) -> None:
        intent = capture(name="Ann", external_id="u-7")
        receipt = shop.queue.enqueue(intent)
        assert receipt.lane == shop.lane_of(ANN)
        assert re.fullmatch("[0-9a-f]{32}", receipt.id)
        assert not receipt.duplicate
        assert str(receipt) == receipt.id
        assert shop.waiting(receipt.lane) == [receipt.id]
        record = shop.record(receipt.id)
        assert record["payload"] == intent.to_json()
        assert (record["kind"], record["lane"]) == ("lead_capture", receipt.lane)
        assert record["ext"] == shop.workspace.external_id("u-7")
        assert shop.waker.sent == [1]

    def test_takes_the_json_form_too(self, shop: Any) -> None:
        receipt = shop.queue.enqueue({"kind": "newsletter_opt_in", "email": ANN})
        assert shop.queue.status(receipt.id).kind == "newsletter_opt_in"

    def test_keeps_the_order_of_a_lane_and_wakes_one_worker(self, shop: Any) -> None:
        receipts = [
            shop.queue.enqueue(capture(spelling)) for spelling in (ANN, "ANN@Example.test", f" {ANN}")
        ]
        assert shop.waiting(receipts[0].lane) == [receipt.id for receipt in receipts]
        assert shop.waker.sent == [1]

    def test_syncs_are_served_in_bulk(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(ContactSync(email=ANN))
        assert shop.redis.zrange(shop.key("ready", "bulk"), 0, -1) == [receipt.lane]

    def test_a_change_of_address_leaves_its_marker_in_the_other_lane(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(EmailChange(email=ANN, new_email=BOB))
        assert shop.waiting(receipt.lane) == [receipt.id]
        assert shop.waiting(shop.lane_of(BOB)) == [f"~{receipt.id}"]

    def test_wake_ups_under_way_are_capped(self, shop: Any) -> None:
        for n in range(WAKE_MAX + 2):
            shop.queue.enqueue(capture(f"p{n}@example.test"))
        assert sum(shop.waker.sent) == WAKE_MAX

    def test_a_form_that_names_its_trust_is_left_to_workers_that_know_it(self, shop: Any) -> None:
        plain, trusted = (shop.queue.enqueue(LeadCapture(email=ANN, trusted=said)) for said in (None, False))
        assert [int(shop.record(one.id).get("schema", 1)) for one in (plain, trusted)] == [1, 3]

    def test_checks_an_unchecked_copy(self, shop: Any) -> None:
        with pytest.raises(InvalidIntent, match="name: must be a string"):
            shop.queue.enqueue(capture().model_copy(update={"name": 3}))
        assert shop.stored() == 0

    def test_refuses_a_flood(self, shop: Any) -> None:
        attributes = {f"attribute {n}": "x" * 255 for n in range(300)}
        with pytest.raises(InvalidIntent, match="larger than 64 KiB"):
            shop.queue.enqueue(capture(custom_attributes=attributes))

    def test_survives_a_flushed_script_cache(self, shop: Any) -> None:
        for _ in range(2):
            shop.redis.script_flush()
            shop.queue.enqueue(capture())
        assert shop.stored() == 2


class TestDedupe:
    def test_the_same_again_gives_the_earlier_receipt(self, shop: Any) -> None:
        first = shop.queue.enqueue(capture(name="Ann", dedupe_key="quote 7"))
        again = shop.queue.enqueue(
            capture(" ANN@example.test", name="Ann", dedupe_key="quote 7", occurred_at=datetime.now(UTC))
        )
        assert (again.id, again.lane, again.duplicate) == (first.id, first.lane, True)
        assert str(again) == f"{first.id} (duplicate)"
        assert (shop.stored(), shop.waker.sent) == (1, [1])

    def test_other_content_under_the_key_is_refused(self, shop: Any) -> None:
        first = shop.queue.enqueue(capture(name="Ann", dedupe_key="quote 7"))
        with pytest.raises(DedupeMismatch, match=first.id) as caught:
            shop.queue.enqueue(capture(name="Bo", dedupe_key="quote 7"))
        assert caught.value.receipt_id == first.id
        assert shop.stored() == 1

    def test_keys_of_other_addresses_and_kinds_are_others(self, shop: Any) -> None:
        shop.queue.enqueue(capture(dedupe_key="7"))
        shop.queue.enqueue(capture(BOB, dedupe_key="7"))
        shop.queue.enqueue(NewsletterOptIn(email=ANN, dedupe_key="7"))
        assert shop.stored() == 3

    def test_a_key_lives_as_long_as_its_intent_waits(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture(dedupe_key="7"))
        key = self.key_of(shop, receipt)
        assert shop.redis.ttl(key) == shop.redis.ttl(shop.key("intent", receipt.id)) == -1

    def test_a_key_whose_life_is_over_is_free(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture(dedupe_key="7"))
        assert shop.redis.delete(self.key_of(shop, receipt)) == 1
        assert shop.queue.enqueue(capture(name="Bo", dedupe_key="7")).id != receipt.id

    def key_of(self, shop: Any, receipt: Receipt) -> str:
        return str(shop.key("dedupe", shop.workspace.dedupe(receipt.lane, "lead_capture", "7")))


class TestLimits:
    def test_of_a_lane(self, open_shop: Any) -> None:
        shop = open_shop(lane_max=2)
        for _ in range(2):
            shop.queue.enqueue(capture())
        with pytest.raises(QueueFull, match="the lane of this address already holds 2") as caught:
            shop.queue.enqueue(capture())
        assert caught.value.limit == 2
        shop.queue.enqueue(capture(BOB))

    def test_of_all_lanes_together(self, open_shop: Any) -> None:
        shop = open_shop(pending_max=2)
        shop.queue.enqueue_many([capture(), capture(BOB)])
        with pytest.raises(QueueFull, match="the queue already holds 2 "):
            shop.queue.enqueue(capture("cy@example.test"))
        assert shop.stored() == 2

    def test_a_change_of_address_needs_room_in_both_lanes(self, open_shop: Any) -> None:
        shop = open_shop(lane_max=1)
        shop.queue.enqueue(capture(BOB))
        with pytest.raises(QueueFull, match="already holds 1 "):
            shop.queue.enqueue(EmailChange(email=ANN, new_email=BOB))
        assert shop.stored() == 1


class TestEnqueueMany:
    def test_receipts_are_in_order_over_chunks(self, shop: Any) -> None:
        count = 2 * CHUNK_LENGTH + 1
        receipts = shop.queue.enqueue_many(capture(f"p{n}@example.test") for n in range(count))
        assert [r.lane for r in receipts] == [shop.lane_of(f"p{n}@example.test") for n in range(count)]
        assert [shop.waiting(receipt.lane) for receipt in receipts] == [[receipt.id] for receipt in receipts]
        assert shop.stored() == count
        assert shop.waker.sent == [WAKE_MAX]

    def test_of_one_lane_send_one_wake_up(self, shop: Any) -> None:
        receipts = shop.queue.enqueue_many([capture(), {"kind": "contact_sync", "email": ANN}, capture()])
        assert shop.waiting(receipts[0].lane) == [receipt.id for receipt in receipts]
        assert shop.waker.sent == [1]

    def test_of_nothing(self, shop: Any) -> None:
        assert shop.queue.enqueue_many([]) == []
        assert shop.redis.keys("*") == shop.waker.sent == []

    def test_one_bad_intent_stops_all_before_anything_is_sent(self, shop: Any) -> None:
        batch = [capture(), capture(BOB), {"kind": "lead_capture", "email": "bob"}]
        with pytest.raises(InvalidIntent, match=r"^intent 2: email: ") as caught:
            shop.queue.enqueue_many(batch)
        assert (caught.value.index, caught.value.field) == (2, "email")
        assert shop.stored() == 0

    def test_so_does_one_that_a_generator_could_not_make(self, shop: Any) -> None:
        def rows() -> Iterator[Intent]:
            yield capture()
            yield capture(name=3)

        with pytest.raises(InvalidIntent) as caught:
            shop.queue.enqueue_many(rows())
        assert caught.value.index == 1
        assert shop.stored() == 0

    def test_a_mismatch_concerns_its_intent_alone(self, shop: Any) -> None:
        shop.queue.enqueue(capture(name="Ann", dedupe_key="7"))
        others = [capture(f"p{n}@example.test") for n in range(CHUNK_LENGTH)]
        with pytest.raises(DedupeMismatch) as caught:
            shop.queue.enqueue_many([capture(BOB), capture(name="Bo", dedupe_key="7"), *others])
        receipts = caught.value.receipts
        assert caught.value.index == 1
        assert [n for n, receipt in enumerate(receipts) if receipt is None] == [1]
        assert len(receipts) == CHUNK_LENGTH + 2
        assert shop.stored() == CHUNK_LENGTH + 2  # the first call's, Bob, others

    def test_a_full_lane_stops_after_the_chunk(self, open_shop: Any) -> None:
        shop = open_shop(lane_max=1)
        others = [capture(f"p{n}@example.test") for n in range(2 * CHUNK_LENGTH)]
        with pytest.raises(QueueFull) as caught:
            shop.queue.enqueue_many([capture(), capture(), *others])
        receipts = caught.value.receipts
        assert caught.value.index == 1
        assert [n for n, receipt in enumerate(receipts[:CHUNK_LENGTH]) if receipt is None] == [1]
        assert set(receipts[CHUNK_LENGTH:]) == {None}
        assert shop.stored() == CHUNK_LENGTH - 1


class TestStatus:
    def test_of_a_waiting_intent(self, shop: Any) -> None:
        before = datetime.now(UTC)
        status = shop.queue.status(shop.queue.enqueue(capture()).id)
        assert (status.kind, status.state, status.attempts) == ("lead_capture", "waiting", 0)
        assert abs((status.accepted_at - before).total_seconds()) < 60
        assert status.next_attempt_at is status.finished_at is status.error is status.outcome is None

    def test_of_a_retrying_intent(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        error = {"class": "ServerError", "http_status": 503, "code": None, "message": "try later"}
        progress = {"state": "retrying", "attempts": 3, "next": 1_800_000_000_500, "error": json.dumps(error)}
        shop.redis.hset(shop.key("intent", receipt.id), mapping=progress)
        status = shop.queue.status(receipt.id)
        assert (status.state, status.attempts, status.error.class_) == ("retrying", 3, "ServerError")
        assert status.next_attempt_at == datetime(2027, 1, 15, 8, 0, 0, 500_000, tzinfo=UTC)
        assert json.loads(status.model_dump_json())["error"] == error

    def test_of_an_ended_intent_whose_payload_is_gone(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        shop.end(receipt.id, result="created", contact_id="c1", calls=2, newer_field=1)
        status = shop.queue.status(receipt.id)
        assert (status.kind, status.state) == ("lead_capture", "done")
        assert status.finished_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
        assert status.outcome == Outcome(result="created", contact_id="c1", calls=2)
        assert str(status.outcome) == "result=created contact_id=c1 calls=2"

    @pytest.mark.parametrize("intent_id", ["0" * 32, "", "nonsense", "Ä" * 32])
    def test_of_an_unknown_id(self, shop: Any, intent_id: str) -> None:
        assert shop.queue.status(intent_id) is None
        with pytest.raises(UnknownIntent) as caught:
            shop.queue.wait(intent_id, timeout=5)
        assert isinstance(caught.value, LookupError)


class TestWithdraw:
    def test_an_intent_that_waits_ends_withdrawn_and_the_others_go_on(self, shop: Any) -> None:
        first, second = shop.queue.enqueue_many([capture(name="Ann"), capture(name="Bo")])
        assert shop.queue.withdraw(first.id) is True
        assert shop.queue.wait(first.id, timeout=0) == Outcome(result="withdrawn")
        assert shop.queue.status(first.id).state == "done"
        assert shop.waiting(first.lane) == [second.id]
        assert "payload" not in shop.record(first.id)

    def test_again_it_is_withdrawn_already(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        assert [shop.queue.withdraw(receipt.id) for _ in range(2)] == [True, True]

    def test_one_that_has_ended_stays_as_it_is(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        shop.end(receipt.id, result="updated")
        assert shop.queue.withdraw(receipt.id) is False
        assert shop.queue.wait(receipt.id, timeout=0).result == "updated"

    def test_one_that_a_worker_has_had_in_hand_stays(self, shop: Any) -> None:
        first, second = shop.queue.enqueue_many([capture(), capture()])
        shop.redis.hset(shop.key("lane", first.lane), "served", 1)  # as claim notes it
        assert [shop.queue.withdraw(one.id) for one in (first, second)] == [False, True]
        assert shop.waiting(first.lane) == [first.id]

    def test_its_record_and_its_dedupe_key_live_as_long_as_the_settings_say(self, open_shop: Any) -> None:
        shop = open_shop(status_ttl_s=50, dedupe_ttl_s=20)
        receipt = shop.queue.enqueue(capture(dedupe_key="7"))
        shop.queue.withdraw(receipt.id)
        dedupe = shop.key("dedupe", shop.workspace.dedupe(receipt.lane, "lead_capture", "7"))
        assert 0 < shop.redis.ttl(dedupe) <= 20 < shop.redis.ttl(shop.key("intent", receipt.id)) <= 50
        assert shop.queue.enqueue(capture(dedupe_key="7")).duplicate

    @pytest.mark.parametrize("intent_id", ["0" * 32, "", "nonsense"])
    def test_an_unknown_id_is_not_withdrawn(self, shop: Any, intent_id: str) -> None:
        assert shop.queue.withdraw(intent_id) is False


class TestWait:
    def test_gives_the_outcome_also_a_rejected_one(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        shop.end(receipt.id, result="rejected", reason="refused")
        assert shop.queue.wait(receipt.id, timeout=0) == Outcome(result="rejected", reason="refused")

    def test_waits_for_the_end(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        worker = threading.Timer(0.1, shop.end, [receipt.id], {"result": "updated"})
        worker.start()
        assert shop.queue.wait(receipt.id, timeout=30).result == "updated"
        worker.join()

    @pytest.mark.parametrize("timeout", [-1, 0, 0.05])
    def test_ends_in_time(self, shop: Any, timeout: float) -> None:
        receipt = shop.queue.enqueue(capture())
        with pytest.raises(WaitTimeout, match=receipt.id):
            shop.queue.wait(receipt.id, timeout)
        assert shop.queue.status(receipt.id).state == "waiting"

    def test_a_replayed_dead_letter_is_waited_for_again(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture())
        shop.end(receipt.id, result="rejected")
        shop.redis.hset(shop.key("intent", receipt.id), "state", "waiting")
        with pytest.raises(WaitTimeout):
            shop.queue.wait(receipt.id, timeout=0)


class TestLatest:
    FIELDS: ClassVar[dict[str, Any]] = {"name": "Ann", "custom_attributes.plan": "pro"}

    def remember(self, shop: Any, facts: dict[str, Any] | None, primary: str | None = "c1") -> None:
        """Store what a worker stores."""
        shop.queue.latest(ANN)  # opens the workspace
        known = None if facts is None else Facts(id="c1", role="user", **facts)
        contacts = (
            Contact(id="c0", role="lead", resolved_ms=1),
            Contact(id="c1", role="user", external_id="7", resolved_ms=1, facts=known),
        )
        entry = to_store(RegistryEntry(contacts=contacts, primary=primary))
        shop.redis.set(shop.key("registry", shop.lane_of(ANN)), entry)

    def test_is_the_primary_contact_as_last_written_or_read(self, shop: Any) -> None:
        seconds, micros = shop.redis.time()
        as_of_ms = (seconds - 60) * 1000 + micros // 1000
        self.remember(shop, {"fields": self.FIELDS, "as_of_ms": as_of_ms, "source": "written"})
        latest = shop.queue.latest("ANN@example.test ")
        assert (latest.contact_id, latest.role, latest.external_id) == ("c1", "user", "7")
        assert latest.fields == {"name": "Ann", "custom_attributes": {"plan": "pro"}}
        assert latest.source == "written"
        assert latest.as_of.timestamp() == pytest.approx(as_of_ms / 1000)
        assert 60 <= latest.age_s < 90

    def test_is_none_without_facts(self, shop: Any) -> None:
        assert shop.queue.latest(ANN) is None
        self.remember(shop, None)
        assert shop.queue.latest(ANN) is None
        self.remember(shop, {"as_of_ms": 1}, primary=None)
        assert shop.queue.latest(ANN) is None

    def test_what_was_read_is_told_from_what_was_written(self, shop: Any) -> None:
        self.remember(shop, {"as_of_ms": 1})
        assert (shop.queue.latest(ANN).source, shop.queue.latest(ANN).fields) == ("read", {})

    def test_needs_an_address(self, shop: Any) -> None:
        with pytest.raises(InvalidIntent, match="email: is no email address"):
            shop.queue.latest("ann")
