"""The contact: what the primary store and the index hold, and how the API shows it.

Records are immutable; a write makes a new one with a higher version. The index can therefore keep the old
record itself as its stale copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from onelane_sandbox.messages import JsonObject
from onelane_sandbox.versions import OWNER_ID_IS_STRING, ApiVersion

Role = Literal["user", "lead"]
State = Literal["live", "archived", "deleted", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One contact at one version. Times are Unix seconds."""

    id: str
    number: int  # order of creation, from 1: what lists are sorted and paged by
    version: int  # order among all writes of the workspace
    role: Role
    external_id: str | None
    created_at: int
    updated_at: int
    email: str | None = None
    phone: str | None = None
    name: str | None = None
    avatar_url: str | None = None
    owner_id: int | None = None
    signed_up_at: int | None = None
    last_seen_at: int | None = None
    unsubscribed_from_emails: bool = False
    custom_attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)  # tag id -> when it was applied
    subscriptions: Mapping[str, str] = field(
        default_factory=dict
    )  # type id -> consent type, explicit ones only
    state: State = "live"
    blocked: bool = False
    merged_into: str | None = None
    deleted_at: float | None = None

    @property
    def is_live(self) -> bool:
        """Neither archived, deleted, nor merged away: it can be read and written."""
        return self.state == "live"

    @property
    def email_domain(self) -> str | None:
        """What follows the @ of the address."""
        return self.email.rpartition("@")[2] if self.email else None


# Evidence: published spec 2.15 (examples). The sandbox never learns these, so they are constant.
_NEVER_KNOWN_NAMES = """
    last_replied_at last_contacted_at last_email_opened_at last_email_clicked_at language_override
    browser browser_version browser_language os
    android_app_name android_app_version android_device android_os_version android_sdk_version
    android_last_seen_at ios_app_name ios_app_version ios_device ios_os_version ios_sdk_version
    ios_last_seen_at utm_campaign utm_content utm_medium utm_source utm_term referrer
    enabled_push_messaging
"""
_NEVER_KNOWN = dict.fromkeys(_NEVER_KNOWN_NAMES.split())
_NOWHERE = {
    "type": "location",
    "country": None,
    "region": None,
    "city": None,
    "country_code": None,
    "continent_code": None,
}
_LIST_LIMIT = 10


def contact_body(
    contact: Contact, version: ApiVersion, workspace_id: str, *, with_subscription_lists: bool
) -> JsonObject:
    """The contact as the API shows it. Search and list show the same full object."""
    body: JsonObject = {
        "type": "contact",
        "id": contact.id,
        "workspace_id": workspace_id,
        "external_id": contact.external_id,
        "role": contact.role,
        "email": contact.email,
        "phone": contact.phone,
        "name": contact.name,
        "avatar": _avatar(contact.avatar_url),
        "owner_id": _owner(contact.owner_id, version),
        "social_profiles": {"type": "list", "data": []},
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": contact.unsubscribed_from_emails,
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
        "signed_up_at": contact.signed_up_at,
        "last_seen_at": contact.last_seen_at,
        **_NEVER_KNOWN,
        "location": dict(_NOWHERE),
        "custom_attributes": dict(contact.custom_attributes),
        "tags": _references(contact, "tag", "tags", list(contact.tags)),
        "notes": _references(contact, "note", "notes", []),
        "companies": _references(contact, "company", "companies", []),
    }
    if with_subscription_lists:
        for consent, name in (("opt_out", "opted_out"), ("opt_in", "opted_in")):
            chosen = [type_id for type_id, its in contact.subscriptions.items() if its == consent]
            body[f"{name}_subscription_types"] = _references(contact, "subscription", "subscriptions", chosen)
    return body


def contact_reference(contact: Contact, **what: bool) -> JsonObject:
    """The short answer to archive, unarchive, delete and block. Evidence: published spec 2.15."""
    return {"type": "contact", "id": contact.id, "external_id": contact.external_id, **what}


def true_state(contact: Contact, body: JsonObject) -> JsonObject:
    """`body` with what the API hides, for the control interface."""
    return {
        **body,
        "archived": contact.state == "archived",
        "deleted": contact.state == "deleted",
        "blocked": contact.blocked,
        "merged_into": contact.merged_into,
        "subscriptions": [{"id": key, "consent_type": its} for key, its in contact.subscriptions.items()],
    }


def _avatar(url: str | None) -> JsonObject | None:
    # Goes in as a string, comes back as an object. Evidence: recorded traffic, published spec.
    return None if url is None else {"type": "avatar", "image_url": url}


def _owner(owner_id: int | None, version: ApiVersion) -> int | str | None:
    if owner_id is not None and version >= OWNER_ID_IS_STRING:
        return str(owner_id)
    return owner_id


def _references(contact: Contact, kind: str, plural: str, ids: list[str]) -> JsonObject:
    url = f"/contacts/{contact.id}/{plural}"
    shown = [{"id": one, "type": kind, "url": f"/{plural}/{one}"} for one in ids[:_LIST_LIMIT]]
    return {
        "type": "list",
        "data": shown,
        "url": url,
        "total_count": len(ids),
        "has_more": len(ids) > _LIST_LIMIT,
    }
