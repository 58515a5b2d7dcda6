"""Somebody else's client: the official Python SDK, generated from Intercom's own description.

It knows nothing of us. What it parses into its models, and which of its exceptions it raises, is a second
opinion on our shapes.
"""

from __future__ import annotations

import pytest
from intercom import (
    CreateContactRequestWithEmail,
    CreateContactRequestWithExternalId,
    CreateContactRequestWithRole,
    Intercom,
    MultipleFilterSearchRequest,
    SingleFilterSearchRequest,
    StartingAfterPaging,
)
from intercom.core import http_client
from intercom.core.api_error import ApiError
from intercom.errors import NotFoundError, UnauthorizedError

A = "ann@example.test"


@pytest.fixture
def sdk(onelane_sandbox):
    onelane_sandbox.lag(0)
    client = Intercom(base_url=onelane_sandbox.url, token=onelane_sandbox.token)
    yield client
    client._client_wrapper.httpx_client.httpx_client.close()


def _user(sdk, **fields):
    return sdk.contacts.create(request=CreateContactRequestWithEmail(**{"email": A, **fields}))


def _lead(sdk, **fields):
    return sdk.contacts.create(request=CreateContactRequestWithRole(role="lead", **fields))


def _email(operator, value):
    return SingleFilterSearchRequest(field="email", operator=operator, value=value)


def test_create_and_read(sdk):
    created = sdk.contacts.create(request=CreateContactRequestWithExternalId(external_id="X", name="Ann"))
    found = sdk.contacts.find(created.id)
    assert (found.id, found.role, found.external_id, found.name) == (created.id, "user", "X", "Ann")
    assert sdk.contacts.show_contact_by_external_id("X").id == created.id
    assert found.tags.total_count == 0
    assert found.location.type == "location"


def test_update_and_conversion(sdk):
    lead = _lead(sdk, email=A)
    updated = sdk.contacts.update(lead.id, role="user", external_id="X", name="Ann")
    assert (updated.id, updated.role, updated.external_id) == (lead.id, "user", "X")


def test_search(sdk):
    ids = [_lead(sdk, email=A).id for _ in range(3)]
    # Page by page by hand: the pager of this version of the SDK asks for the first page again and again.
    first = sdk.contacts.search(query=_email("=", A), pagination=StartingAfterPaging(per_page=2))
    cursor = first.response.pages.next.starting_after
    rest = sdk.contacts.search(
        query=_email("=", A), pagination=StartingAfterPaging(per_page=2, starting_after=cursor)
    )
    assert [one.id for one in first.items + rest.items] == ids
    assert (first.has_next, rest.has_next) == (True, False)
    both = MultipleFilterSearchRequest(operator="AND", value=[_email("=", A), _email("~", "nobody")])
    assert list(sdk.contacts.search(query=both)) == []


def test_list_and_its_pager(sdk):
    ids = [_lead(sdk, email=f"{number}@x.test").id for number in range(5)]
    pager = sdk.contacts.list(per_page=2)
    assert [one.id for one in pager] == ids
    assert pager.response.total_count == 5
    assert pager.response.pages.total_pages == 3


def test_stale_search(sdk, onelane_sandbox):
    onelane_sandbox.lag(1000)
    user = _user(sdk)
    assert list(sdk.contacts.search(query=_email("=", A))) == []
    onelane_sandbox.catch_up()
    sdk.contacts.update(user.id, name="new")
    (hit,) = sdk.contacts.search(query=_email("=", A))
    assert (hit.id, hit.name) == (user.id, None)


def test_merge(sdk):
    lead, user = _lead(sdk, email=A), _user(sdk)
    assert sdk.contacts.merge_lead_in_user(lead_id=lead.id, contact_id=user.id).id == user.id


def test_archive_unarchive_block_delete(sdk):
    user = _user(sdk)
    assert sdk.contacts.archive(user.id).archived is True
    assert sdk.contacts.unarchive(user.id).archived is False
    assert sdk.contacts.block_contact(user.id).blocked is True
    other = _lead(sdk)
    assert sdk.contacts.delete(other.id).deleted is True


def test_subscriptions(sdk):
    user = _user(sdk)
    types = sdk.subscription_types.list().data
    assert [(one.id, one.consent_type) for one in types] == [("101", "opt_out"), ("102", "opt_in")]
    attached = sdk.contacts.attach_subscription(user.id, subscription_id="102", consent_type="opt_in")
    assert (attached.type, attached.default_translation.name) == ("subscription", "Product news")
    assert [one.id for one in sdk.contacts.list_attached_subscriptions(user.id).data] == ["102"]
    assert sdk.contacts.detach_subscription(user.id, "102").id == "102"


def test_tags(sdk):
    user = _user(sdk)
    tag = sdk.tags.create(request={"name": "vip"})
    assert sdk.tags.find(tag.id).name == "vip"
    assert sdk.tags.tag_contact(user.id, tag_id=tag.id).name == "vip"
    assert [one.id for one in sdk.contacts.list_attached_tags(user.id).data] == [tag.id]
    assert sdk.tags.untag_contact(user.id, tag.id).id == tag.id
    assert [one.name for one in sdk.tags.list().data] == ["vip"]


def test_data_attributes(sdk):
    request = {"name": "plan", "model": "contact", "data_type": "string"}
    made = sdk.data_attributes.create(request=request)
    assert (made.name, made.full_name, made.custom) == ("plan", "custom_attributes.plan", True)
    assert _user(sdk, custom_attributes={"plan": "pro"}).custom_attributes == {"plan": "pro"}
    custom = [one.name for one in sdk.data_attributes.list(model="contact").data if one.custom]
    assert custom == ["plan"]
    assert sdk.data_attributes.update(made.id, request={"archived": True}).archived is True


def test_me(sdk):
    admin = sdk.admins.identify()
    assert (admin.type, admin.app.timezone) == ("admin", "Etc/UTC")


def test_errors_raise_its_typed_exceptions(sdk, onelane_sandbox):
    user = _user(sdk)
    with pytest.raises(NotFoundError) as missing:
        sdk.contacts.list_attached_tags("none")
    assert missing.value.body["errors"][0]["code"] == "not_found"
    onelane_sandbox.fault("unauthorized")
    with pytest.raises(UnauthorizedError) as refused:
        sdk.contacts.find(user.id)
    assert refused.value.body.errors[0].message == "Access Token Invalid"


@pytest.mark.parametrize(("fault", "status"), [("status_503", 503), ("rate_limited", 429)])
def test_faults_reach_it(sdk, onelane_sandbox, fault, status):
    onelane_sandbox.fault(fault)
    with pytest.raises(ApiError) as caught:
        sdk.contacts.find("x")
    assert caught.value.status_code == status


def test_a_conflict_names_the_holder(sdk):
    user = _user(sdk)
    with pytest.raises(ApiError) as caught:
        sdk.contacts.create(request=CreateContactRequestWithEmail(email=A))
    assert caught.value.status_code == 409
    assert caught.value.body["errors"][0]["message"].endswith(f"id={user.id}")


def test_its_own_retry_turns_one_create_into_two_leads(sdk, onelane_sandbox, monkeypatch):
    """The case this project is about, made by a client that means well."""
    monkeypatch.setattr(http_client, "_retry_timeout", lambda **_: 0.0)
    onelane_sandbox.fault("status_502_after_commit", path="^/contacts$")
    lead = CreateContactRequestWithRole(role="lead", email=A)
    # It starts counting at two: three means one retry.
    sdk.contacts.create(request=lead, request_options={"max_retries": 3})
    assert [one["email"] for one in onelane_sandbox.contacts()] == [A, A]
