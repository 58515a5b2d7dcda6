"""The fakes for other people's unit tests: same answers as the real queue, and what a test says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from redis import Redis

from onelane import (
    AsyncContactQueue,
    ContactErasure,
    ContactQueue,
    ContactSync,
    ContactUpsert,
    EmailChange,
    InvalidIntent,
    Latest,
    LeadCapture,
    NewsletterOptIn,
    OnelaneError,
    Outcome,
    ProductSignUp,
    QueueFull,
    QueueSettings,
    QueueUnavailable,
    WaitTimeout,
)
from onelane.testing import FakeAsyncContactQueue, FakeContactQueue

from .conftest import Driven, Open

ANN, BOB = "ann@example.test", "bob@example.test"
CREATED = {"result": "created", "contact_id": "c1", "role": "lead", "calls": 2}
REJECTED = {"result": "rejected", "reason": "refused", "message": "no"}


def capture(email: str = ANN, **fields: Any) -> LeadCapture:
    return LeadCapture(email=email, **fields)


# ── one contract for both ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Desk:
    """A queue, and a hand that ends intents in a worker's stead."""

    queue: Any
    end: Callable[..., Any]


Statement = Callable[[Desk], list[Any]]


def heard(verb: Callable[..., Any], *arguments: Any) -> Any:
    """What a verb returns or raises."""
    try:
        return verb(*arguments)
    except OnelaneError as error:
        return error


def _twice(first: Any, second: Any) -> Statement:
    return lambda desk: [heard(desk.queue.enqueue, one) for one in (first, second)]


def _batch(*intents: Any) -> Statement:
    def statement(desk: Desk) -> list[Any]:
        kept = heard(desk.queue.enqueue, capture(dedupe_key="7", name="Ann"))
        batch = heard(desk.queue.enqueue_many, iter(intents))
        # What was stored of it is a duplicate now.
        again = [heard(desk.queue.enqueue, capture(BOB, dedupe_key="b"))]
        return [kept, batch, *again]

    return statement


def _ended(outcome: dict[str, Any]) -> Statement:
    def statement(desk: Desk) -> list[Any]:
        receipt = desk.queue.enqueue(capture(dedupe_key="7"))
        desk.end(receipt.id, **outcome)
        return [
            desk.queue.wait(receipt.id, timeout=0),
            desk.queue.status(receipt.id).model_copy(update={"attempts": 0, "error": None}),
            heard(desk.queue.enqueue, capture(dedupe_key="7")),
            heard(desk.queue.enqueue, capture(dedupe_key="7", name="Bo")),
        ]

    return statement


def _waiting(desk: Desk) -> list[Any]:
    receipt = desk.queue.enqueue({"kind": "newsletter_opt_in", "email": ANN})
    return [receipt, desk.queue.status(receipt.id), heard(desk.queue.wait, receipt.id, 0)]


def _unknown(desk: Desk) -> list[Any]:
    ids = ("0" * 32, "", "nonsense")
    verbs = desk.queue.status, desk.queue.withdraw, lambda one: desk.queue.wait(one, 0)
    return [heard(verb, one) for one in ids for verb in verbs]


def _withdrawn(desk: Desk) -> list[Any]:
    first, second, third = desk.queue.enqueue_many([capture(dedupe_key="7"), capture(), capture()])
    desk.end(second.id, **CREATED)
    said = [desk.queue.withdraw(one.id) for one in (first, first, second)]
    ended = [desk.queue.status(one.id).state for one in (first, second, third)]
    return [said, ended, desk.queue.wait(first.id, 0), heard(desk.queue.enqueue, capture(dedupe_key="7"))]


def _full(desk: Desk) -> list[Any]:
    return [
        *(heard(desk.queue.enqueue, capture()) for _ in range(3)),
        heard(desk.queue.enqueue_many, [capture(BOB), capture(), capture(BOB), capture(BOB)]),
    ]


def _full_of_changes(desk: Desk) -> list[Any]:
    moves = [EmailChange(email=ANN, new_email=BOB), EmailChange(email=BOB, new_email=ANN)]
    third = EmailChange(email="cy@example.test", new_email=BOB)
    return [heard(desk.queue.enqueue, one) for one in (*moves, capture(), capture(BOB), third)]


