"""The client against the sandbox: the replies of a whole API, and losses on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onelane_sandbox.client import SandboxControl
from onelane_sandbox.serve import RunningSandbox
from onelane_worker.planner.operations import (
    Archive,
    Attach,
    Conflict,
    Create,
    Delete,
    Detach,
    Done,
    FindByExternalId,
    Forbidden,
    Found,
    Gone,
    Listed,
    ListSubscriptions,
    ListTypes,
    Merge,
    NoResource,
    NotRestorable,
    Operation,
    Probe,
    Read,
    Refused,
    Reply,
    Search,
    Stopped,
    Subscriptions,
    Throttled,
    Types,
    Unarchive,
    Unknown,
    Update,
)

EMAIL = "ann@example.test"
NOBODY = "0" * 24
USER = Create({"role": "user", "email": EMAIL, "external_id": "u-17"})
LEAD = Create({"role": "lead", "email": EMAIL})

Ask = Callable[[Operation], Reply]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningSandbox]:
    with RunningSandbox(token="secret", index_lag=3600) as running:
        yield running


@pytest.fixture
def sandbox(server: RunningSandbox) -> SandboxControl:
    server.control.reset()
    return server.control


@pytest.fixture
def ask(sandbox: SandboxControl, call: Any) -> Ask:
    perform: Ask = call(sandbox.url).perform
    return perform


def found(reply: Reply) -> str:
    assert isinstance(reply, Found), reply
    return reply.facts.id


def test_the_life_of_a_user(ask: Ask, sandbox: SandboxControl) -> None:
    user = found(ask(USER))
    assert ask(USER) == Conflict(user, archived=False)
    assert found(ask(FindByExternalId("u-17"))) == user

    updated = ask(Update(user, {"name": "Ann", "avatar": "https://x.test/a.png", "signed_up_at": 7}))
    assert isinstance(updated, Found)
    assert updated.facts.fields.items() >= {"name": "Ann", "avatar": "https://x.test/a.png"}.items()
    assert updated.facts.fields["signed_up_at"] == 7

    assert ask(Search((EMAIL,), "u-17")) == Listed((), 1_000)
    sandbox.catch_up()
    hits = ask(Search((EMAIL, "Ann@Example.test"), "u-17"))
    assert isinstance(hits, Listed)
    assert [hit.id for hit in hits.candidates] == [user]

    assert ask(Archive(user)) == Done("u-17")
    assert ask(Read(user)) == Gone()
    assert ask(USER) == Conflict(user, archived=True)
    assert ask(Unarchive(user)) == Done("u-17")
    assert ask(Delete(user)) == Done("u-17")
    assert ask(Update(user, {"name": "Ann"})) == Gone()
    refusal = ask(Unarchive(user))
    assert isinstance(refusal, NotRestorable)
    assert refusal.why == "deleted"


def test_a_lead_is_merged_away(ask: Ask) -> None:
    lead, user = found(ask(LEAD)), found(ask(USER))
    assert found(ask(Merge(lead, user))) == user
    assert ask(Read(lead)) == Gone()
    refusal = ask(Unarchive(lead))
    assert isinstance(refusal, NotRestorable)
    assert refusal.why == "merged"


def test_a_merged_lead_names_its_heir_from_2_16_on(sandbox: SandboxControl, call: Any) -> None:
    ask = call(sandbox.url, intercom_version="2.16").perform
    lead, user = found(ask(LEAD)), found(ask(USER))
    found(ask(Merge(lead, user)))
    assert ask(Read(lead)) == Gone(merged_into=user)


def test_subscriptions(ask: Ask, sandbox: SandboxControl) -> None:
    sandbox.subscription_type("12", "News", "opt_in")
    types = ask(ListTypes())
    assert isinstance(types, Types)
    assert types.by_id["12"] == "opt_in"
    user = found(ask(USER))
    assert ask(Attach(user, "12", "opt_in")) == Done()
    assert ask(ListSubscriptions(user)) == Subscriptions(frozenset({"12"}))
    read = ask(Read(user))
    assert isinstance(read, Found)
    assert read.facts.attached == frozenset({"12"})
    assert ask(Detach(user, "12")) == Done()
    assert ask(Attach(user, "99", "opt_in")) == NoResource()
    assert ask(Detach(user, "99")) == Done()
    assert ask(Attach(NOBODY, "12", "opt_in")) == Gone()


def test_absent_subscription_lists_are_unknown(ask: Ask, sandbox: SandboxControl) -> None:
    sandbox.switch("subscription_lists", "absent")
    reply = ask(USER)
    assert isinstance(reply, Found)
    assert reply.facts.attached is None


@pytest.mark.parametrize("external_id", ["a/b", "a b?c#d&e", "100%", "ü", "..", EMAIL])
def test_any_external_id_finds_its_user(external_id: str, ask: Ask) -> None:
    user = found(ask(Create({"role": "user", "external_id": external_id})))
    assert found(ask(FindByExternalId(external_id))) == user


@pytest.mark.parametrize("status", ["400", "422"])
def test_an_unknown_attribute_is_refused(status: str, ask: Ask, sandbox: SandboxControl) -> None:
    sandbox.switch("unknown_attribute", status)
    user = found(ask(USER))
    assert isinstance(ask(Update(user, {"custom_attributes": {"nonsense": 1}})), Refused)


def test_a_bad_token_stops_the_line(sandbox: SandboxControl, call: Any) -> None:
    assert isinstance(call(sandbox.url, intercom_token="wrong").perform(Probe()), Stopped)


def test_an_unknown_version_stops_the_line(sandbox: SandboxControl, call: Any) -> None:
    assert isinstance(call(sandbox.url, intercom_version="9.9").perform(Probe()), Stopped)


def test_the_probe_works(ask: Ask) -> None:
    reply = ask(Probe())
    assert not isinstance(reply, Forbidden)
    assert isinstance(reply, Done)


def test_a_429_says_how_long(ask: Ask, sandbox: SandboxControl) -> None:
    sandbox.fault("rate_limited", seconds=30)
    reply = ask(USER)
    assert isinstance(reply, Throttled)
    assert 25 <= reply.retry_in_s <= 32
    assert sandbox.contacts() == []


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        ("lose_response", 1),
        ("drop_request", 0),
        ("status_500", 0),
        ("status_503", 0),
        ("status_504_after_commit", 1),
    ],
)
def test_what_became_of_a_lost_create_is_unknown(
    fault: str, written: int, ask: Ask, sandbox: SandboxControl
) -> None:
    sandbox.fault(fault, method="POST")
    assert isinstance(ask(USER), Unknown)
    assert len(sandbox.contacts()) == written
    assert not isinstance(ask(USER), Unknown)


def test_a_slow_answer_is_unknown_and_not_asked_for_again(sandbox: SandboxControl, call: Any) -> None:
    sandbox.fault("slow", seconds=30, times=None)
    reply = call(sandbox.url, http_timeout_s=0.5).perform(USER)
    assert isinstance(reply, Unknown)
    assert len(sandbox.requests()) == 1


def test_a_late_write_never_reaches_the_api(sandbox: SandboxControl, call: Any) -> None:
    caller = call(sandbox.url)
    caller.perform(Probe())  # a warm connection: nothing but the last look keeps it back
    caller.perform(USER, send_by=time.monotonic() - 1)
    assert [one["method"] for one in sandbox.requests()] == ["GET"]


def test_many_calls_at_once(call: Any, sandbox: SandboxControl) -> None:
    caller = call(sandbox.url)
    people = [Create({"role": "user", "external_id": f"u-{n}"}) for n in range(100)]

    async def all_at_once() -> list[Reply]:
        return await asyncio.gather(*map(caller.ask, people))

    ids = {found(reply) for reply in caller.run(all_at_once())}
    assert len(ids) == len(sandbox.contacts()) == 100
