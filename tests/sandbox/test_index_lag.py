"""Search and list look at a copy that lags, document by document."""

from __future__ import annotations

import pytest

from onelane_sandbox.rules import Sandbox

A, B = "ann@example.test", "bob@example.test"


def test_a_new_contact_is_missing_until_the_lag_has_passed(world):
    user = world.user(email=A)
    assert world.find("email", "=", A) == []
    world.now += 59.9
    assert world.find("email", "=", A) == []
    world.now += 0.1
    assert world.find("email", "=", A) == [user]


def test_an_updated_contact_is_shown_with_its_old_values(world):
    user = world.user(email=A, name="old")
    world.now += 60
    world.ok("PUT", f"/contacts/{user}", {"email": B, "name": "new"})
    assert world.read(user)["name"] == "new"
    assert world.find("email", "=", B) == []
    (hit,) = world.search({"field": "email", "operator": "=", "value": A})["data"]
    assert (hit["name"], hit["email"]) == ("old", A)
    world.now += 60
    assert world.find("email", "=", A) == []
    assert world.find("email", "=", B) == [user]


@pytest.mark.parametrize("end", ["archive", "delete", "merge"])
def test_a_contact_that_is_gone_is_still_listed(world, end):
    lead, user = world.lead(email=A), world.user(email=B)
    world.now += 60
    if end == "archive":
        world.ok("POST", f"/contacts/{lead}/archive")
    elif end == "delete":
        world.ok("DELETE", f"/contacts/{lead}")
    else:
        world.ok("POST", "/contacts/merge", {"from": lead, "into": user})
    assert world.find("email", "=", A) == [lead]
    assert world.ok("GET", "/contacts")["total_count"] == 2
    world.now += 60
    assert world.find("email", "=", A) == []
    listed = world.ok("GET", "/contacts")
    assert (listed["total_count"], [one["id"] for one in listed["data"]]) == (1, [user])


def test_an_unarchived_contact_is_missing_for_a_while(world):
    user = world.user(email=A)
    world.ok("POST", f"/contacts/{user}/archive")
    world.sandbox.catch_up()
    world.ok("POST", f"/contacts/{user}/unarchive")
    assert world.find("email", "=", A) == []
    world.now += 60
    assert world.find("email", "=", A) == [user]


def test_an_older_write_never_shows_after_a_newer_one(world):
    user = world.user(email=A, name="first")
    world.sandbox.set_lag(1.0)
    world.ok("PUT", f"/contacts/{user}", {"name": "second"})
    world.now += 1
    query = {"field": "email", "operator": "=", "value": A}
    assert world.search(query)["data"][0]["name"] == "second"
    world.now += 60
    assert world.search(query)["data"][0]["name"] == "second"


def test_a_new_lag_is_for_later_writes_only(world):
    world.user(email=A)
    world.sandbox.set_lag(0.0)
    late = world.user(email=B)
    assert world.find("email", "IN", [A, B]) == [late]
    world.sandbox.catch_up()
    assert len(world.find("email", "IN", [A, B])) == 2
    assert world.sandbox.pending(world.now) == 0


def test_a_range_is_drawn_anew_for_every_write(new_world):
    world = new_world()
    world.sandbox = Sandbox(seed=3, index_lag=(10.0, 20.0))
    for number in range(50):
        world.user(external_id=str(number))
    seen = []
    for second in range(21):
        seen.append(world.ok("GET", "/contacts")["total_count"])
        world.now += 1
        assert seen[-1] == 0 or second >= 10
    assert seen[-1] == 50
    assert len(set(seen)) > 5


@pytest.mark.parametrize("lag", [-1.0, (3.0, 2.0), float("inf"), float("nan")])
def test_a_senseless_lag_is_refused(world, lag):
    with pytest.raises(ValueError, match="seconds"):
        world.sandbox.set_lag(lag)
