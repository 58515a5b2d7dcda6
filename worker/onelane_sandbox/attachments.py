"""What hangs on a contact: its subscriptions and its tags."""

from __future__ import annotations

from onelane_sandbox.catalogs import CONSENT_TYPES, SubscriptionType
from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import JsonObject, invalid, missing
from onelane_sandbox.workspace import Call, Workspace


def list_subscriptions(space: Workspace, call: Call) -> JsonObject:
    """GET /contacts/{id}/subscriptions: explicit choices only (published spec)."""
    contact = space.live(call.params[0])
    return {
        "type": "list",
        "data": [space.subscription_types.get(one).body() for one in contact.subscriptions],
    }


def attach_subscription(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/{id}/subscriptions: on an opt_out type the person is out of it, on an opt_in type in it.

    A consent type other than the type's own: switch consent_type_mismatch (unverified).
    """
    contact = space.live(call.params[0])
    for name in ("id", "consent_type"):
        if call.body.get(name) is None:
            raise missing(name)
    kind = space.subscription_types.get(call.body["id"])
    if call.body["consent_type"] not in CONSENT_TYPES:
        raise invalid("consent_type must be opt_in or opt_out", "consent_type")
    if call.body["consent_type"] != kind.consent_type and space.switches["consent_type_mismatch"] == "400":
        raise invalid(f"This subscription's consent_type is {kind.consent_type}", "consent_type")
    chosen = {**contact.subscriptions, kind.id: kind.consent_type}
    _choose(space, call, contact, chosen, opted_in=kind.consent_type == "opt_in")
    return kind.body()


def detach_subscription(space: Workspace, call: Call) -> JsonObject:
    """DELETE /contacts/{id}/subscriptions/{subscription}: forgets the explicit choice.

    Detaching what is not attached: answered like any other (unverified).
    """
    contact = space.live(call.params[0])
    kind: SubscriptionType = space.subscription_types.get(call.params[1])
    rest = {key: its for key, its in contact.subscriptions.items() if key != kind.id}
    _choose(space, call, contact, rest, opted_in=kind.consent_type == "opt_out")
    return kind.body()


def _choose(
    space: Workspace, call: Call, contact: Contact, chosen: dict[str, str], *, opted_in: bool
) -> None:
    lifts = opted_in and space.switches["opt_in_lifts_unsubscribe_all"] == "true"
    flag = contact.unsubscribed_from_emails and not lifts
    space.change(contact, call.now, subscriptions=chosen, unsubscribed_from_emails=flag)


def list_contact_tags(space: Workspace, call: Call) -> JsonObject:
    """GET /contacts/{id}/tags."""
    contact = space.live(call.params[0])
    return {"type": "list", "data": [space.tags.applied(one, at) for one, at in contact.tags.items()]}


def attach_tag(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/{id}/tags: by the tag's id; 404 if there is no such tag."""
    contact = space.live(call.params[0])
    if call.body.get("id") is None:
        raise missing("id")
    tag_id = space.tags.get(call.body["id"])["id"]
    applied_at = contact.tags.get(tag_id, int(call.now))
    space.change(contact, call.now, tags={**contact.tags, tag_id: applied_at})
    return space.tags.applied(tag_id, applied_at)


def detach_tag(space: Workspace, call: Call) -> JsonObject:
    """DELETE /contacts/{id}/tags/{tag}: 200 also if it was not attached (unverified); 404 if unknown."""
    contact = space.live(call.params[0])
    tag = space.tags.applied(call.params[1], contact.tags.get(call.params[1]))
    space.change(contact, call.now, tags={key: at for key, at in contact.tags.items() if key != tag["id"]})
    return tag
