"""An erased person: in Intercom, and in all that Redis holds, the broker's queues too."""

from __future__ import annotations

from typing import Any

from redis import Redis

from onelane import ContactErasure, ContactSync, EmailChange, LeadCapture, NewsletterOptOut, ProductSignUp

from .processes import wait_until
from .story import Story

PERSON = {"name": "Annabella Quine", "phone": "+353871234567"}


def test_nothing_of_an_erased_person_is_left_in_redis(story: Story) -> None:
    old, new, external_id = story.email(), story.email("annabel"), story.external_id()
    story.do(ProductSignUp(email=old, external_id=external_id, dedupe_key="her-key", **PERSON))
    for _ in range(2):
        story.do(ContactSync(email=old, external_id=external_id, **PERSON))
    story.do(NewsletterOptOut(email=old))
    story.do(EmailChange(email=old, new_email=new))
    refused = story.do(LeadCapture(email=new, custom_attributes={"unknown": "of hers"}, **PERSON))
    assert refused.result == "rejected"
    words = {old, new, external_id, "a***@example.test", "of hers", "her-key", *PERSON.values()}
    assert {new, "of hers"} <= _found(story.world.redis_url, words)

    last = story.queue.enqueue_many([LeadCapture(email=new, **PERSON), ContactErasure(email=new)])
    assert story.end(last[1]).result == "erased"

    wait_until(lambda: not _found(story.world.redis_url, words), what="nothing names the person")
    assert story.live(new) == []


def _found(url: str, words: set[str]) -> set[str]:
    """Those that are anywhere in this Redis database."""
    with Redis.from_url(url, decode_responses=True) as redis:
        kept = "\n".join(f"{key} {_read(redis, key)}" for key in redis.scan_iter("*"))
    return {word for word in words if word in kept}


def _read(redis: Redis, key: str) -> Any:
    match redis.type(key):
        case "hash":
            return redis.hgetall(key)
        case "list":
            return redis.lrange(key, 0, -1)
        case "zset":
            return redis.zrange(key, 0, -1)
        case "set":
            return redis.smembers(key)
    return redis.get(key)