def _full_of_all(desk: Desk) -> list[Any]:
    moves = EmailChange(email=ANN, new_email=BOB)
    receipts = desk.queue.enqueue_many([moves, capture("cy@example.test")])
    full = heard(desk.queue.enqueue, capture("di@example.test"))
    desk.queue.withdraw(receipts[1].id)
    return [full, *(heard(desk.queue.enqueue, capture("di@example.test")) for _ in range(2))]


CONTRACT: dict[str, Statement] = {
    "the same again": _twice(capture(dedupe_key="7"), capture(f" {ANN.upper()}", dedupe_key="7")),
    "at another time": _twice(
        capture(dedupe_key="7"), capture(dedupe_key="7", occurred_at=datetime.now(UTC))
    ),
    "other content": _twice(capture(dedupe_key="7"), capture(dedupe_key="7", name="Bo")),
    "another address": _twice(capture(dedupe_key="7"), capture(BOB, dedupe_key="7")),
    "another kind": _twice(capture(dedupe_key="7"), NewsletterOptIn(email=ANN, dedupe_key="7")),
    "without a key": _twice(capture(), capture()),
    "no address": _twice({"kind": "lead_capture", "email": "ann"}, {"kind": "lead_capture"}),
    "no kind": _twice({"email": ANN}, "ann"),
    "an unchecked copy": _twice(capture().model_copy(update={"name": 3}), capture()),
    "too large": _twice(capture(custom_attributes={f"a{n}": "x" * 255 for n in range(300)}), capture()),
    "a change of address": _twice(EmailChange(email=ANN, new_email=BOB), ContactSync(email=BOB)),
    "a batch": _batch(capture(BOB, dedupe_key="b"), {"kind": "contact_sync", "email": ANN}),
    "an empty batch": _batch(),
    "a bad batch": _batch(capture(BOB, dedupe_key="b"), {"kind": "lead_capture", "email": "bob"}),
    "a mismatch in a batch": _batch(capture(dedupe_key="7", name="Bo"), capture(BOB, dedupe_key="b")),
    "a duplicate in a batch": _batch(*[capture(BOB, dedupe_key="b")] * 2),
    "created": _ended(CREATED),
    "rejected": _ended(REJECTED),
    "waiting": _waiting,
    "unknown": _unknown,
    "withdrawn": _withdrawn,
    "full": _full,
    "full of changes of address": _full_of_changes,
    "full of all": _full_of_all,
    "latest": lambda desk: [desk.queue.latest(ANN), heard(desk.queue.latest, "ann")],
}


def plain(said: Any, ids: dict[str, int]) -> Any:
    """An answer without what differs from run to run: ids are numbered as they come up, times are gone."""
    if isinstance(said, OnelaneError):
        text = " ".join(str(ids.get(word.strip(",;"), word)) for word in str(said).split())
        return type(said), text, said.index, plain(said.receipts, ids)
    if isinstance(said, BaseModel):
        said = {"is": type(said), **{name: getattr(said, name) for name in type(said).model_fields}}
    if isinstance(said, dict):
        return {
            name: ids.setdefault(value, len(ids)) if name in ("id", "lane") else plain(value, ids)
            for name, value in said.items()
        }
    if isinstance(said, list | tuple):
        return [plain(one, ids) for one in said]
    return "a time" if isinstance(said, datetime) else said


@pytest.fixture
def open_fake(client: str) -> Iterator[Callable[..., Desk]]:
    """Opens a fake whose intents wait for a worker, as those of a queue without one."""
    with asyncio.Runner() as runner:

        def open_it(**settings: Any) -> Desk:
            options = QueueSettings.from_env({}, **settings)
            kind = FakeContactQueue if client == "blocking" else FakeAsyncContactQueue
            fake = kind(options)
            fake.script(None)
            queue = fake if client == "blocking" else Driven(fake, runner)
            return Desk(queue, lambda intent_id, **outcome: fake.end(intent_id, Outcome(**outcome)))

        yield open_it


