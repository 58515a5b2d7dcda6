"""What Redis holds for one workspace. Times are ms of its clock, fences µs."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from onelane_worker.lanes.types import BreakerState, Check


def is_marker(element: str) -> bool:
    """Is this element of a queue the marker of a change of address?"""
    return element[0] == "~"


class Lane:
    """A lane: its queue and its hash."""

    __slots__ = (
        "about", "answer", "batch", "check", "check_at", "commit", "consent", "consent_until", "dirty",
        "erasing", "exts", "fence", "hot", "journal", "name", "open_step", "open_write", "queue",
        "registry", "registry_until", "seen", "served", "step", "step_fence", "timeline",
        "timeline_until", "token", "until", "usable", "waits", "yields",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: list[str] = []
        self.token: str | None = None
        self.fence = 0
        self.until = 0
        self.step = 0
        self.step_fence = 0
        self.answer: Any = None
        """What the last step was answered: the answer, an exception to raise, or `Went`."""
        self.dirty = False
        self.usable = False
        self.batch = 0
        """Length of the batch of the last grant."""
        self.seen = 0
        """Length of the queue at the last grant."""
        self.served = 0
        """Length of the queue's prefix that a grant has held."""
        self.hot = 0
        """Waiting interactive intents and markers."""
        self.erasing = 0
        self.yields = False
        self.waits: tuple[str, str] | None = None
        """("ext", digest) or ("lane", name)."""
        self.exts: tuple[str, ...] = ()
        """External ids locked by the lease, or by an unknown write."""
        self.open_write: Any = None
        self.open_step: tuple[int, int] | None = None
        """Fence and step of the open write."""
        self.commit = 0
        self.journal: Any = None
        self.check: Check | None = None
        self.check_at = 0
        self.registry: Any = None
        self.registry_until = 0
        self.about: tuple[str, ...] = ()
        """Contacts that the registry entry names."""
        self.consent: Any = None
        self.consent_until = 0
        self.timeline: list[str] = []
        self.timeline_until = 0


class Intent:
    """An intent's record."""

    __slots__ = (
        "accepted", "again", "attempts", "bulk", "burials", "content", "dedupe", "ended", "erases",
        "error", "ext", "ext2", "forget_at", "given_up", "id", "kills", "kind", "lane", "next", "outcome",
        "payload", "replayed", "schema", "state", "target", "whole",
    )  # fmt: skip

    def __init__(
        self, id: str, lane: str, kind: str, payload: Any, schema: int, bulk: bool, now: int
    ) -> None:
        self.id = id
        self.lane = lane
        self.kind = kind
        self.payload = payload
        self.schema = schema
        self.bulk = bulk
        self.accepted = now
        self.content = ""
        self.dedupe = ""
        self.ext = ""
        self.ext2 = ""
        self.target = ""
        self.erases = False
        self.state = "waiting"
        """waiting, working, retrying, reconciling, parked; done, dead."""
        self.attempts = 0
        self.kills = 0
        self.burials = 0
        self.next = 0
        self.error: Any = None
        self.outcome: Any = None
        self.ended = 0
        self.again = 0
        self.replayed = -1
        """Number of the burial that the last replay ended."""
        self.given_up = -1
        """Number of the burial after which it was discarded."""
        self.whole = False
        self.forget_at = 0
        """When the record of an ended intent is gone."""

    @property
    def exts(self) -> tuple[str, ...]:
        """The external ids that it needs."""
        if not self.ext:
            return (self.ext2,) if self.ext2 else ()
        return (self.ext, self.ext2) if self.ext2 not in ("", self.ext) else (self.ext,)


class Dedupe(NamedTuple):
    """What a dedupe key stands for."""

    id: str
    content: str
    until: int = 0
    """When it is forgotten; 0: not yet known."""


