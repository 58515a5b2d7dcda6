"""The verbs of the queue, for both clients, on the double and on a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from onelane import (
    ContactSync,
    DedupeMismatch,
    Intent,
    InvalidIntent,
    LeadCapture,
    NewsletterOptIn,
    Outcome,
    QueueFull,
    UnknownIntent,
    WaitTimeout,
    keyspace,
)
from onelane.identity import lane_id, normalise_email
from onelane.submission import CHUNK_LENGTH

ANN, BOB = "ann@example.test", "bob@example.test"


def capture(email: str = ANN, **fields: Any) -> LeadCapture:
    return LeadCapture(email=email, **fields)


class TestEnqueue:
    def test_stores_the_intent_and_wakes_its_lane(self, shop: Any) -> None:
        intent = capture(name="Ann")
        receipt = shop.queue.enqueue(intent)
        assert receipt.lane == intent.lane
        assert receipt.id[0] == intent.lane[0]
        assert len(receipt.id) == 32
        assert not receipt.duplicate
        assert str(receipt) == receipt.id
        assert shop.lane(receipt.lane) == [receipt.id]
        assert shop.record(receipt.id)["payload"] == intent.to_json()
        [turn] = shop.publisher.turns
        assert (turn.lane, turn.head, turn.kind, turn.who) == (
            receipt.lane,
            receipt.id,
            "lead_capture",
            "a***@example.test",
        )
        assert (turn.queue, turn.seq, turn.retries) == ("interactive", 1, 0)

    def test_takes_the_json_form_too(self, shop: Any) -> None:
        receipt = shop.queue.enqueue({"kind": "newsletter_opt_in", "email": ANN})
        assert shop.queue.status(receipt.id).kind == "newsletter_opt_in"

    def test_keeps_the_order_of_a_lane_and_sends_one_turn(self, shop: Any) -> None:
        receipts = [
            shop.queue.enqueue(capture(spelling)) for spelling in (ANN, "ANN@Example.test", f" {ANN}")
        ]
        assert shop.lane(receipts[0].lane) == [receipt.id for receipt in receipts]
        assert len(shop.publisher.turns) == 1

    def test_syncs_travel_in_bulk(self, shop: Any) -> None:
        shop.queue.enqueue(ContactSync(email=ANN))
        assert [turn.queue for turn in shop.publisher.turns] == ["bulk"]

    def test_a_form_that_names_its_trust_is_left_to_workers_that_know_it(self, shop: Any) -> None:
        plain, trusted = (shop.queue.enqueue(LeadCapture(email=ANN, trusted=said)) for said in (None, False))
        assert [shop.record(one.id).get("schema") for one in (plain, trusted)] == [None, "3"]

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
        assert shop.stored() == len(shop.publisher.turns) == 1

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
        key = keyspace.dedupe(receipt.lane, "lead_capture", "7")
        assert shop.redis.ttl(key) == shop.redis.ttl(keyspace.intent(receipt.id)) == -1

    def test_a_key_whose_life_is_over_is_free(self, shop: Any) -> None:
        receipt = shop.queue.enqueue(capture(dedupe_key="7"))
        shop.redis.delete(keyspace.dedupe(receipt.lane, "lead_capture", "7"))
        assert shop.queue.enqueue(capture(name="Bo", dedupe_key="7")).id != receipt.id


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
        shop = open_shop(pending_max=16)
        shop.queue.enqueue(capture())
        with pytest.raises(QueueFull, match="this partition of the queue already holds 1 "):
            shop.queue.enqueue(capture())
        assert shop.stored() == 1


class TestEnqueueMany:
    def test_receipts_are_in_order_over_chunks(self, shop: Any) -> None:
        count = 2 * CHUNK_LENGTH + 1
        receipts = shop.queue.enqueue_many(capture(f"p{n}@example.test") for n in range(count))
        assert [r.lane for r in receipts] == [lane_id(f"p{n}@example.test") for n in range(count)]
        assert shop.stored() == len(shop.publisher.turns) == count

    def test_of_one_lane_send_one_turn(self, shop: Any) -> None:
        receipts = shop.queue.enqueue_many([capture(), {"kind": "contact_sync", "email": ANN}, capture()])
        assert shop.lane(receipts[0].lane) == [receipt.id for receipt in receipts]
        assert len(shop.publisher.turns) == 1

    def test_of_nothing(self, shop: Any) -> None:
        assert shop.queue.enqueue_many([]) == []

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
        assert shop.stored() == len(shop.publisher.turns) == CHUNK_LENGTH + 2  # the first call's, Bob, others

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
        shop.redis.hset(keyspace.intent(receipt.id), mapping=progress)
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
        shop.redis.hset(keyspace.intent(receipt.id), "state", "waiting")
        with pytest.raises(WaitTimeout):
            shop.queue.wait(receipt.id, timeout=0)


class TestLatest:
    CONTACT: ClassVar[dict[str, Any]] = {"id": "c1", "role": "user", "external_id": "7"}
    FIELDS: ClassVar[dict[str, Any]] = {"name": "Ann", "custom_attributes.plan": "pro"}

    def believe(self, shop: Any, facts: dict[str, Any] | None, primary: str | None = "c1") -> None:
        """What a worker stores: facts by field path, and nothing that is the default."""
        contact = {**self.CONTACT, "facts": facts} if facts else self.CONTACT
        belief = {"contacts": [{"id": "c0", "role": "lead"}, contact], "primary": primary}
        shop.redis.set(keyspace.belief(lane_id(normalise_email(ANN))), json.dumps(belief))

    def test_is_the_primary_contact_as_last_written_or_read(self, shop: Any) -> None:
        seconds, micros = shop.redis.time()
        as_of_ms = (seconds - 60) * 1000 + micros // 1000
        self.believe(shop, {"fields": self.FIELDS, "as_of_ms": as_of_ms, "source": "written"})
        latest = shop.queue.latest("ANN@example.test ")
        assert (latest.contact_id, latest.role, latest.external_id) == ("c1", "user", "7")
        assert latest.fields == {"name": "Ann", "custom_attributes": {"plan": "pro"}}
        assert latest.source == "written"
        assert latest.as_of.timestamp() == pytest.approx(as_of_ms / 1000)
        assert 60 <= latest.age_s < 90

    def test_is_none_without_facts(self, shop: Any) -> None:
        assert shop.queue.latest(ANN) is None
        self.believe(shop, None)
        assert shop.queue.latest(ANN) is None
        self.believe(shop, {"as_of_ms": 1}, primary=None)
        assert shop.queue.latest(ANN) is None

    def test_what_was_read_is_told_from_what_was_written(self, shop: Any) -> None:
        self.believe(shop, {"as_of_ms": 1})
        assert (shop.queue.latest(ANN).source, shop.queue.latest(ANN).fields) == ("read", {})

    def test_needs_an_address(self, shop: Any) -> None:
        with pytest.raises(InvalidIntent, match="email: is no email address"):
            shop.queue.latest("ann")
