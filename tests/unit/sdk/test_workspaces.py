"""Several workspaces in one Redis, each with a secret of its own."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from onelane import (
    ContactErasure,
    EmailChange,
    LeadCapture,
)

ANN, BOB = "ann@example.test", "bob@example.test"


def capture(email: str = ANN, **fields: Any) -> LeadCapture:
    return LeadCapture(email=email, **fields)


class TestWorkspace:
    def test_each_has_lanes_and_limits_of_its_own(self, open_shop: Any) -> None:
        main, other = open_shop(pending_max=1), open_shop(pending_max=1, workspace="other")
        receipts = [shop.queue.enqueue(capture(dedupe_key="7")) for shop in (main, other)]
        assert [one.duplicate for one in receipts] == [False, False]
        assert receipts[0].lane != receipts[1].lane
        assert other.queue.status(receipts[0].id) is None
        assert main.stored() == other.stored() == 1

    def test_after_redis_was_emptied_it_is_opened_again(self, shop: Any) -> None:
        before = shop.queue.enqueue(capture())
        shop.redis.flushall()
        receipts = [shop.queue.enqueue(capture()), *shop.queue.enqueue_many([capture(), capture()])]
        assert {receipt.lane for receipt in receipts} == {shop.lane_of(ANN)} != {before.lane}
        assert shop.waiting(shop.lane_of(ANN)) == [receipt.id for receipt in receipts]

    @pytest.mark.parametrize("verb", ["enqueue", "withdraw", "latest"])
    def test_with_another_secret_it_is_opened_again(self, shop: Any, verb: str) -> None:
        receipt = shop.queue.enqueue(capture())
        shop.redis.hset(shop.key("meta"), "secret", "f" * 32)
        entry = {"contacts": [{"id": "c", "role": "user", "facts": {"as_of_ms": 1}}], "primary": "c"}
        shop.redis.set(shop.key("registry", shop.lane_of(ANN)), json.dumps(entry))
        match verb:
            case "enqueue":
                assert shop.queue.enqueue(capture()).lane == shop.lane_of(ANN) != receipt.lane
            case "withdraw":
                assert shop.queue.withdraw(receipt.id) is True
            case "latest":
                assert shop.queue.latest(ANN).contact_id == "c"

    def test_no_key_and_no_value_holds_a_digest_that_can_be_guessed(self, shop: Any) -> None:
        """After an erasure nobody can find out by hashing addresses whom the rest is about."""
        shop.queue.enqueue_many(
            [
                capture(name="Ann", dedupe_key="k-1", external_id="u-7"),
                EmailChange(email=ANN, new_email=BOB, dedupe_key="k-2"),
                ContactErasure(email=ANN, dedupe_key="k-3"),
            ]
        )
        kept = everything(shop.redis)
        lane, words = shop.lane_of(ANN), (ANN, BOB, "u-7", "k-1", capture(name="Ann").content())
        assert lane in kept
        guesses = {
            digest(text.encode()).hexdigest()[:32]
            for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5)
            for text in (*words, *(f"{lane}\n{kind}\nk-1" for kind in ("lead_capture", "email_change")))
        }
        assert {guess for guess in guesses if guess in kept} == set()
        for receipt_key in shop.redis.keys(shop.key("intent", "*")):
            shop.redis.delete(receipt_key)  # as an erasure does
        assert {word for word in words if word in everything(shop.redis)} == set()


def everything(redis: Any) -> str:
    """All keys and values of a Redis, as one text."""
    read = {
        "string": redis.get,
        "hash": redis.hgetall,
        "list": lambda key: redis.lrange(key, 0, -1),
        "set": redis.smembers,
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
    }
    return "\n".join(f"{key} {read[redis.type(key)](key)}" for key in redis.keys("*"))
