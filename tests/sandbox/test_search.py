"""The search grammar, operator by operator, and pagination."""

from __future__ import annotations

from itertools import pairwise

import pytest

from onelane_sandbox.rules import Request

DAY_S = 86_400
NOON = 1_800_000_000 // DAY_S * DAY_S + DAY_S // 2


@pytest.fixture
def people(world):
    """Three contacts with an index that is current: their names by id."""
    world.sandbox.set_lag(0.0)
    world.now = NOON
    world.attribute("plan")
    world.attribute("seats", "integer")
    world.attribute("score", "float")
    world.attribute("beta", "boolean")
    world.attribute("renewal", "date")
    tag = world.ok("POST", "/tags", {"name": "vip"})["id"]
    ann = world.user(
        email="ann@x.test",
        name="Ann",
        external_id="1",
        owner_id=7,
        signed_up_at=NOON,
        avatar="https://x.test/ann.png",
        unsubscribed_from_emails=True,
        custom_attributes={"plan": "pro", "seats": 3, "score": 0.5, "beta": True, "renewal": NOON},
    )
    world.ok("POST", f"/contacts/{ann}/tags", {"id": tag})
    bob = world.user(email="bob@y.test", name="Bob", external_id="2", owner_id=9, signed_up_at=NOON + DAY_S)
    lea = world.lead(email="lea@x.test", signed_up_at=NOON - DAY_S)
    return {ann: "ann", bob: "bob", lea: "lea"}


@pytest.mark.parametrize(
    ("field", "operator", "value", "hits"),
    [
        ("email", "=", "ann@x.test", "ann"),
        ("email", "!=", "ann@x.test", "bob lea"),
        ("email", "IN", ["ann@x.test", "LEA@x.test"], "ann lea"),
        ("email", "NIN", ["ann@x.test"], "bob lea"),
        ("email", "~", "@X", "ann lea"),
        ("email", "!~", "@x", "bob"),
        ("email", "^", "bo", "bob"),
        ("email", "$", "y.test", "bob"),
        ("email_domain", "=", "x.test", "ann lea"),
        ("name", "=", None, "lea"),
        ("name", "!=", None, "ann bob"),
        ("name", "~", "n", "ann"),
        ("name", "!~", "n", "bob lea"),
        ("avatar", "$", ".png", "ann"),
        ("role", "=", "lead", "lea"),
        ("external_id", "=", "2", "bob"),
        ("phone", "=", None, "ann bob lea"),
        ("owner_id", "=", 7, "ann"),
        ("owner_id", "=", "7", "ann"),
        ("owner_id", ">", 7, "bob"),
        ("owner_id", ">=", 7, "ann bob"),
        ("owner_id", "<", 9, "ann"),
        ("owner_id", "<=", 9, "ann bob"),
        ("owner_id", "IN", [7, 8], "ann"),
        ("unsubscribed_from_emails", "=", True, "ann"),
        ("unsubscribed_from_emails", "!=", True, "bob lea"),
        ("unsubscribed_from_emails", "IN", ["false"], "bob lea"),
        ("has_hard_bounced", "=", False, "ann bob lea"),
        ("browser", "=", None, "ann bob lea"),
        # dates are compared by day: noon of a day is neither before nor after its morning
        ("signed_up_at", "=", NOON + 5, "ann"),
        ("signed_up_at", ">", NOON - 3600, "bob"),
        ("signed_up_at", "<", str(NOON + 3600), "lea"),
        ("last_seen_at", "<", NOON, ""),
        ("tag_id", "=", "1", "ann"),
        ("tag_id", "!=", "1", "bob lea"),
        ("segment_id", "=", "1", ""),
        ("custom_attributes.plan", "=", "pro", "ann"),
        ("custom_attributes.plan", "=", None, "bob lea"),
        ("custom_attributes.seats", ">", 2, "ann"),
        ("custom_attributes.score", "<", "0.75", "ann"),
        ("custom_attributes.beta", "=", True, "ann"),
        ("custom_attributes.renewal", "=", NOON, "ann"),
    ],
)
def test_operator(world, people, field, operator, value, hits):
    assert " ".join(sorted(people[one] for one in world.find(field, operator, value))) == hits


