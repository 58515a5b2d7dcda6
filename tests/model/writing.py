"""One call to Intercom under a lease: budget, record, send; and what may become of it on the way."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onelane_worker.lanes.types import KEEP, BreakerView, Checkpointed, Part

from .faults import GRACE_MS, HTTP_MS, TAIL_MS, Crash
from .intercom import Seen, Write

if TYPE_CHECKING:
    from .engines import Job
    from .world import Steps

MARGIN_MS = 50.0
"""How long before its own deadline an engine stops sending."""


class PutBack(Exception):
    """The attempt ends with a postponement."""

    def __init__(
        self,
        delay_ms: float,
        *,
        journal: Part | Any = KEEP,
        unknown: bool = False,
        counted: bool | None = False,
        **named: Any,
    ) -> None:
        super().__init__()
        self.delay_ms = delay_ms
        self.named: dict[str, Any] = {"journal": journal, "unknown": unknown, "counted": counted, **named}


class Sending(NamedTuple):
    """A write, and what is recorded with it."""

    write: Write
    addresses: dict[int, int | None]
    """Address → place in the order of the newest intent in it; None: not judged."""
    ids: Sequence[str]
    journal: Any = KEEP
    entry: Any = KEEP
    elsewhere: Sequence[str] = ()
    further_ext: str | None = None
    version: int | None = None


def read(job: Job, verb: str, what: Any) -> Steps[Any]:
    """Ask. Raises `PutBack` if there is no answer."""
    history = job.engine.history
    while True:
        job.call_at = yield from job.engine.take_call()
        yield from history.hop(job.engine, 1.0)
        if job.lost or history.now > job.deadline - MARGIN_MS:
            raise put_back(job)
        if job.engine.is_fresh(job.call_at):
            break
    history.judge.asks()
    if word := history.outage_answers("reads"):
        yield from failed(job, word, "reads")
        raise put_back(job)
    if history.strikes("request_dropped", 0.015):
        yield history.between(200, HTTP_MS)
        raise put_back(job)
    asked_at = history.now
    yield history.between(20, 200)
    yield from answered(job, "reads")
    intercom = history.intercom
    if verb == "get":
        return intercom.get(what, asked_at)
    if verb == "find":
        return intercom.find(what, asked_at)
    return intercom.search(what, history.now)


def write(job: Job, sending: Sending) -> Steps[Seen | str]:
    """Record and send. Returns the contact, or `rejected`, `gone`, `conflict <id>`. Raises `PutBack`."""
    history, engine = job.engine.history, job.engine
    job.call_at = yield from engine.take_call()
    sent_at = history.now
    if engine.stopping:
        raise PutBack(0)
    recorded: Checkpointed = yield from job.call(
        "checkpoint",
        open_write=sending.write.verb,
        journal=sending.journal,
        registry=sending.entry,
        contacts=sending.elsewhere,
        external_id=sending.further_ext,
    )
    if recorded.word == "ext_busy":
        raise PutBack(200, external_id=sending.further_ext)
    if recorded.word == "ext_lost":
        raise PutBack(0)
    job.answered, job.checkpointed_at, job.server = None, sent_at, history.scripts.server
    step = job.steps
    late = history.now > sent_at + GRACE_MS and history.rules.grace
    if late or history.now > job.deadline - MARGIN_MS or job.lost or not engine.is_fresh(job.call_at):
        raise PutBack(0, journal=job.grant.journal)  # provably not sent
    reply = yield from _send(job, sending, sent_at, recorded)
    job.answered = step
    if any(history.poison.get(id) == "write" for id in sending.ids):
        history.crash(engine, "poison")
        raise Crash
    return reply


def _send(job: Job, sending: Sending, sent_at: float, recorded: Checkpointed) -> Steps[Any]:
    history = job.engine.history
    write = sending.write
    history.judge.sends(job.engine, job, write, set(sending.addresses), sending.ids)
    fate, word = _fate(job)
    rejected = any(history.rejects(id) for id in sending.ids) and (fate == "ok" or len(sending.ids) > 1)
    history.log(job.engine.name, *write, dict(sending.addresses), fate, "rejected" if rejected else "")
    if fate in ("refused", "429"):
        yield 50.0
        if fate == "429":
            yield from _throttled(job)
        else:
            yield from failed(job, word or "failed", "writes")
        raise put_back(job, journal=job.grant.journal)
    slow = HTTP_MS + history.between(100, TAIL_MS - 500)
    latency = slow if fate == "late" else history.between(20, 200)
    box = _travel(job, sending, latency, fate, rejected, sent_at)
    if history.strikes("crash", 0.03):
        history.crash(job.engine, "crash")
        raise Crash
    if fate == "ok":
        yield latency + 1.0
        while not box:
            yield 10.0
        yield from answered(job, "writes")
        reply = box[0]
        return reply._replace(as_of=sent_at) if isinstance(reply, Seen) else reply
    yield (
        HTTP_MS - max(0.0, history.now - sent_at)
        if fate == "late"
        else history.between(200, HTTP_MS - GRACE_MS)
    )
    if word:
        yield from failed(job, word, "writes")
    journal = job.grant.journal
    if sending.journal is not KEEP:
        journal = sending.journal._replace(commit=recorded.commit_until_ms, at=sent_at)
    raise PutBack(history.between(500, 2_000), journal=journal, unknown=True, counted=True)


def _fate(job: Job) -> tuple[str, str | None]:
    """What becomes of the request; and the word for the breaker, if Intercom is down."""
    history = job.engine.history
    if word := history.outage_answers("writes"):
        if word == "failed" and history.random.random() < 0.5:
            return "dropped", word
        return "refused", word
    for fate, kind, chance in (
        ("dropped", "request_dropped", 0.04),
        ("unheard", "reply_lost", 0.06),
        ("late", "late", history.suite.late_share),
        ("429", "throttled", 0.03),
    ):
        if history.strikes(kind, chance):
            return fate, None
    return "ok", None


def _travel(
    job: Job, sending: Sending, latency: float, fate: str, rejected: bool, sent_at: float
) -> list[Any]:
    """The request is on its way. The reply will be in the box."""
    history = job.engine.history
    judge, write, addresses = history.judge, sending.write, set(sending.addresses)
    number = history.next_request()
    judge.departs(number, write, addresses, write.external_id)
    box: list[Any] = []

    def arrives() -> Steps[None]:
        yield latency
        if fate != "dropped":
            box.append("rejected" if rejected else _commit(job, sending, sent_at))
        judge.arrives(number, addresses, write.external_id)

    history.start(arrives())
    return box


def _commit(job: Job, sending: Sending, sent_at: float) -> Seen | str:
    history = job.engine.history
    write, ids = sending.write, sending.ids
    for address, place in sending.addresses.items():
        if sent_at > history.judge.rollback_at:
            history.judge.commits(write, place, {address}, ids, sending.version)
    contact = history.intercom.contacts.get(write.contact)
    if contact is not None and write.verb == "update":
        foreign = contact.address not in sending.addresses
        if foreign or any(id in history.rejected or history.poison.get(id) == "write" for id in ids):
            contact.mixed = True  # accepted, the answer lost, rejected the next time: what it wrote stays
    reply = history.intercom.commit(write, frozenset(ids))
    if (
        isinstance(reply, Seen)
        and write.verb == "create"
        and any(history.poison.get(id) == "write" for id in ids)
    ):
        history.intercom.contacts[reply.id].mixed = True
    history.log("   intercom:", write.verb, reply)
    return reply


# ── what the breaker and the bucket are told ──


def put_back(job: Job, *, journal: Any = KEEP) -> PutBack:
    """No answer, and nothing was done: try again, at once when the breaker is closed again."""
    history = job.engine.history
    shut = history.scripts.state.breaker.state == "open"
    delay = 0.0 if shut else history.between(500, 4_000)
    return PutBack(
        delay, journal=journal, counted=not shut, yields=not shut and history.random.random() < 0.2
    )


def failed(job: Job, word: str, sort: str) -> Steps[None]:
    """Intercom is down."""
    history = job.engine.history
    history.judge.failed_calls += 1
    if sort == "reads":
        yield 50.0
    yield from job.engine.script("breaker", word, lane=job.lane, sort=sort, problem="{}")


def answered(job: Job, sort: str) -> Steps[None]:
    """An answer is told while failures are counted, or the breaker is half open."""
    history = job.engine.history
    if history.scripts.breaker_state() in ("streak", "half"):
        before = history.scripts.breaker_state()
        view: BreakerView = yield from job.engine.script("breaker", "ok", lane=job.lane, sort=sort)
        if before == "half" and view.state == "closed":
            history.poke_all()


def _throttled(job: Job) -> Steps[None]:
    """Intercom said 429: nobody calls before the time it names."""
    history = job.engine.history
    wait = int(history.between(600, 3_000))
    job.engine.hand = []
    yield from job.engine.script("reserve", 0, wait)
    until = history.scripts.state.bucket_until
    if until > history.now:
        history.judge.muted = (history.now, float(until))
