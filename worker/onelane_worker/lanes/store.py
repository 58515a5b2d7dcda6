"""The lanes in Redis: claim a lane, work on it under its lease, end or postpone what waits in it.

Every call is one script and one round trip. A call that must not happen twice takes an `op`, made by the
caller from its token and a step number: a repeat with the same op changes nothing and answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from redis import Redis

from onelane import keyspace
from onelane.keyspace import BULK, INTERACTIVE, QueueName
from onelane.receipts import ENDED
from onelane.submission import GATE_SCRIPT, gate_call
from onelane.turns import Turn
from onelane_worker.lanes import answers, views
from onelane_worker.lanes.model import (
    KEEP,
    Asked,
    Check,
    Checkpointed,
    DeadLetter,
    Fenced,
    Gate,
    Grant,
    Keep,
    LaneSettings,
    LaneView,
    Leaf,
    Part,
    PostponedState,
    Refused,
    Replayed,
    Settled,
    StillOpen,
    TurnCounters,
)
from onelane_worker.lanes.scripts import Scripts, as_text, lane_keys, partition_keys

Arg = str | int
Words = list[str]
_CHUNK = 500


class LaneStore:
    """The lanes of one Redis. Safe to share between threads. Methods raise redis-py's errors, too."""

    def __init__(self, redis: Redis, limits: LaneSettings) -> None:
        self._redis = redis
        self._limits = limits
        self._scripts = Scripts(redis)

    # --- under the lease ----------------------------------------------------------------------------------

    def claim(self, lane: str, queue: QueueName, seq: int, token: str) -> Grant | Refused:
        """Ask for the lane by the turn `seq` of `queue` (0: by no turn). `token` is new for every turn."""
        args: list[Arg] = [lane, queue, seq, token, *self._granting(), self._limits.answer_ttl_ms]
        limits = self._limits
        words = self._run("claim", lane, token, [*args, limits.lane_idle_ttl_ms, limits.kills_to_go_alone])
        if words[0] == "granted":
            return answers.grant(lane, token, words[1:])
        return answers.refused(lane, words)

    def renew(self, grant: Grant) -> bool:
        """Count the lease from now. False: the lane is not yours any more."""
        args: list[Arg] = [grant.lane, grant.token, grant.fence, self._limits.lease_ms]
        return self._run("renew", grant.lane, grant.token, args)[0] == "ok"

    def checkpoint(
        self,
        grant: Grant,
        op: str,
        *,
        belief: Part = KEEP,
        journal: Part = KEEP,
        open_write: Part = KEEP,
        commit_ms: int = 0,
    ) -> Checkpointed:
        """Record before a write, or what was learned. Renews the lease. Raises `Fenced`.

        An `open_write` may commit until `commit_ms` from now. Give a write back that was provably never sent
        by clearing it, and by passing the journal that stood before it: no other write can have been open.
        """
        limits = self._limits
        args: list[Arg] = [
            limits.lease_ms,
            _part(belief),
            limits.registry_ttl_ms,
            _part(open_write),
            commit_ms,
        ]
        words = self._owned("checkpoint", grant, op, [*args, _part(journal), limits.answer_ttl_ms])
        return Checkpointed(now_ms=int(words[1]), commit_until_ms=int(words[2]) or None)

    def settle(
        self,
        grant: Grant,
        op: str,
        ended: Sequence[tuple[str, str]],
        belief: Part,
        memory: Part,
        want_more: bool,
        check: Check | Keep | None = KEEP,
        unchanged: Collection[str] = (),
    ) -> Settled:
        """End the intents `ended` (id, outcome JSON), head first; go on under the same lease, or release.

        `unchanged`: ids of those whose status need not be told for as long as that of others.
        `check`: what the lane owes from now on; None: nothing any more. Clears journal and open write: all
        writes must have been answered. Raises `Fenced`.
        """
        args: list[Arg] = [*self._granting(), int(want_more), *self._knowledge(belief, memory)]
        owed, *when = _check(check)
        told: list[Arg] = []
        for id_, outcome in ended:
            brief = id_ in unchanged
            told += [id_, outcome, self._limits.unchanged_ttl_ms if brief else self._limits.status_ttl_ms]
        words = self._owned("settle", grant, op, [*args, owed, *self._lives(), *when, *told])
        return answers.settled(grant, words)

    def postpone(
        self,
        grant: Grant,
        op: str,
        delay_ms: int,
        state: PostponedState,
        error: Part,
        count_attempt: bool,
        unknown_write: bool,
        yields: bool,
        journal: Part = KEEP,
        belief: Part = KEEP,
        memory: Part = KEEP,
        forgive: bool = False,
    ) -> int:
        """Release the lane and look again after `delay_ms`; returns when (ms). Raises `Fenced`.

        `unknown_write` keeps the open write and waits until it can no longer commit; else the open write is
        cleared: answered, or provably never executed. `yields`: the head steps aside for whoever comes next
        (it does not wait if somebody came since its grant). `error` None: the attempt did not fail.
        `forgive`: no attempt counts, nor do the earlier ones. The lane stays dirty.
        """
        counts = "none" if forgive else int(count_attempt)
        args: list[Arg] = [delay_ms, state, _part(error), counts, int(unknown_write), int(yields)]
        rest: list[Arg] = [_part(journal), *self._knowledge(belief, memory), self._limits.answer_ttl_ms]
        words = self._owned("postpone", grant, op, [*args, *rest])
        return int(words[1])

    def give_back(self, lane: str, token: str, delay_ms: int, error: str) -> str:
        """The holder of `token` lives and cannot go on: release the lane for `delay_ms`, if it has it still.

        Costs no attempt, and a kill charged for this holder is taken back. What was done: `ok` (released),
        `excused` (the lane was taken over meanwhile), `gone` (nothing)."""
        args: list[Arg] = [lane, token, delay_ms, error, self._limits.answer_ttl_ms]
        return self._run("give_back", lane, token, args)[0]

    def bury(
        self,
        grant: Grant,
        op: str,
        error: str,
        outcome: str,
        want_more: bool,
        belief: Part = KEEP,
        memory: Part = KEEP,
    ) -> Settled:
        """Make the head a dead letter; go on or release as `settle`. The lane stays dirty.

        Raises `Fenced`, and `StillOpen` while a write may commit or the journal names the head.
        """
        args: list[Arg] = [*self._granting(), int(want_more), *self._knowledge(belief, memory)]
        words = self._owned("bury", grant, op, [*args, grant.head.id, error, outcome, *self._lives()])
        if words[0] == "open":
            raise StillOpen(int(words[1]) or None)
        return answers.settled(grant, words)

    # --- the timer ----------------------------------------------------------------------------------------

    def hand_out(
        self,
        partition: str,
        limit: int,
        seen_empty: Mapping[QueueName, int],
        bulk: tuple[int, int] | None = None,
    ) -> list[Turn]:
        """Turns to publish: for lanes that are due, and for those whose turn was lost. `limit` is per cause.

        `seen_empty`: for a broker queue found empty, its `turn_counters().seq` read before that look.
        `bulk`: their class is stopped: how many of their lanes to hand out, and when (ms) the next is tried.
        """
        seen = [seen_empty.get(queue, 0) for queue in (INTERACTIVE, BULK)]
        limits = self._limits
        args: list[Arg] = [limit, limits.lost_after_turns, *seen, limits.lane_idle_ttl_ms, *(bulk or (-1, 0))]
        return answers.turns(self._scripts.run("due", partition_keys(partition), args))

    def turn_counters(self, partition: str) -> TurnCounters:
        """How far the turns of a partition have come."""
        return views.turn_counters(self._redis, partition)

    # --- external ids -------------------------------------------------------------------------------------

    def take_leaf(self, external_id: str, grant: Grant) -> Leaf:
        """Take or renew the lock on an external id. Busy: postpone, without counting an attempt."""
        args: list[Arg] = [grant.lane, grant.fence, self._limits.leaf_ms]
        word, *details = self._scripts.run("leaf_take", [keyspace.external_id(external_id)], args)
        if word == "busy":
            return Leaf(owned=False, busy_until_ms=int(details[0]), pointer=None)
        pointer, versions = details
        return Leaf(owned=True, busy_until_ms=None, pointer=pointer or None, versions=versions or None)

    def note_leaf(self, external_id: str, grant: Grant, versions: Part, life_ms: int) -> bool:
        """Remember what was applied, before the lock is given back. False: not yours, nothing stored."""
        args: list[Arg] = [grant.lane, grant.fence, _part(versions), life_ms]
        return self._scripts.run("leaf_note", [keyspace.external_id(external_id)], args)[0] == "ok"

    def give_leaf(self, external_id: str, grant: Grant, pointer: Part = KEEP) -> bool:
        """Release the lock, before the lane, and store the pointer. False: not yours, nothing stored."""
        args: list[Arg] = [grant.lane, grant.fence, _part(pointer), self._limits.registry_ttl_ms]
        return self._scripts.run("leaf_give", [keyspace.external_id(external_id)], args)[0] == "ok"

    def forget_leaf(self, external_id: str) -> None:
        """Who its contact is, and what was applied to it, is not remembered any more; a lock on it stays."""
        self._scripts.run("leaf_forget", [keyspace.external_id(external_id)], [])

    # --- contacts known from elsewhere --------------------------------------------------------------------

    def note_contact(self, contact_id: str, lane: str, *, writes: bool = False) -> None:
        """A lane remembers a contact that lives at another address. `writes`: it is about to write to it."""
        limits = self._limits
        args: list[Arg] = [lane, limits.leaf_ms if writes else 0, limits.registry_ttl_ms]
        self._scripts.run("contact_note", [keyspace.contact(contact_id)], args)

    def outdated(self, contact_ids: Sequence[str], lane: str) -> dict[str, int]:
        """Contact id → until when (ms) a write noted by another lane than this may have taken effect: facts
        from before are not true any more. Only those that were written to."""
        with self._redis.pipeline(transaction=False) as pipe:
            for contact_id in contact_ids:
                pipe.hmget(keyspace.contact(contact_id), "writer", "wrote", "others")
            rows: Any = pipe.execute()
        found = {}
        for contact_id, (writer, wrote, others) in zip(contact_ids, rows, strict=True):
            until = others if as_text(writer) == lane else wrote
            if until is not None:
                found[contact_id] = int(until)
        return found

    def lanes_knowing(self, contact_id: str) -> tuple[str, ...]:
        """The lanes that may remember a contact although it lives at another address."""
        fields = cast(Any, self._redis.hgetall(keyspace.contact(contact_id)))
        names = (as_text(name) for name in fields)
        return tuple(name.removeprefix("at:") for name in names if name.startswith("at:"))

    # --- changes of address -------------------------------------------------------------------------------

    def keep_gate(self, gate: Gate, grant: Grant, new_address: str, accepted_ms: int) -> None:
        """Keep a place for the change in the lane of the new address, if its producer could not."""
        member = f"{gate.change}:{gate.change}"
        order: Any = self._redis.zscore(keyspace.changes(grant.lane), member)
        call = gate_call(gate.change, new_address, int(order or accepted_ms * 1000))
        self._redis.eval(GATE_SCRIPT, len(call.keys), *call.keys, *call.args)

    def ask_gate(self, gate: Gate, grant: Grant, accepted_ms: int) -> Asked:
        """May the change, which `grant` holds, have that lane now? Nothing is held by asking."""
        words = self._run("gate_ask", gate.lane, gate.id, [gate.lane, gate.id, accepted_ms, grant.fence])
        return answers.asked(words)

    def note_gate(self, gate: Gate, grant: Grant, belief: Part, memory: Part) -> None:
        """Tell that lane whom it has got; before the change is settled. Raises `Fenced`."""
        args: list[Arg] = [gate.id, grant.fence, *self._knowledge(belief, memory)]
        if self._run("gate_note", gate.lane, gate.id, args)[0] == "fenced":
            raise Fenced(f"lane {gate.lane}: its gate is not open to {grant.lane}")

    def leave_gate(self, gate: Gate, op: str) -> Turn | None:
        """The change has ended: what waited behind its place is served. A turn to publish, if any."""
        limits = self._limits
        lives: list[Arg] = [limits.status_ttl_ms, limits.lane_idle_ttl_ms, limits.answer_ttl_ms]
        return answers.left(gate.lane, self._run("gate_leave", gate.lane, op, [gate.lane, gate.id, *lives]))

    def has_ended(self, intent_id: str) -> bool:
        """Whether an intent waits no longer: done, dead, or forgotten."""
        at, state = cast(Any, self._redis.hmget(keyspace.intent(intent_id), "at", "state"))
        return at is None or as_text(state) in ENDED

    # --- other lanes --------------------------------------------------------------------------------------

    def revise_belief(self, lane: str, revise: Callable[[str], str | None]) -> None:
        """Change what a lane believes without holding it; not if there is nothing. Keeps the belief's life.

        A holder of that lane is not asked, and may store what it believes afterwards.
        """
        key = keyspace.belief(lane)

        def rewrite(pipe: Any) -> None:
            belief = pipe.get(key)
            revised = None if belief is None else revise(belief)
            pipe.multi()
            if revised is None:
                pipe.delete(key)
            else:
                pipe.set(key, revised, keepttl=True)

        self._redis.transaction(rewrite, key)

    # --- for people ---------------------------------------------------------------------------------------

    def last_error(self, intent_id: str) -> str | None:
        """The error JSON of the intent's last failed attempt."""
        return as_text(self._redis.hget(keyspace.intent(intent_id), "error")) or None

    def describe(self, lane: str) -> LaneView:
        """The lane as it stands; read in two steps, so a busy lane may move in between."""
        return views.describe(self._redis, lane)

    def dead_letters(self, partition: str, limit: int = 100) -> list[tuple[str, int]]:
        """(intent id, ms of burial) of a partition's dead letters, oldest first."""
        return views.dead_letters(self._redis, partition, limit)

    def dead_letter(self, intent_id: str) -> DeadLetter | None:
        """One dead letter, whole; None if the intent is not dead."""
        return views.dead_letter(self._redis, intent_id)

    # --- dead letters -------------------------------------------------------------------------------------

    def replay(
        self, lane: str, intent_id: str, op: str, *, whole: bool, lane_max: int, partition_max: int
    ) -> Replayed:
        """Put a dead letter to its lane's tail, under its own id. `op` is new for every replay.

        Unless `whole`, what later intents have written is left out of it when its turn has come (R98).
        """
        args: list[Arg] = [lane, intent_id, int(whole), lane_max, partition_max, self._limits.answer_ttl_ms]
        return answers.replayed(lane, self._run("replay", lane, op, args))

    def discard(self, lane: str, intent_id: str, op: str, outcome: str) -> bool:
        """Give a dead letter up; `outcome` (JSON) is what its receipt tells. False: it is no dead letter."""
        args: list[Arg] = [lane, intent_id, outcome, self._limits.status_ttl_ms, self._limits.answer_ttl_ms]
        return self._run("discard", lane, op, args)[0] == "ok"

    def expire_dead(self, partition: str, older_than_ms: int, limit: int) -> int:
        """Give up at most so many dead letters that were buried so long ago; how many there were.

        Their receipts go on telling why they were rejected, as those that a person gives up.
        """
        letters = views.dead_before(self._redis, partition, older_than_ms, limit)
        return sum(
            self.discard(one.lane, one.id, f"expired:{one.id}", one.outcome or "{}") for one in letters
        )

    def scrub(self, grant: Grant, outcome: str) -> None:
        """What is kept of a person beside belief and memory goes: the lane's dead letters (they end, with
        `outcome`), of ended intents their errors, dedupe keys and contacts, the history. Called again it
        finds nothing. Raises `Fenced`."""
        lane = grant.lane
        dead = [id_ for id_, _ in views.dead_letters(self._redis, keyspace.partition_of(lane), 0)]
        ids = list(dict.fromkeys([*dead, *views.ended_in(self._redis, lane)]))
        for start in range(0, max(len(ids), 1), _CHUNK):  # at least once: whoever is too late deletes nothing
            args: list[Arg] = [outcome, self._limits.status_ttl_ms, *ids[start : start + _CHUNK]]
            self._owned("scrub", grant, "scrub", args)

    # --- inside -------------------------------------------------------------------------------------------

    def _run(self, name: str, lane: str, op: str, args: Sequence[Arg]) -> Words:
        return self._scripts.run(name, lane_keys(lane, op), args)

    def _owned(self, name: str, grant: Grant, op: str, args: Sequence[Arg]) -> Words:
        words = self._run(name, grant.lane, op, [grant.lane, grant.token, grant.fence, *args])
        if words[0] == "fenced":
            raise Fenced(f"lane {grant.lane}: {name} came too late")
        return words

    def _granting(self) -> list[Arg]:
        return [self._limits.lease_ms, self._limits.fold_max, self._limits.schema]

    def _lives(self) -> list[Arg]:
        return [self._limits.dedupe_ttl_ms, self._limits.lane_idle_ttl_ms, self._limits.answer_ttl_ms]

    def _knowledge(self, belief: Part, memory: Part) -> list[Arg]:
        return [_part(belief), self._limits.registry_ttl_ms, _part(memory), self._limits.memory_ttl_ms]


def _part(value: Part) -> str:
    if value is KEEP:
        return "keep"
    return "clear" if value is None else value


def _check(check: Check | Keep | None) -> list[Arg]:
    if isinstance(check, Check):
        return [check.payload, check.id, check.delay_ms]
    return ["clear" if check is None else "keep", "", 0]