@pytest.mark.parametrize("name", CONTRACT)
def test_the_fake_answers_what_the_real_queue_answers(
    name: str, open_shop: Open, open_fake: Callable[..., Desk]
) -> None:
    limits = {"full of all": {"pending_max": 2}}.get(name) or ({"lane_max": 2} if "full" in name else {})
    shop = open_shop(**limits)
    real, fake = Desk(shop.queue, shop.end), open_fake(**limits)
    assert plain(CONTRACT[name](fake), {}) == plain(CONTRACT[name](real), {})


def test_the_fake_fails_as_the_real_queue_does_when_redis_is_away() -> None:
    away = Redis.from_url("redis://127.0.0.1:1/0")
    real = ContactQueue(QueueSettings(enqueue_timeout_s=0.1), redis=away)
    fake = FakeContactQueue()
    fake.fail_with(QueueUnavailable("Redis is away"), times=None)
    batch = [capture(), capture(BOB)]
    calls: tuple[Callable[[Any], Any], ...] = (
        lambda queue: queue.enqueue(capture()),
        lambda queue: queue.enqueue({"kind": "lead_capture", "email": "ann"}),
        lambda queue: queue.enqueue_many(batch),
        lambda queue: queue.status("0" * 32),
        lambda queue: queue.withdraw("0" * 32),
        lambda queue: queue.wait("0" * 32, 1),
        lambda queue: queue.latest(ANN),
    )
    for call in calls:
        told, expected = (heard(call, queue) for queue in (fake, real))
        assert (type(told), told.index, told.receipts) == (type(expected), expected.index, expected.receipts)
    assert fake.intents == []


@pytest.mark.parametrize(
    ("fake", "real"), [(FakeContactQueue, ContactQueue), (FakeAsyncContactQueue, AsyncContactQueue)]
)
def test_no_verb_of_the_fake_meets_a_redis(fake: type, real: type) -> None:
    """Each is the fake's own, with the real one's signature, or goes through the fake's `_submit`."""
    verbs = {name for name, _ in inspect.getmembers(real, inspect.isfunction) if not name.startswith("_")}
    assert verbs - vars(fake).keys() == {"enqueue", "enqueue_many"}
    for name in verbs:
        assert inspect.signature(getattr(fake, name)) == inspect.signature(getattr(real, name))


# ── what a test says and asks ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fake() -> FakeContactQueue:
    return FakeContactQueue()


def test_what_was_enqueued_is_told_in_order_and_by_kind_and_address(fake: FakeContactQueue) -> None:
    opt_in, lead, sync = NewsletterOptIn(email=ANN), capture(BOB, name="Bob"), ContactSync(email=ANN)
    fake.enqueue(opt_in)
    fake.enqueue_many([lead, sync])
    assert fake.intents == [opt_in, lead, sync]
    assert [intent.name for intent in fake.intents_of(LeadCapture)] == ["Bob"]
    assert fake.intents_for(" ANN@example.test") == [opt_in, sync]


def test_a_duplicate_is_told_once(fake: FakeContactQueue) -> None:
    first, second = (fake.enqueue(capture(dedupe_key="7")) for _ in range(2))
    assert (second.id, second.duplicate) == (first.id, True)
    assert len(fake.intents) == 1


def test_without_a_script_the_contact_is_created_and_then_updated(fake: FakeContactQueue) -> None:
    intents = [capture(), ProductSignUp(email=ANN, external_id="7"), ContactErasure(email=ANN), capture(BOB)]
    outcomes = [fake.wait(receipt.id, timeout=9) for receipt in fake.enqueue_many(intents)]
    assert [one.result for one in outcomes] == ["created", "updated", "erased", "created"]
    assert [one.role for one in outcomes] == ["lead", "user", None, "lead"]
    assert outcomes[0].contact_id == outcomes[1].contact_id != outcomes[3].contact_id


def test_an_intent_that_may_not_create_has_created_nobody(fake: FakeContactQueue) -> None:
    intents = [
        ContactSync(email=ANN, create=False),
        ContactUpsert(email=ANN, create="update_only"),
        capture(),
    ]
    results = [fake.wait(receipt.id, timeout=9).result for receipt in fake.enqueue_many(intents)]
    assert results == ["updated", "updated", "created"]


