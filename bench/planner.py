"""`python -m bench.planner [--profile CASE]`: CPU time of the planner alone, without Redis and HTTP.

A case is one claim of a lane: texts as Redis holds them are read, the intents are folded and planned until
the desired state holds (Intercom's replies are ready-made), and what is to be stored is written as text."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence

from onelane.intents import ContactSync, ProductSignUp
from onelane_worker.engine import codec
from onelane_worker.lanes.types import Grant, GrantedIntent, Lock
from onelane_worker.planner import operations as op
from onelane_worker.planner import replay
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.fold import Superseded, applied_versions, fold, refold, remembered
from onelane_worker.planner.knowledge import ended, recall, record
from onelane_worker.planner.outcomes import outcomes
from onelane_worker.planner.planner import plan
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.reconcile import as_journal
from onelane_worker.planner.registry import Contact, Facts, RegistryEntry
from onelane_worker.planner.retry_policy import handle
from onelane_worker.planner.verdicts import Finish

ROUNDS, REPEATS = 300, 10
NOW_MS = 1_800_000_000_000
POLICY = Policy(settle_check=True)
CONTACT, EXT, ADDRESS = "6650f00dc0ffee0000000001", "u-1", "ann@example.test"
ATTRIBUTES: dict[str, str] = {f"attribute_{n}": f"value {n}" for n in range(6)}


def facts(name: str) -> Facts:
    fields = {"name": name, "phone": None, "avatar": None, "owner_id": None, "signed_up_at": 1}
    fields |= {"last_seen_at": None, "unsubscribed_from_emails": False}
    fields |= {f"custom_attributes.{key}": value for key, value in ATTRIBUTES.items()}
    return Facts(
        id=CONTACT,
        role="user",
        external_id=EXT,
        email=ADDRESS,
        fields=fields,
        attached=frozenset(),
        created_at=1_799_990_000,
        updated_at=1_799_990_000,
        as_of_ms=NOW_MS - 60_000,
        source="written",
    )


def registry() -> str | None:
    contact = Contact(
        id=CONTACT,
        role="user",
        external_id=EXT,
        email=ADDRESS,
        created_at=1_799_990_000,
        resolved_ms=NOW_MS - 60_000,
        facts=facts("Ann"),
    )
    entry = RegistryEntry(contacts=(contact,), primary=CONTACT, searched_ms=NOW_MS - 60_000)
    return codec.to_store(entry)


def sync(name: str, version: int = 7) -> ContactSync:
    return ContactSync(
        email="Ann@Example.test",
        external_id=EXT,
        name=name,
        custom_attributes=ATTRIBUTES,
        source="crm",
        version=version,
    )


def sign_up() -> ProductSignUp:
    return ProductSignUp(
        email="Ann@Example.test", external_id=EXT, name="Anna", custom_attributes=ATTRIBUTES, signed_up_at=1
    )


def claim(
    intents: Sequence[ContactSync | ProductSignUp], stored: str | None, replies: Sequence[op.Reply]
) -> Callable[[], str]:
    """A claim to be served again and again; it returns the result of the head."""
    versions = {"crm": f"3 {'ab' * 16} {NOW_MS - 60_000}"} if stored else {}
    payloads = [intent.to_json() for intent in intents]

    def serve() -> str:
        codec.accepted.cache_clear()
        grant = Grant(
            lane="a" * 32,
            token="t" * 32,
            fence=3,
            now_ms=NOW_MS,
            intents=tuple(
                GrantedIntent(f"{n:032x}", text, NOW_MS - 100, 1, 0) for n, text in enumerate(payloads)
            ),
            usable=True,
            registry=stored,
            locks=(Lock("e" * 32, None, versions),),
        )
        answers = iter(replies)
        memory = codec.memory_of(grant.consent)
        batch = codec.batch_of(grant, memory)
        head = batch[0].intent
        entry, journal = codec.entry_of(grant.registry), codec.journal_of(grant)
        know = recall(head.address, head.external_id, entry, journal, POLICY, NOW_MS, None)
        desired = fold(batch, memory, POLICY, NOW_MS)
        assert not isinstance(desired, Superseded)
        seen = codec.versions_of(grant.locks[0])
        desired = refold(desired, batch, memory, seen, POLICY, NOW_MS)
        while not isinstance(step := plan(desired, know, memory, POLICY, NOW_MS), Finish):
            operation, reply = step, next(answers)
            if isinstance(operation, op.Create):
                codec.journal_json(as_journal(desired, know, operation, NOW_MS, None))
            if isinstance(operation, op.Create | op.Update):
                codec.to_store(record(know.called(), None, POLICY, NOW_MS).without_facts())
            know = know.called()
            handle(operation, reply)
            know = absorb(know, operation, reply, NOW_MS)
        told = outcomes(desired, know, step, POLICY)
        for _, outcome in told:
            codec.to_json(outcome)
        kept = remembered(memory, desired, True, POLICY, NOW_MS)
        codec.to_store(replay.ended(kept, desired, know.log, "user"))
        codec.versions_text(applied_versions(seen, desired, POLICY, NOW_MS))
        codec.pointer_text(codec.Pointer(CONTACT, "user", "l" * 32))
        codec.to_store(record(ended(know), step.target, POLICY, NOW_MS))
        return told[0][1].result

    return serve


WRITTEN = op.Found(facts("Anna"))
CASES = {
    "believed update": claim([sync("Anna")], registry(), [WRITTEN]),
    "newcomer (search, create)": claim([sign_up()], None, [op.Listed((), NOW_MS), WRITTEN]),
    "no-op re-sync": claim([sync("Ann")], registry(), []),
    "fold of ten": claim([sync(f"Ann{'a' * (n == 9)}", 7 + n) for n in range(10)], registry(), [WRITTEN]),
}


def cpu_us(serve: Callable[[], str]) -> float:
    """The best of many short rounds: what else runs on this machine can only add."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(REPEATS):
            serve()
        rounds.append((time.process_time() - began) / REPEATS * 1e6)
    return min(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", choices=CASES, help="where the time of this case goes")
    profiled = parser.parse_args().profile
    if profiled is not None:
        with cProfile.Profile() as profile:
            for _ in range(2000):
                CASES[profiled]()
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    for name, serve in CASES.items():
        print(f"{name:28}{serve():12}{cpu_us(serve):8.0f} µs")


if __name__ == "__main__":
    main()
