"""Every operation as the HTTP call that asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane_worker.intercom.requests import Request, to_request
from onelane_worker.planner.operations import (
    Archive,
    Attach,
    Create,
    Delete,
    Detach,
    FindByExternalId,
    ListPage,
    ListSubscriptions,
    ListTypes,
    Merge,
    Operation,
    Probe,
    Read,
    Search,
    Unarchive,
    Update,
)

ID = "6a0f00000000000000000001"
OTHER = "6a0f00000000000000000002"
PAGE = {"per_page": 50}


def equals(field: str, value: str) -> dict[str, Any]:
    return {"field": field, "operator": "=", "value": value}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (FindByExternalId("u-17"), Request("GET", "/contacts/find_by_external_id/u-17")),
        (Read(ID), Request("GET", f"/contacts/{ID}")),
        (ListSubscriptions(ID), Request("GET", f"/contacts/{ID}/subscriptions")),
        (ListTypes(), Request("GET", "/subscription_types")),
        (Probe(), Request("GET", "/me")),
        (ListPage(), Request("GET", "/contacts?per_page=150")),
        (ListPage("a=&b"), Request("GET", "/contacts?per_page=150&starting_after=a%3D%26b")),
        (Create({"role": "lead"}), Request("POST", "/contacts", {"role": "lead"})),
        (Update(ID, {"name": None}), Request("PUT", f"/contacts/{ID}", {"name": None})),
        (Unarchive(ID), Request("POST", f"/contacts/{ID}/unarchive")),
        (Archive(ID), Request("POST", f"/contacts/{ID}/archive")),
        (Merge(ID, OTHER), Request("POST", "/contacts/merge", {"from": ID, "into": OTHER})),
        (Delete(ID), Request("DELETE", f"/contacts/{ID}")),
        (
            Attach(ID, "12", "opt_in"),
            Request("POST", f"/contacts/{ID}/subscriptions", {"id": "12", "consent_type": "opt_in"}),
        ),
        (Detach(ID, "12"), Request("DELETE", f"/contacts/{ID}/subscriptions/12")),
    ],
)
def test_operation(operation: Operation, request_: Request) -> None:
    assert to_request(operation) == request_


def test_r15_one_filter_is_sent_flat() -> None:
    body = {"query": equals("email", "a@x.test"), "pagination": PAGE}
    assert to_request(Search(("a@x.test",))) == Request("POST", "/contacts/search", body)


def test_r15_several_filters_are_an_or() -> None:
    filters = [equals("email", "a@x.test"), equals("email", "A@x.test"), equals("external_id", "u-17")]
    body = {"query": {"operator": "OR", "value": filters}, "pagination": PAGE}
    assert to_request(Search(("a@x.test", "A@x.test"), "u-17")).json == body


@pytest.mark.parametrize(
    ("external_id", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("ann@example.test", "ann%40example.test"),
        ("100%", "100%25"),
        ("ü", "%C3%BC"),
        ("..", "%2E%2E"),
        (".", "%2E"),
    ],
)
def test_an_external_id_stays_one_path_segment(external_id: str, segment: str) -> None:
    assert to_request(FindByExternalId(external_id)).path == f"/contacts/find_by_external_id/{segment}"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_id_leaves_its_segment(text: str) -> None:
    path = to_request(Read(text)).path
    assert path.isascii()
    assert path.count("/") == 2
    assert not set(path) & set("?#\\ ")
    assert path.rpartition("/")[2] not in ("", ".", "..")


@pytest.mark.parametrize(
    "operation", [Read(""), Delete(""), FindByExternalId(""), Detach(ID, ""), Search(())]
)
def test_an_empty_id_never_reaches_the_collection(operation: Operation) -> None:
    with pytest.raises(ValueError, match=r"empty|look for"):
        to_request(operation)