class ExternalId:
    """The lock of an external id, what is remembered with it, and who waits for it."""

    __slots__ = ("kept_until", "lane", "pointer", "pointer_until", "until", "versions", "waiting")

    def __init__(self) -> None:
        self.lane: str | None = None
        self.until = 0
        """Until when a write of that lane may commit."""
        self.pointer: Any = None
        self.pointer_until = 0
        self.versions: dict[str, str] = {}
        """Source → `number intent ms`."""
        self.waiting: dict[str, int] = {}
        """Lane → order of arrival."""
        self.kept_until = 0
        """When all of it but the waiting lanes is forgotten."""


class Contact:
    """What other lanes did to a contact."""

    __slots__ = ("home", "knows", "moved", "others", "until", "writer", "wrote")

    def __init__(self) -> None:
        self.until = 0
        """Until when this is kept."""
        self.writer: str | None = None
        self.wrote = 0
        self.others = 0
        """The last write of a lane that is not the last writer."""
        self.home: str | None = None
        self.moved = 0
        self.knows: set[str] = set()
        """Lanes that know it from elsewhere."""


class EngineRecord:
    """The last claim of an engine, and when it was last seen."""

    __slots__ = ("grants", "name", "number", "seen")

    def __init__(self) -> None:
        self.number = 0
        self.grants: tuple[tuple[str, int], ...] = ()
        self.seen = 0
        self.name = ""


class Breaker:
    """The circuit breaker, or that of bulk intents."""

    __slots__ = (
        "forget_at",
        "lanes",
        "next",
        "pause",
        "problem",
        "said",
        "since",
        "sort",
        "state",
        "streak",
        "trial",
    )

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.since = 0
        self.next = 0
        self.pause = 0
        self.problem = ""
        self.sort = ""
        self.streak = 0
        self.forget_at = 0
        self.lanes: set[str] = set()
        self.said = ""
        self.trial: tuple[str, int] | None = None
        """Lane and fence of the one grant that it lets through."""


class State:
    """All keys of a workspace."""

    __slots__ = (
        "backstops", "breaker", "bucket_at", "bucket_level", "bucket_until", "bulk_breaker", "contacts",
        "dead", "dedupe", "due", "engines", "epoch_hold", "epoch_server", "epoch_since", "exts",
        "forgets", "healed", "intents", "lanes", "letters", "moved_at", "mover", "order", "pending",
        "pops", "ready", "secret", "spare", "ticked", "tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.secret: str | None = None
        self.lanes: dict[str, Lane] = {}
        self.ready: dict[str, dict[str, int]] = {"interactive": {}, "bulk": {}, "suspect": {}}
        """Class → lane → order number. Numbers only grow, so a dict's own order is theirs."""
        self.due: dict[str, int] = {}
        self.intents: dict[str, Intent] = {}
        self.dedupe: dict[str, Dedupe] = {}
        self.exts: dict[str, ExternalId] = {}
        self.contacts: dict[str, Contact] = {}
        self.engines: dict[str, EngineRecord] = {}
        self.forgets: list[tuple[int, str]] = []
        """A heap of (ms, intent): when records of ended intents are gone."""
        self.dead: dict[str, int] = {}
        self.letters: dict[str, set[str]] = {}
        self.order = 0
        self.pending = 0
        self.pops = 0
        self.tokens = 0
        self.healed = 0
        self.ticked = 0
        self.spare = 0
        self.backstops = 0
        """How often a blocked lane was looked at without an event."""
        self.mover: str | None = None
        self.moved_at = 0
        self.breaker = Breaker()
        self.bulk_breaker = Breaker()
        self.bucket_level: float | None = None
        """Calls; None: full."""
        self.bucket_at = 0
        self.bucket_until = 0
        self.epoch_server: str | None = None
        self.epoch_since = 0
        self.epoch_hold = 0
        """Until when nothing is granted."""

    def copy(self) -> State:
        """The same once more; what is opaque to the scripts is copied, too."""
        copied: State = pickle.loads(pickle.dumps(self, pickle.HIGHEST_PROTOCOL))
        return copied
