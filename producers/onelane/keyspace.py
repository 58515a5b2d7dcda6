"""Every Redis key, spelled here and nowhere else.

All keys of one lane share the hash tag `{p}`, where `p` is the first hex digit of the lane id and of every
intent id in it: 16 partitions, and every script touches one slot of a Redis Cluster.

| key                         | type   | time to live                 | holds                               |
| --------------------------- | ------ | ---------------------------- | ----------------------------------- |
| onelane:{p}:due             | zset   | permanent                    | lane → ms when to look again        |
| onelane:{p}:sent:<queue>    | zset   | permanent                    | lane → seq of its outstanding turn  |
| onelane:{p}:counters        | hash   | permanent                    | seq and claimed by queue, pending   |
| onelane:{p}:dead            | zset   | permanent                    | intent id → ms of burial            |
| onelane:{p}:queue:<lane>    | list   | while not empty              | waiting intent ids, head first      |
| onelane:{p}:changes:<lane>  | zset   | while not empty              | address changes and gates, oldest   |
| onelane:{p}:lane:<lane>     | hash   | a day, once asleep           | lease, fence, open write, journal   |
| onelane:{p}:belief:<lane>   | string | REGISTRY_TTL                 | the recently written registry       |
| onelane:{p}:memory:<lane>   | string | CONSENT_MEMORY               | last consent, versions of sources   |
| onelane:{p}:history:<lane>  | list   | STATUS_TTL                   | what happened lately, for people    |
| onelane:{p}:ended:<lane>    | zset   | as its latest                | what an erasure must find → its end |
| onelane:{p}:intent:<id>     | hash   | none; STATUS_TTL once done,  | payload, progress, outcome          |
|                             |        | or UNCHANGED_TTL             |                                     |
| onelane:{p}:dedupe:<digest> | string | none; DEDUPE_TTL once ended  | intent id and content digest        |
| onelane:{p}:answer:<op>     | string | two minutes                  | what to answer a repeated call      |
| onelane:{p}:ext:<digest>    | hash   | its lock; VERSION_MEMORY     | who works on it, contact, versions  |
| onelane:{p}:known:<digest>  | hash   | REGISTRY_TTL and a lock's    | lanes that know a contact from afar |
| onelane:throttle            | string | until Intercom's window ends | ms until which nobody calls         |
| onelane:calls…              | string | one window of 10 s           | calls made in it (library `limits`) |
| onelane:breaker             | hash   | permanent while open         | why the line is stopped, next trial |
| onelane:bulk                | hash   | permanent while stopped      | why bulk intents wait, next trial   |
| onelane:epoch               | hash   | permanent                    | which server, since when (ms)       |
| onelane:workspace           | hash   | permanent                    | id and name of Intercom's workspace |
| onelane:workers             | zset   | permanent                    | worker → ms until it counts as gone |

Written by: submit and gate (queue, changes, intent, dedupe, due, sent, counters), the lane scripts (all of
those, and lane, belief, memory, answer, dead), leaf scripts (ext), contact_note (known), the rate limiter
(throttle, calls), the breaker, the epoch, the worker itself (workspace, workers), and the history (also by
the operator's commands).

Lua scripts receive whole keys, or a prefix made by `*_prefix` to which they append an id of the same lane.
"""

from __future__ import annotations

from typing import Final, Literal

from onelane.identity import digest

QueueName = Literal["interactive", "bulk"]

PARTITIONS: Final = tuple("0123456789abcdef")
INTERACTIVE: Final[QueueName] = "interactive"
BULK: Final[QueueName] = "bulk"
QUEUES: Final[tuple[QueueName, ...]] = (INTERACTIVE, BULK)

# Keys without a time to live, by the word after the hash tag; a test holds every other key to one.
PERMANENT: Final = frozenset(
    {"due", "sent", "counters", "dead", "breaker", "bulk", "epoch", "workspace", "workers"}
)

THROTTLE: Final = "onelane:throttle"
CALLS: Final = "onelane:calls"
BREAKER: Final = "onelane:breaker"
BULK_BREAKER: Final = "onelane:bulk"
EPOCH: Final = "onelane:epoch"
WORKSPACE: Final = "onelane:workspace"
WORKERS: Final = "onelane:workers"

OF_LANES: Final = "onelane:{*}:*"
"""Pattern of all keys with a hash tag, for SCAN."""


def partition_of(lane_or_intent: str) -> str:
    """The partition (one hex digit) of a lane id, an intent id or any digest."""
    return lane_or_intent[0]


def word_of(key: str) -> str:
    """The word after the hash tag of a key."""
    return key.split(":", 3)[2]


def _key(partition: str, *words: str) -> str:
    return ":".join((f"onelane:{{{partition}}}", *words))


def due(partition: str) -> str:
    return _key(partition, "due")


def sent(partition: str, queue: str) -> str:
    return _key(partition, "sent", queue)


def counters(partition: str) -> str:
    return _key(partition, "counters")


def dead(partition: str) -> str:
    return _key(partition, "dead")


def queue(lane: str) -> str:
    return _key(partition_of(lane), "queue", lane)


def queue_prefix(partition: str) -> str:
    return _key(partition, "queue", "")


def changes(lane: str) -> str:
    return _key(partition_of(lane), "changes", lane)


def lane(lane: str) -> str:
    return _key(partition_of(lane), "lane", lane)


def lane_prefix(partition: str) -> str:
    return _key(partition, "lane", "")


def belief(lane: str) -> str:
    return _key(partition_of(lane), "belief", lane)


def memory(lane: str) -> str:
    return _key(partition_of(lane), "memory", lane)


def history(lane: str) -> str:
    return _key(partition_of(lane), "history", lane)


def ended(lane: str) -> str:
    return _key(partition_of(lane), "ended", lane)


def intent(intent_id: str) -> str:
    return _key(partition_of(intent_id), "intent", intent_id)


def intent_prefix(partition: str) -> str:
    return _key(partition, "intent", "")


def dedupe(lane: str, kind: str, dedupe_key: str) -> str:
    return _key(partition_of(lane), "dedupe", digest(f"{lane}\n{kind}\n{dedupe_key}"))


def dedupe_prefix(partition: str) -> str:
    return _key(partition, "dedupe", "")


def answer(lane: str, op: str) -> str:
    return _key(partition_of(lane), "answer", op)


def external_id(external_id: str) -> str:
    hidden = digest(external_id)
    return _key(partition_of(hidden), "ext", hidden)


def contact(contact_id: str) -> str:
    hidden = digest(contact_id)
    return _key(partition_of(hidden), "known", hidden)


def broker_queue(queue: str) -> str:
    """The Celery queue that carries the turns of one class."""
    return f"onelane.{queue}"
