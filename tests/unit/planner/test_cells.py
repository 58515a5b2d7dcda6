"""The planner's first table: what each kind of intent does in each state of the person. One line, one cell.

The registry knows nothing and the index knows everything, unless the state says otherwise. `since` is
signed_up_at, `ext` the external id u-1, `flag` the consent flag. U has the external id u-1, U9 another one,
U0 none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_worker.planner.policy import Policy

from .play import ANN, World

A = {"email": ANN}
X = {"email": ANN, "external_id": "u-1"}
INTENTS: dict[str, Callable[[], Any]] = {
    "opt_in": lambda: NewsletterOptIn(**A, name="Ann"),
    "opt_out": lambda: NewsletterOptOut(**A),
    "capture": lambda: LeadCapture(**A, name="Ann"),
    "sign_up": lambda: ProductSignUp(**X, name="Ann"),
    "sync ext": lambda: ContactSync(**X, name="Ann"),
    "sync": lambda: ContactSync(**A, name="Ann"),
    "sync -create": lambda: ContactSync(**A, name="Ann", create=False),
    "upsert ext": lambda: ContactUpsert(**X, set={"name": "Ann"}, set_on_insert={"phone": "+1"}),
    "upsert": lambda: ContactUpsert(**A, set={"name": "Ann"}, set_on_insert={"phone": "+1"}),
    "upsert user": lambda: ContactUpsert(**X, role="user", set={"name": "Ann"}),
    "upsert lead": lambda: ContactUpsert(**X, role="lead", set={"name": "Ann"}),
    "update_only": lambda: ContactUpsert(**X, create="update_only", set={"name": "Ann"}),
    "create_only": lambda: ContactUpsert(**X, create="create_only", set={"name": "Ann"}),
}


# ── the states ────────────────────────────────────────────────────────────────────────────────────────────


def archive(world: World, contact_id: str) -> None:
    world.ask("POST", f"/contacts/{contact_id}/archive")
    world.sandbox.catch_up()


def quoted(world: World) -> str:
    """A lead that the registry knows, made by us a moment ago."""
    world.do(LeadCapture(**A))
    return world.name_new("L")


def two_leads(world: World) -> None:
    world.seed("L1", role="lead")
    world.age(5)
    world.seed("L2", role="lead")


def merged_away(world: World) -> None:
    lead, user = quoted(world), world.hide("U0", role="user")
    world.ask("POST", "/contacts/merge", {"from": lead, "into": user})


def beside(world: World, name: str, **body: Any) -> None:
    """A second user at the address: made elsewhere, and moved there."""
    contact_id = world.seed(name, role="user", email="elsewhere@example.test", **body)
    world.ask("PUT", f"/contacts/{contact_id}", {"email": ANN})
    world.sandbox.catch_up()


STATES: dict[str, Callable[[World], object]] = {
    "A": lambda world: None,
    "L": lambda world: world.seed("L", role="lead"),
    "U": lambda world: world.seed("U", role="user", external_id="u-1"),
    "U0": lambda world: world.seed("U0", role="user"),
    "U9": lambda world: world.seed("U9", role="user", external_id="u-9"),
    "L U": lambda world: (STATES["L"](world), STATES["U"](world)),
    "L U0": lambda world: (STATES["L"](world), STATES["U0"](world)),
    "L U9": lambda world: (STATES["L"](world), STATES["U9"](world)),
    "U0 U9": lambda world: (STATES["U0"](world), beside(world, "U9", external_id="u-9")),
    "U U9": lambda world: (STATES["U9"](world), world.age(5), beside(world, "U", external_id="u-1")),
    "L1 L2": two_leads,
    "archived U, known to nobody": lambda world: archive(
        world, world.seed("U", role="user", external_id="u-1")
    ),
    "archived L, believed": lambda world: archive(world, quoted(world)),
    "believed L, merged into a hidden U0": merged_away,
    "believed L": quoted,
}

CELLS = """
A           | opt_in       | created                   | search, post lead name
A           | opt_out      | skipped not_found         | search, search
A           | capture      | created                   | search, post lead name
A           | sign_up      | created                   | search, post user ext name since
A           | sync ext     | created                   | find u-1, search, post user ext name
A           | sync         | created                   | search, post user name
A           | sync -create | skipped not_found         | search, search
A           | upsert ext   | created                   | find u-1, search, post user ext name phone
A           | upsert       | created                   | search, post lead name phone
A           | upsert user  | created                   | find u-1, search, post user ext name
A           | upsert lead  | created                   | find u-1, search, post lead name
A           | update_only  | skipped not_found         | find u-1, search, find u-1, search
A           | create_only  | created                   | find u-1, search, post user ext name

