"""Every Redis key, spelled here and nowhere else.

All keys of a workspace share the hash tag `{ol:<workspace>}`: one slot of a Redis Cluster, so that every
script may touch any of them. A script receives the prefix as its only key and appends the rest itself.

| after the prefix      | type   | time to live              | holds                                      |
| --------------------- | ------ | ------------------------- | ------------------------------------------ |
| meta                  | hash   | permanent                 | secret, format, created, Intercom's side   |
| ready:<class>         | zset   | permanent                 | lane → order number                        |
| due                   | zset   | permanent                 | lane → ms when to look again               |
| counters              | hash   | permanent                 | order, pending, pops, tokens, healed, …    |
| queue:<lane>          | list   | while not empty           | intent ids and markers, head first         |
| lane:<lane>           | hash   | a day, once asleep        | lease, fence, step, journal, open write, … |
| intent:<id>           | hash   | STATUS_TTL once ended     | payload, progress, outcome                 |
| dedupe:<digest>       | string | DEDUPE_TTL once ended     | intent id and content digest               |
| registry:<lane>       | string | REGISTRY_TTL              | the recently written registry              |
| consent:<lane>        | string | CONSENT_MEMORY            | last consent, versions, burials            |
| timeline:<lane>       | list   | STATUS_TTL                | what happened, for operators               |
| ext:<digest>          | hash   | VERSION_MEMORY            | lock of an external id, pointer, versions  |
| wait:<digest>         | zset   | while not empty           | lane that waits for an external id → order |
| contact:<digest>      | hash   | REGISTRY_TTL and a commit | writes from other lanes, lanes that know it |
| engine:<id>           | hash   | 10 minutes                | last claim and its grants, last tick, name |
| engines               | zset   | permanent                 | engine → ms of its last tick               |
| dead                  | zset   | permanent                 | intent id → ms of burial                   |
| letters:<lane>        | set    | while not empty           | dead intents of the lane                   |
| breaker, breaker:bulk | hash   | while open or in a streak | circuit breaker; the same for bulk intents |
| bucket                | hash   | a minute                  | rate budget                                |
| epoch                 | hash   | permanent                 | which server, since when                   |

Global is only `onelane:workspaces`, the set of the workspaces' names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

ReadyClass = Literal["interactive", "bulk", "suspect"]
READY_CLASSES: Final[tuple[ReadyClass, ...]] = ("interactive", "bulk", "suspect")
WORKSPACES: Final = "onelane:workspaces"
WORKSPACE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
DEFAULT_WORKSPACE: Final = "main"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one workspace."""

    workspace: str = DEFAULT_WORKSPACE

    @property
    def prefix(self) -> str:
        """What every key begins with; the one declared key of every script."""
        return f"{{ol:{self.workspace}}}:"

    def key(self, *words: str) -> str:
        """A key by its words: `key("lane", lane)`."""
        return self.prefix + ":".join(words)


def wake_queue(workspace: str) -> str:
    """The Celery queue that carries a workspace's wake-ups."""
    return f"onelane.{workspace}"