def _filter(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def test_groups_nest_two_levels(world, people):
    query = {
        "operator": "AND",
        "value": [
            {"operator": "OR", "value": [_filter("name", "=", "Ann"), _filter("name", "=", "Bob")]},
            {
                "operator": "OR",
                "value": [_filter("email_domain", "=", "y.test"), _filter("role", "=", "lead")],
            },
        ],
    }
    assert [people[one["id"]] for one in world.search(query)["data"]] == ["bob"]


LEAF = _filter("name", "=", "x")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (None, "parameter_missing"),
        ([], "parameter_invalid"),
        ({}, "parameter_invalid"),
        ({"field": "shoe_size", "operator": "=", "value": 1}, "parameter_invalid"),
        ({"field": "custom_attributes.nope", "operator": "=", "value": 1}, "parameter_invalid"),
        ({"field": 5, "operator": "=", "value": 1}, "parameter_invalid"),
        ({"field": "name", "operator": "="}, "parameter_missing"),
        ({"field": "name", "operator": ["="], "value": "x"}, "parameter_invalid"),
        ({"operator": "AND", "value": []}, "parameter_invalid"),
        ({"operator": "AND", "value": [LEAF] * 16}, "parameter_invalid"),
        ({"operator": "XOR", "value": [LEAF]}, "parameter_invalid"),
        (
            {
                "operator": "AND",
                "value": [{"operator": "OR", "value": [{"operator": "AND", "value": [LEAF]}]}],
            },
            "parameter_invalid",
        ),
        *[
            (_filter(field, operator, value), "parameter_invalid")
            for field, operator, value in [
                ("name", ">", "x"),
                ("name", "=", 5),
                ("name", "IN", "x"),
                ("name", "IN", []),
                ("owner_id", "~", 1),
                ("owner_id", "=", "seven"),
                ("created_at", ">=", 1),
                ("created_at", "!=", 1),
                ("created_at", "IN", [1]),
                ("created_at", ">", "foorbar"),
                ("unsubscribed_from_emails", "=", "yes"),
                ("tag_id", "IN", ["1"]),
            ]
        ],
    ],
)
def test_a_bad_query_is_refused(world, query, code):
    assert world.error("POST", "/contacts/search", {"query": query})[:2] == (400, code)


def test_fifteen_filters_are_allowed(world, people):
    assert world.search({"operator": "OR", "value": [LEAF] * 15})["total_count"] == 0


def test_no_hits_have_no_pages(world):
    assert world.search(LEAF) == {
        "type": "list",
        "data": [],
        "total_count": 0,
        "pages": {"type": "pages", "page": 1, "per_page": 50, "total_pages": 0},
    }


def _walk_search(world, per_page):
    pages, cursor = [], None
    while True:
        pages.append(world.search(_filter("role", "=", "user"), per_page=per_page, starting_after=cursor))
        if "next" not in pages[-1]["pages"]:
            return pages
        cursor = pages[-1]["pages"]["next"]["starting_after"]


def test_pages_follow_the_cursor_of_the_body(world):
    world.sandbox.set_lag(0.0)
    users = [world.user(external_id=str(number)) for number in range(7)]
    pages = _walk_search(world, 3)
    assert [one["id"] for page in pages for one in page["data"]] == users
    assert [page["pages"]["page"] for page in pages] == [1, 2, 3]
    assert all(page["pages"]["total_pages"] == 3 and page["total_count"] == 7 for page in pages)
    assert all(one["pages"]["next"]["page"] == two["pages"]["page"] for one, two in pairwise(pages))


def test_a_cursor_in_the_query_of_a_search_is_ignored(world):
    world.sandbox.set_lag(0.0)
    for number in range(3):
        world.user(external_id=str(number))
    body = {"query": _filter("role", "=", "user"), "pagination": {"per_page": 2}}
    first = world.ok("POST", "/contacts/search", body)
    cursor = {"starting_after": first["pages"]["next"]["starting_after"]}
    assert world.ok("POST", "/contacts/search", body, query=cursor) == first


def test_list_pages_by_query_and_defaults_to_ten(world):
    world.sandbox.set_lag(0.0)
    users = [world.user(external_id=str(number)) for number in range(12)]
    first = world.ok("GET", "/contacts")
    cursor = first["pages"]["next"]["starting_after"]
    second = world.ok("GET", "/contacts", query={"per_page": "10", "starting_after": cursor})
    assert [one["id"] for one in first["data"] + second["data"]] == users
    assert len(first["data"]) == 10


@pytest.mark.parametrize(
    "query", [{"per_page": "151"}, {"per_page": "0"}, {"per_page": "x"}, {"starting_after": "?"}]
)
def test_bad_pagination_is_refused(world, query):
    assert world.error("GET", "/contacts", query=query)[:2] == (400, "parameter_invalid")
    body = {"query": LEAF, "pagination": query}
    assert world.error("POST", "/contacts/search", body)[:2] == (400, "parameter_invalid")


def test_an_attribute_made_again_with_another_type_does_not_break_search(world):
    world.sandbox.set_lag(0.0)
    world.attribute("size")
    world.user(external_id="1", custom_attributes={"size": "big"})
    world.ok("PUT", "/data_attributes/1", {"archived": True})
    world.attribute("size", "integer")
    assert world.find("custom_attributes.size", ">", 1) == []


@pytest.mark.parametrize("value", ["1.0e999", "9" * 5000])
def test_numbers_beyond_reason_are_refused(world, value):
    query = _filter("created_at", ">", value)
    assert world.error("POST", "/contacts/search", {"query": query})[:2] == (400, "parameter_invalid")
    assert world.error("GET", "/contacts", query={"per_page": value})[:2] == (400, "parameter_invalid")
    assert world.error("POST", "/contacts", {"external_id": "1", "owner_id": value})[0] == 400


def test_an_infinite_attribute_is_refused(world):
    world.attribute("due", "date")
    body = b'{"external_id": "1", "custom_attributes": {"due": 1e999}}'
    request = Request(method="POST", path="/contacts", headers={"authorization": "Bearer t"}, body=body)
    assert world.sandbox.handle(request, world.now).status == 400