L           | opt_in       | updated                   | search, get L, put L name
L           | opt_out      | updated                   | search, get L, put L flag=out
L           | capture      | updated                   | search, get L, put L name
L           | sign_up      | converted                 | search, get L, put L ext name role since
L           | sync ext     | converted                 | find u-1, search, get L, put L ext name role
L           | sync         | updated                   | search, get L, put L name
L           | upsert ext   | updated                   | find u-1, search, get L, put L name
L           | upsert user  | converted                 | find u-1, search, get L, put L ext name role
L           | upsert lead  | updated                   | find u-1, search, get L, put L name
L           | update_only  | updated                   | find u-1, search, get L, put L name
L           | create_only  | skipped exists            | find u-1, search, get L

U           | opt_in       | updated                   | search, get U, put U name
U           | opt_out      | updated                   | search, get U, put U flag=out
U           | capture      | updated                   | search, get U, put U name
U           | sign_up      | updated                   | search, get U, put U name since
U           | sync ext     | updated                   | find u-1, put U name
U           | sync         | updated                   | search, get U, put U name
U           | upsert ext   | updated                   | find u-1, put U name
U           | upsert lead  | updated                   | find u-1, put U name
U           | update_only  | updated                   | find u-1, put U name
U           | create_only  | skipped exists            | find u-1

U0          | opt_in       | updated                   | search, get U0, put U0 name
U0          | opt_out      | updated                   | search, get U0, put U0 flag=out
U0          | sign_up      | updated                   | search, get U0, put U0 ext name since
U0          | sync ext     | updated                   | find u-1, search, get U0, put U0 ext name
U0          | sync         | updated                   | search, get U0, put U0 name
U0          | upsert ext   | updated                   | find u-1, search, get U0, put U0 ext name

U9          | opt_in       | updated                   | search, get U9, put U9 name
U9          | opt_out      | updated                   | search, get U9, put U9 flag=out
U9          | sign_up      | rejected address_taken    | search, post user ext name since, get U9
U9          | sync ext     | rejected address_taken    | find u-1, search, post user ext name, get U9
U9          | sync         | updated                   | search, get U9, put U9 name
U9          | upsert ext   | rejected address_taken    | find u-1, search, post user ext name phone, get U9

L U         | opt_in       | updated                   | search, get U, put U name
L U         | opt_out      | updated                   | search, get U, get L, put U flag=out, put L flag=out
L U         | capture      | updated                   | search, get U, put U name
L U         | sign_up      | updated                   | search, get U, put U name since
L U         | sync ext     | updated                   | find u-1, put U name
L U0        | sign_up      | updated                   | search, get U0, put U0 ext name since
L U0        | sync ext     | updated                   | find u-1, search, get U0, put U0 ext name
L U9        | opt_in       | updated                   | search, get U9, put U9 name
L U9        | opt_out      | updated                   | search, get U9, get L, put U9 flag=out, put L flag=out
L U9        | sign_up      | converted ambiguous       | search, get L, put L ext name role since
L U9        | sync ext     | converted ambiguous       | find u-1, search, get L, put L ext name role
L U9        | upsert ext   | converted ambiguous       | find u-1, search, get L, put L ext name role

U0 U9       | opt_in       | updated ambiguous         | search, get U0, put U0 name
U0 U9       | opt_out      | updated                   | search, get U0, get U9, put U0 flag=out, put U9 flag=out
U0 U9       | sign_up      | updated ambiguous         | search, get U0, put U0 ext name since
U U9        | opt_in       | updated ambiguous         | search, get U9, put U9 name
U U9        | sign_up      | updated ambiguous         | search, get U, put U name since
U U9        | sync ext     | updated                   | find u-1, put U name

L1 L2       | opt_in       | updated ambiguous         | search, get L1, put L1 name
L1 L2       | opt_out      | updated                   | search, get L1, get L2, put L1 flag=out, put L2 flag=out
L1 L2       | capture      | updated ambiguous         | search, get L1, put L1 name
L1 L2       | sign_up      | converted ambiguous       | search, get L1, put L1 ext name role since
L1 L2       | sync ext     | converted ambiguous       | find u-1, search, get L1, put L1 ext name role
L1 L2       | sync         | updated ambiguous         | search, get L1, put L1 name

archived U, known to nobody | opt_in       | created            | search, post lead name
archived U, known to nobody | opt_out      | skipped not_found  | search, search
archived U, known to nobody | sign_up      | updated revived    | search, post user ext name since, unarchive U, put U email name, put U since
archived U, known to nobody | sync ext     | skipped archived   | find u-1, search, post user ext name
archived U, known to nobody | sync         | skipped archived   | search, post user name
archived U, known to nobody | upsert ext   | updated revived    | find u-1, search, post user ext name phone, unarchive U, put U email name
archived U, known to nobody | update_only  | skipped not_found  | find u-1, search, find u-1, search
archived U, known to nobody | create_only  | skipped archived   | find u-1, search, post user ext name

