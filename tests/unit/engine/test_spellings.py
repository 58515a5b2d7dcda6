"""Scenario 34: others stored the address in another form; it is the same contact."""

from __future__ import annotations

import pytest
from tests.world.world import World

from onelane import ContactSync, EmailChange, LeadCapture, NewsletterOptOut, ProductSignUp
from onelane_worker.planner import operations as op

STORED_AND_ASKED = {
    "native letters": ("cy@b\u00fccher.example", "cy@xn--bcher-kva.example"),
    "native letters, decomposed": ("cy@bu\u0308cher.example", "cy@b\u00fccher.example"),
    "domain in ASCII": ("cy@xn--bcher-kva.example", "Cy@B\u00fccher.example"),
    "sharp s": ("cy@stra\u00dfe.example", "cy@XN--STRAE-OQA.example"),
    "decomposed before the @": ("rene\u0301@example.test", "ren\u00e9@example.test"),
    "composed before the @": ("ren\u00e9@example.test", "rene\u0301@example.test"),
    "decomposed, and native letters": ("rene\u0301@bu\u0308cher.example", "ren\u00e9@xn--bcher-kva.example"),
    "composed, and native letters": ("ren\u00e9@b\u00fccher.example", "rene\u0301@xn--bcher-kva.example"),
}
spelt = pytest.mark.parametrize(("stored", "asked"), STORED_AND_ASKED.values(), ids=STORED_AND_ASKED)


@spelt
@pytest.mark.parametrize("case", ["insensitive", "sensitive"])
@pytest.mark.parametrize("role", ["lead", "user"])
def test_a_contact_stored_in_another_form_is_found_and_not_doubled(
    world: World, stored: str, asked: str, case: str, role: str
) -> None:
    world.sandbox.switch("email_search_case", case)
    contact = world.seed(role=role, email=stored, name="Cy")
    world.catch_up()
    outcome = world.do(LeadCapture(email=asked, name="Cyd"))
    assert (outcome.result, outcome.contact_id, outcome.ambiguous) == ("updated", contact["id"], False)
    assert world.calls() == ["Search", "Read", "Update"]
    [only] = world.sandbox.contacts()
    assert (only["name"], only["email"]) == ("Cyd", stored)  # never rewritten for its spelling


def test_a_contact_stored_in_capital_letters_is_found(world: World) -> None:
    contact = world.seed(role="user", email="CY@B\u00dcCHER.Example")
    world.catch_up()
    assert world.do(LeadCapture(email="cy@xn--bcher-kva.example", name="Cy")).contact_id == contact["id"]


@spelt
def test_a_sign_up_an_opt_out_and_a_known_external_id_mean_the_same_contact(
    world: World, stored: str, asked: str
) -> None:
    lead = world.seed(role="lead", email=stored)
    world.catch_up()
    assert world.do(ProductSignUp(email=asked, external_id="u-1")).contact_id == lead["id"]
    assert world.do(NewsletterOptOut(email=asked)).contact_id == lead["id"]
    world.calls()
    synced = world.do(ContactSync(email=stored, external_id="u-1", name="Cy"))
    assert (synced.contact_id, world.calls()) == (lead["id"], ["Update"])
    assert len(world.sandbox.contacts()) == 1


@spelt
def test_a_change_of_address_meets_who_lives_there(world: World, stored: str, asked: str) -> None:
    holder = world.seed(role="user", email=stored)
    world.seed(role="user", email="old@example.test")
    world.catch_up()
    outcome = world.do(EmailChange(email="old@example.test", new_email=asked))
    assert (outcome.reason, outcome.other_contacts) == ("address_taken", (holder["id"],))


def test_an_address_of_one_form_is_searched_for_as_before(world: World) -> None:
    world.do(LeadCapture(email="ann@example.test"))
    assert world.intercom.log.calls[0] == op.Search(("ann@example.test",))


def test_however_many_ways_an_address_was_written_one_search_holds_them(world: World) -> None:
    local = "rene\u0301abcdef"
    written = [f"{local[:n].upper()}{local[n:]}@b\u00fccher.example" for n in range(len(local))]
    written += [f"{local[:n].upper()}{local[n:]}@B\u00fccher.example" for n in range(len(local))]
    receipts = world.enqueue(*(LeadCapture(email=one, external_id="u-1") for one in written))
    assert world.ended(receipts[0]).result == "created"
    world.rest()
    assert len(world.sandbox.contacts()) == 1


def test_sharp_s_and_double_s_are_two_domains_and_two_persons(world: World) -> None:
    world.seed(role="user", email="cy@stra\u00dfe.example", name="first")
    world.catch_up()
    outcome = world.do(ProductSignUp(email="cy@strasse.example", external_id="u-2", name="second"))
    assert outcome.result == "created"
    assert sorted(contact["name"] for contact in world.sandbox.contacts()) == ["first", "second"]