def test_after_an_erasure_the_contact_and_its_dedupe_keys_are_gone(fake: FakeContactQueue) -> None:
    intents = [capture(dedupe_key="7"), ContactErasure(email=ANN, dedupe_key="8")]
    fake.enqueue_many(intents)
    again = fake.enqueue_many(intents)
    assert [receipt.duplicate for receipt in again] == [False, True]
    assert fake.wait(again[0].id, timeout=9).result == "created"


def test_the_outcome_is_scripted_for_all_for_a_kind_or_for_an_address(fake: FakeContactQueue) -> None:
    fake.script(Outcome(result="unchanged"))
    fake.script(Outcome(result="skipped"), kind=ContactSync)
    fake.script(Outcome(result="rejected", reason="refused"), email="Bob@example.test")
    results = [
        fake.wait(fake.enqueue(intent).id, timeout=9).result
        for intent in (capture(), ContactSync(email=ANN), ContactSync(email=BOB))
    ]
    assert results == ["unchanged", "skipped", "rejected"]


def test_a_rejected_intent_is_a_dead_letter(fake: FakeContactQueue) -> None:
    fake.script(Outcome(result="rejected", reason="refused", message="no"))
    status = fake.status(fake.enqueue(capture()).id)
    assert status is not None
    assert status.error is not None
    assert (status.state, status.error.class_, status.error.message) == ("dead", "refused", "no")


def test_an_intent_scripted_to_wait_times_out_at_once_until_it_is_ended(fake: FakeContactQueue) -> None:
    fake.script(None)
    receipt = fake.enqueue(capture())
    with pytest.raises(WaitTimeout, match=f"{receipt.id} has not ended within 3600 s"):
        fake.wait(receipt.id, timeout=3600)
    fake.end(receipt.id)
    assert fake.wait(receipt.id, timeout=0).result == "created"


def test_the_next_calls_fail_as_often_as_was_said(fake: FakeContactQueue) -> None:
    fake.fail_with(QueueUnavailable("Redis is away"), times=2)
    for _ in range(2):
        with pytest.raises(QueueUnavailable, match="Redis is away"):
            fake.enqueue(capture())
    fake.enqueue(capture())
    assert len(fake.intents) == 1


def test_any_failure_of_a_batch_tells_its_index(fake: FakeContactQueue) -> None:
    fake.fail_with(QueueFull("the lane of this address", 10_000))
    with pytest.raises(QueueFull) as caught:
        fake.enqueue_many([capture(), capture(BOB)])
    assert (caught.value.index, caught.value.receipts) == (0, (None, None))


def test_a_bad_intent_is_refused_before_the_failure(fake: FakeContactQueue) -> None:
    fake.fail_with(QueueUnavailable("Redis is away"))
    with pytest.raises(InvalidIntent, match=r"^email: "):
        fake.enqueue({"kind": "lead_capture", "email": "ann"})
    with pytest.raises(QueueUnavailable):
        fake.enqueue(capture())


def test_latest_is_what_was_set(fake: FakeContactQueue) -> None:
    known = Latest(contact_id="c", role="user", source="read", as_of=datetime.now(UTC), age_s=0)
    fake.set_latest(ANN, known)
    assert (fake.latest("ANN@example.test"), fake.latest(BOB)) == (known, None)


def test_closing_is_told_and_reset_forgets_everything(fake: FakeContactQueue) -> None:
    with fake as queue:
        queue.enqueue(capture(dedupe_key="7"))
    assert fake.closed
    fake.script(None)
    fake.fail_with(QueueUnavailable("Redis is away"))
    fake.reset()
    assert (fake.closed, fake.intents) == (False, [])
    assert fake.wait(fake.enqueue(capture(dedupe_key="7", name="Bo")).id, timeout=0).result == "created"


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "nonsense")
    FakeContactQueue()
    FakeAsyncContactQueue()


def test_the_asyncio_twin() -> None:
    async def story() -> None:
        async with FakeAsyncContactQueue() as queue:
            [receipt] = await queue.enqueue_many([capture()])
            assert (await queue.wait(receipt.id, timeout=0)).result == "created"
            assert queue.intents == [capture()]
            queue.fail_with(QueueUnavailable("Redis is away"))
            with pytest.raises(QueueUnavailable):
                await queue.enqueue(capture())
        assert queue.closed

    asyncio.run(story())