archived L, believed | opt_in       | updated revived    | put L flag=in name, search, unarchive L, put L flag=in name
archived L, believed | opt_out      | skipped archived   | put L flag=out, search, search
archived L, believed | capture      | updated revived    | put L name, search, unarchive L, put L name
archived L, believed | sign_up      | converted revived  | put L ext name role since, search, unarchive L, put L ext name role since
archived L, believed | sync -create | skipped archived   | put L name, search, search
archived L, believed | upsert       | updated revived    | put L name, search, unarchive L, put L name
archived L, believed | update_only  | skipped archived   | put L name, find u-1, search, find u-1, search

believed L, merged into a hidden U0 | opt_in   | updated         | put L flag=in name, search, unarchive L, search, get U0, put U0 name
believed L, merged into a hidden U0 | opt_out  | updated         | put L flag=out, search, search, get U0, put U0 flag=out
believed L, merged into a hidden U0 | sign_up  | updated adopted | put L ext name role since, search, unarchive L, post user ext name since, get U0, put U0 ext name since
believed L, merged into a hidden U0 | sync     | updated         | put L name, search, search, get U0, put U0 name
believed L, merged into a hidden U0 | sync ext | updated adopted | put L ext name role, find u-1, search, post user ext name, get U0, put U0 ext name

