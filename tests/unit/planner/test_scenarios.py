"""The acceptance stories in virtual time, each under every value of every switch of the sandbox.

Judged on the true state, with an index that lags for longer than the story takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_sandbox.switches import SWITCHES
from onelane_worker.engine.codec import to_store
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .oracle import consent_of
from .play import ANN, World

LAG_S = 500.0
NEW = "new@example.test"
A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}
Y: dict[str, Any] = {"email": ANN, "external_id": "u-2"}
Make = Callable[..., World]


def settings() -> Iterator[Any]:
    yield pytest.param({}, id="defaults")
    for name, switch in SWITCHES.items():
        for value in switch.values[1:]:
            yield pytest.param({name: value}, id=f"{name}={value}")
    yield pytest.param({"version": "2.16"}, id="version=2.16")


@pytest.fixture(params=settings())
def make(request: pytest.FixtureRequest) -> Make:
    """A world under one setting of the sandbox."""
    chosen = dict(request.param)
    version = chosen.pop("version", "2.15")

    def world(policy: Policy | None = None, *, lag: float = LAG_S, **switches: str) -> World:
        return World(policy, lag=lag, switches={**chosen, **switches}, version=version)

    return world


def lose(kind: type, fate: str = "lost") -> Callable[[op.Operation], str | None]:
    fates = [fate]
    return lambda operation: fates.pop() if fates and isinstance(operation, kind) else None


def test_S1_a_user_who_opts_in_seconds_later_is_updated(make: Make) -> None:
    world = make()
    world.do(ProductSignUp(**X))
    user = world.only()
    world.ask("PUT", f"/contacts/{user['id']}", {"unsubscribed_from_emails": True})
    world.do(NewsletterOptIn(**A, name="Ann"))
    assert world.only()["id"] == user["id"]
    assert consent_of(world.only())["all"] is True


def test_S2_two_opt_ins_make_one_lead(make: Make) -> None:
    world = make()
    world.do(NewsletterOptIn(**A, name="Ann"))
    world.do(NewsletterOptIn(**A, phone="+1"))
    assert (world.only()["name"], world.only()["phone"]) == ("Ann", "+1")


@pytest.mark.parametrize("fate", ["lost", "late", "dropped", "crash_before", "crash_after"])
def test_S3_S5_the_answer_to_a_create_is_lost(make: Make, fate: str) -> None:
    for intent in (
        NewsletterOptIn(**A, name="Ann"),
        ProductSignUp(**X, name="Ann"),
        ContactSync(**A, name="Ann"),
    ):
        world = make()
        world.fate = lose(op.Create, fate)
        assert world.do(intent).result == "created"
        assert world.only()["name"] == "Ann"


def test_S4_a_quote_then_a_sign_up_is_one_contact_with_one_id(make: Make) -> None:
    world = make()
    quote = world.do(LeadCapture(**A, name="Ann"))
    sign_up = world.do(ProductSignUp(**X))
    assert (sign_up.result, sign_up.contact_id) == ("converted", quote.contact_id)
    assert (world.only()["external_id"], world.only()["name"]) == ("u-1", "Ann")


def test_S7_no_change_is_lost_and_no_no_op_costs_a_call(make: Make) -> None:
    world = make()
    old, new = ContactSync(**X, name="Ann"), ContactSync(**X, name="Anne")
    calls = [world.do(intent).calls for intent in (old, old, new, old, old)]
    assert calls == [3, 0, 1, 1, 0]
    assert world.only()["name"] == "Ann"


def test_S9_a_user_made_a_second_ago_is_adopted(make: Make) -> None:
    for intent in (ProductSignUp(**X, name="Ann"), ContactSync(**X, name="Ann")):
        world = make()
        world.hide("U", role="user", external_id="u-1")
        outcome = world.do(intent)
        assert outcome.result == "updated"
        assert world.only()["name"] == "Ann"
        assert len(world.calls()) <= 5


def test_S10_set_and_set_on_insert(make: Make) -> None:
    world = make()
    upsert = ContactUpsert(**X, set={"name": "Ann"}, set_on_insert={"phone": "+1"})
    world.do(upsert)
    assert (world.only()["name"], world.only()["phone"]) == ("Ann", "+1")
    world.do(ContactSync(**X, unset=("phone",)))
    world.do(upsert)
    assert world.only()["phone"] is None


def test_S11_an_opt_in_lifts_both_and_a_re_sync_lifts_nothing(make: Make) -> None:
    world = make()
    user = world.seed("U", role="user", external_id="u-1", unsubscribed_from_emails=True)
    choice = {"id": "101", "consent_type": "opt_out"}
    world.ask("POST", f"/contacts/{user}/subscriptions", choice)
    world.do(NewsletterOptIn(**A, subscription_types=("101",)))
    assert consent_of(world.only()) == {"all": True, "101": True, "102": False}
    world.do(NewsletterOptOut(**A))
    world.do(ContactSync(**X, name="Ann"))
    assert consent_of(world.only())["all"] is False


def test_S14_an_archived_user_comes_back_by_an_act_of_their_own(make: Make) -> None:
    world = make()
    world.do(ContactSync(**X, name="Ann"))
    user = world.name_new("U")
    world.ask("POST", f"/contacts/{user}/archive")
    assert world.do(ContactSync(**X, name="Anne")).reason == "archived"
    assert world.live() == []
    outcome = world.do(NewsletterOptIn(**A, name="Annika"))
    assert (outcome.contact_id, outcome.revived) == (user, True)
    assert world.only()["name"] == "Annika"


def test_S15_who_cannot_be_restored_is_a_dead_letter_with_the_reason(make: Make) -> None:
    world = make()
    user = world.seed("U", role="user", external_id="u-1")
    world.ask("DELETE", f"/contacts/{user}")
    world.sandbox.catch_up()
    outcome = world.do(ProductSignUp(**X))
    assert (outcome.result, outcome.reason) == ("rejected", "not_restorable")
    assert outcome.message
    assert len(world.calls()) <= 12


def test_S15_nor_somebody_who_was_blocked(make: Make) -> None:
    world = make()
    user = world.seed("U", role="user", external_id="u-1")
    world.ask("POST", f"/contacts/{user}/block")
    world.sandbox.catch_up()
    assert world.do(ProductSignUp(**X)).reason == "not_restorable"


def test_S16_the_user_is_chosen_and_a_stored_lead_is_looked_up_again(make: Make) -> None:
    world = make()
    world.do(LeadCapture(**A, name="Ann"))
    world.hide("U", role="user")
    world.sandbox.catch_up()
    world.age(901)
    world.say(LeadCapture(**A, phone="+1"))
    world.run()
    assert {contact["role"]: contact["phone"] for contact in world.live()}["user"] == "+1"


def test_S16_a_lead_of_ours_is_merged_into_the_user(make: Make) -> None:
    world = make()
    world.do(LeadCapture(**A, name="Ann"))
    world.hide("U", role="user")
    world.sandbox.catch_up()
    world.age(1)
    world.lanes[ANN].entry = to_store(replace(world.entry(), searched_ms=None))
    world.do(NewsletterOptOut(**A))
    outcome = world.do(LeadCapture(**A, phone="+1"))
    assert len(outcome.merged) == 1
    assert (world.only()["role"], world.only()["phone"]) == ("user", "+1")


def test_S17_two_accounts_share_an_address(make: Make) -> None:
    world = make(email_conflict="loose")
    first = world.do(ContactSync(**X, name="one"))
    second = world.do(ContactSync(**Y, name="two"))
    assert (second.result, second.ambiguous) == ("created", True)
    assert world.do(ContactSync(**X, phone="+1")).contact_id == first.contact_id
    assert world.do(ContactSync(**Y, phone="+2")).contact_id == second.contact_id
    chosen = world.do(LeadCapture(**A, name="form"))
    assert chosen.ambiguous
    assert chosen.contact_id in (first.contact_id, second.contact_id)
    assert world.do(LeadCapture(**A, phone="+3")).contact_id == chosen.contact_id


def test_S18_a_ghost_is_neither_written_to_nor_doubled(make: Make) -> None:
    world = make()
    ghost = world.seed("G", role="lead")
    user = world.hide("U", role="user", email=NEW)
    world.ask("PUT", f"/contacts/{user}", {"email": ANN})
    world.ask("POST", "/contacts/merge", {"from": ghost, "into": user})
    world.do(NewsletterOptIn(**A, name="Ann"))
    assert world.only()["id"] == user
    assert world.only()["name"] == "Ann"


def test_S21_an_unknown_attribute_blames_its_own_intent_alone(make: Make) -> None:
    world = make()
    good = LeadCapture(**A, custom_attributes={"plan": "pro"})
    bad = LeadCapture(**A, custom_attributes={"nonsense": "1"})
    ids = world.say(good, bad, LeadCapture(**A, name="Ann"))
    world.run()
    assert [world.outcomes[i].result for i in ids] == ["created", "rejected", "updated"]
    assert "nonsense" in (world.outcomes[ids[1]].message or "")
    assert (world.only()["name"], world.only()["custom_attributes"]) == ("Ann", {"plan": "pro"})
    attribute = {"name": "nonsense", "model": "contact", "data_type": "string"}
    world.ask("POST", "/data_attributes", attribute)
    assert world.do(bad).result == "updated"


def test_S23_an_external_id_that_a_lead_does_not_keep(make: Make) -> None:
    world = make()
    world.do(LeadCapture(**X, name="Ann"))
    world.do(LeadCapture(**X, phone="+1"))
    world.do(ContactSync(**X, name="Anne"))
    assert (world.only()["external_id"], world.only()["name"]) == ("u-1", "Anne")


def test_S24_the_conversion_is_refused_because_a_browser_was_faster(make: Make) -> None:
    world = make()
    world.do(LeadCapture(**A, name="Ann"))
    user = world.hide("U", role="user", external_id="u-1")
    outcome = world.do(ProductSignUp(**X, phone="+1"))
    assert (outcome.contact_id, outcome.adopted, len(outcome.merged)) == (user, True, 1)
    assert (world.only()["phone"], world.only()["name"]) == ("+1", "Ann")


def test_S25_a_known_external_id_with_a_new_address_moves(make: Make) -> None:
    world = make()
    old = world.do(ContactSync(**X, name="Ann"))
    moved = world.do(ContactSync(email=NEW, external_id="u-1", name="Ann"))
    assert moved.contact_id == old.contact_id
    assert world.live() == []
    assert world.do(LeadCapture(**A, name="Somebody else")).contact_id != old.contact_id
    assert world.only(NEW)["name"] == "Ann"


@pytest.mark.parametrize("order", ["out first", "sync first"])
def test_S27_the_newest_word_of_the_person_stands(make: Make, order: str) -> None:
    world = make()
    world.do(NewsletterOptIn(**A, occurred_at="2026-01-01T00:00:00Z"))
    replay = NewsletterOptIn(**A, occurred_at="2026-01-01T00:00:00Z")
    sync, out = ContactSync(**X, name="Ann"), NewsletterOptOut(**A)
    ids = world.say(*([out, sync, replay] if order == "out first" else [sync, out, replay]))
    world.run()
    assert consent_of(world.only())["all"] is False
    assert world.outcomes[ids[2]].result == "superseded"


def test_S28_an_opt_out_of_somebody_not_visible_is_remembered(make: Make) -> None:
    for intent in (LeadCapture(**A), ContactSync(**X), ProductSignUp(**X)):
        world = make()
        world.do(NewsletterOptOut(**A))
        world.age(100_000)
        world.do(intent)
        assert consent_of(world.only())["all"] is False


def test_S28_it_reaches_a_contact_that_appears(make: Make) -> None:
    world = make(lag=5_000)
    world.hide("U", role="user", external_id="u-1")
    assert world.do(NewsletterOptOut(**A)).reason == "not_found"
    world.do(ContactSync(**X, name="Ann"))
    assert consent_of(world.only())["all"] is False