believed L  | opt_in       | updated                   | put L flag=in name
believed L  | opt_out      | updated                   | put L flag=out
believed L  | capture      | updated                   | put L name
believed L  | sign_up      | converted                 | put L ext name role since
believed L  | sync ext     | converted                 | put L ext name role
believed L  | upsert       | updated                   | put L name
believed L  | create_only  | skipped exists            |
"""  # noqa: E501  # a cell is one line


def rows(table: str) -> list[tuple[str, ...]]:
    lines = (line for line in table.splitlines() if line.strip())
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines]


def result_of(outcome: Any) -> str:
    flags = [name for name in ("revived", "adopted", "ambiguous") if getattr(outcome, name)]
    return " ".join([outcome.result, *([outcome.reason] if outcome.reason else []), *flags])


def happens(state: str, intent: str, policy: Policy | None = None, **switches: Any) -> tuple[str, str]:
    """What the intent ends with in that state, and what was asked for it."""
    world = World(policy, switches=switches)
    STATES[state](world)
    world.calls()
    outcome = world.do(INTENTS[intent]())
    calls = world.calls()
    return result_of(outcome), ", ".join(calls)


@pytest.mark.parametrize(("state", "intent", "result", "calls"), rows(CELLS))
def test_cell(state: str, intent: str, result: str, calls: str) -> None:
    assert happens(state, intent) == (result, calls)


# ── the choices an operator has ───────────────────────────────────────────────────────────────────────────


class TestPolicies:
    """R20–R23: the same cells under other policies, and under other answers of Intercom."""

    @pytest.mark.parametrize(
        ("state", "policy", "result", "calls"),
        rows("""
        U9   | separate | created ambiguous      | search, post user ext name since
        L U9 | separate | converted ambiguous    | search, get L, put L ext name role since
        U9   | reject   | rejected address_taken | search, get U9
        L U9 | reject   | rejected address_taken | search, get U9
        U U9 | reject   | updated ambiguous      | search, get U, put U name since
        U9   | adopt    | updated                | search, get U9, put U9 ext name since
        L U9 | adopt    | updated                | search, get U9, put U9 ext name since
        """),
    )
    def test_R20_another_external_id_at_the_address(
        self, state: str, policy: Any, result: str, calls: str
    ) -> None:
        other = Policy(other_external_id=policy)
        assert happens(state, "sign_up", other, email_conflict="external_id_wins") == (result, calls)

    @pytest.mark.parametrize(
        ("intent", "policy", "result"),
        rows("""
        opt_in   | people | updated revived
        opt_in   | never  | created
        sign_up  | people | converted revived
        sign_up  | never  | created
        sync ext | people | created
        sync ext | always | converted revived
        sync -create | always | updated revived
        opt_out  | always | skipped archived
        """),
    )
    def test_R21_who_brings_back_an_archived_lead(self, intent: str, policy: Any, result: str) -> None:
        assert happens("archived L, believed", intent, Policy(revive=policy))[0] == result

    @pytest.mark.parametrize(
        ("merge_leads", "calls"),
        rows("""
        own | search, get U, put U name
        all | search, get U, put U name, get L, merge L U
        off | search, get U, put U name
        """),
    )
    def test_R22_a_strange_lead_beside_the_user(self, merge_leads: Any, calls: str) -> None:
        assert happens("L U", "capture", Policy(merge_leads=merge_leads)) == ("updated", calls)

    def test_R22_an_opt_out_merges_nobody(self) -> None:
        calls = happens("L U", "opt_out", Policy(merge_leads="all"))[1]
        assert "merge" not in calls

    def test_R22_never_into_a_user_who_is_a_guess(self) -> None:
        world = World(Policy(merge_leads="all"))
        STATES["L U9"](world)
        assert world.do(LeadCapture(**X, name="Ann")).ambiguous
        assert len(world.live()) == 2

    @pytest.mark.parametrize(
        ("state", "intent", "calls"),
        rows("""
        U | capture | search, get U
        U | opt_in  | search, get U
        L | capture | search, get L, put L name
        U | sign_up | search, get U, put U name since
        """),
    )
    def test_R23_forms_may_be_kept_from_a_users_fields(self, state: str, intent: str, calls: str) -> None:
        assert happens(state, intent, Policy(form_fields_on_user="keep"))[1] == calls

    def test_opt_out_may_create(self) -> None:
        world = World(Policy(optout_creates=True))
        assert world.do(NewsletterOptOut(**A)).result == "created"
        assert world.only()["unsubscribed_from_emails"] is True


class TestFields:
    """§3 and §4, as far as they show on the wire."""

    @pytest.mark.parametrize("state", ["U", "L", "U0"])
    def test_R42_set_on_insert_is_for_new_contacts_only(self, state: str) -> None:
        world = World()
        STATES[state](world)
        world.do(INTENTS["upsert"]())
        assert (world.only()["name"], world.only()["phone"]) == ("Ann", None)

    def test_R41_unset_is_left_out_of_a_create_and_is_null_in_an_update(self) -> None:
        world = World()
        gone = ContactSync(**A, unset=("phone", "custom_attributes.plan"))
        world.do(gone)
        assert world.calls() == ["search", "post user"]
        world.do(ContactSync(**A, phone="+1", custom_attributes={"plan": "pro"}))
        world.calls()
        world.do(gone)
        assert len(world.calls()) == 1
        assert (world.only()["phone"], world.only()["custom_attributes"]["plan"]) == (None, None)

    def test_R27_signed_up_at_is_the_moment_of_the_act_and_is_kept(self) -> None:
        world = World()
        world.do(ProductSignUp(**X, occurred_at="2026-01-01T00:00:00Z"))
        world.do(ProductSignUp(**X))
        assert world.only()["signed_up_at"] == 1_767_225_600
        world.do(ProductSignUp(**X, signed_up_at=5))
        assert world.only()["signed_up_at"] == 5

    @pytest.mark.parametrize("stored", ["preserve", "lower"])
    def test_R62_an_address_is_not_rewritten_for_its_spelling(self, stored: str) -> None:
        world = World(switches={"email_store_case": stored})
        world.seed("U", role="user", external_id="u-1", email="Ann@Example.test")
        world.do(INTENTS["sync ext"]())
        assert world.calls() == ["find u-1", "put U name"]

    def test_R64_a_known_external_id_brings_its_new_address(self) -> None:
        world = World()
        world.seed("U", role="user", external_id="u-1", email="old@example.test")
        assert world.do(INTENTS["sync ext"]()).result == "updated"
        assert world.calls() == ["find u-1", "put U email name"]

    def test_R64_a_form_moves_nobody(self) -> None:
        world = World()
        world.seed("U", role="user", external_id="u-1", email="old@example.test")
        world.do(LeadCapture(**X, name="Ann"))
        assert world.calls() == ["find u-1", "put U name"]
        assert world.only("old@example.test")["name"] == "Ann"

    def test_R64_the_new_address_is_somebody_elses(self) -> None:
        world = World(switches={"put_email_conflict": "409"})
        world.seed("U", role="user", external_id="u-1", email="old@example.test")
        world.hide("V", role="user", external_id="u-2")
        outcome = world.do(INTENTS["sync ext"]())
        assert (outcome.result, outcome.reason) == ("rejected", "address_taken")
        assert world.calls() == ["find u-1", "put U email name", "get V"]

    def test_a_contact_that_the_producer_points_at_is_converted_under_its_new_address(self) -> None:
        world = World()
        quote = world.seed("L", role="lead", email="quote@example.test")
        assert world.do(ProductSignUp(**X, contact_id=quote)).result == "converted"
        assert world.calls() == ["get L", "put L email ext role since"]
        assert [contact["id"] for contact in world.live(None)] == [quote]

    def test_a_user_made_of_a_lead_keeps_the_minted_id_and_counts_as_without_one(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        world.do(ContactUpsert(**A, role="user"))
        world.do(ProductSignUp(**X))
        assert world.only()["external_id"] == "u-1"
