"""What ought to become of one person: the whole product in a page, without Intercom, calls or lag.

One address, one external id, nobody else writing. Written from the decision tables alone, so that it does not
share the planner's mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_worker.planner.intent_rights import AnyIntent

PLAIN = ("name", "phone", "avatar", "owner_id", "signed_up_at", "last_seen_at")


@dataclass
class Person:
    """The one contact as it should be, and the last word of the person on each channel of consent."""

    exists: bool = False
    role: str = ""
    external_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    words: dict[str, tuple[int, bool]] = field(default_factory=dict)
    versions: dict[str | None, int] = field(default_factory=dict)
    form_fields: str = "overwrite"

    def hear(self, intent: AnyIntent, acted_ms: int) -> None:
        """One intent, in accepted order."""
        if self._outdated(intent):
            return
        speaks = self._listen(intent, acted_ms)
        if not speaks:
            return
        becomes = self._role_if_new(intent)
        if not self.exists:
            if becomes is None:
                return
            self.exists, self.role = True, becomes
            if becomes == "user":
                self.external_id = intent.external_id
            self.fields = fields_of(getattr(intent, "set_on_insert", None))
        elif isinstance(intent, ContactUpsert) and intent.create == "create_only":
            return
        self._identify(intent)
        self._write(intent, acted_ms)

    def _outdated(self, intent: AnyIntent) -> bool:
        return (
            isinstance(intent, ContactSync)
            and intent.version is not None
            and intent.version < self.versions.get(f"{intent.external_id}/{intent.source}", intent.version)
        )

    def _listen(self, intent: AnyIntent, acted_ms: int) -> bool:
        """Consent. False if an old word is all that the intent has to say."""
        if not isinstance(intent, NewsletterOptIn | NewsletterOptOut):
            return True
        opted_in = isinstance(intent, NewsletterOptIn)
        channels = set(intent.subscription_types)
        if (isinstance(intent, NewsletterOptIn) and intent.lift_unsubscribe_all) or not (
            channels or opted_in
        ):
            channels.add("all")
        fresh = {c for c in channels if c not in self.words or self.words[c][0] <= acted_ms}
        self.words |= dict.fromkeys(fresh, (acted_ms, opted_in))
        return bool(fresh) or not channels or bool(fields_of(intent))

    def _role_if_new(self, intent: AnyIntent) -> str | None:
        match intent:
            case NewsletterOptIn() | LeadCapture():
                return "lead"
            case ProductSignUp():
                return "user"
            case ContactSync(create=True):
                return "user"
            case ContactUpsert(create=create) if create != "update_only":
                keep = "user" if intent.external_id else "lead"
                return keep if intent.role == "keep" else intent.role
        return None

    def _identify(self, intent: AnyIntent) -> None:
        named = intent.external_id is not None
        speaks_for_identity = isinstance(intent, ProductSignUp | ContactSync | ContactUpsert) and named
        wants_user = isinstance(intent, ProductSignUp) or (isinstance(intent, ContactSync) and named)
        if wants_user or (isinstance(intent, ContactUpsert) and intent.role == "user"):
            if self.role == "lead" and isinstance(intent, ProductSignUp):
                self.fields.pop("signed_up_at", None)
            self.role = "user"
        if speaks_for_identity and self.role == "user":
            self.external_id = intent.external_id

    def _write(self, intent: AnyIntent, acted_ms: int) -> None:
        source = intent.set if isinstance(intent, ContactUpsert) else intent
        self.fields |= self._permitted(intent, fields_of(source))
        for path in getattr(intent, "unset", ()):
            self.fields.pop(path, None)
        if isinstance(intent, ProductSignUp):
            self.fields.setdefault("signed_up_at", acted_ms // 1000)
        if isinstance(intent, ContactSync) and intent.version is not None:
            self.versions[f"{intent.external_id}/{intent.source}"] = intent.version

    def _permitted(self, intent: AnyIntent, fields: dict[str, Any]) -> dict[str, Any]:
        """What a form may write of a user."""
        if self.role != "user" or not isinstance(intent, NewsletterOptIn | LeadCapture) or intent.trusted:
            return fields
        if self.form_fields == "keep":
            return {}
        if self.form_fields == "fill" or intent.trusted is False:
            return {path: value for path, value in fields.items() if path not in self.fields}
        return fields


def fields_of(source: Any) -> dict[str, Any]:
    """What an intent names."""
    named = {name: getattr(source, name, None) for name in PLAIN}
    attributes = {f"custom_attributes.{k}": v for k, v in getattr(source, "custom_attributes", {}).items()}
    return {name: value for name, value in named.items() if value is not None} | attributes


def shown(contact: dict[str, Any]) -> dict[str, Any]:
    """A contact of the sandbox in the same terms."""
    avatar = contact["avatar"] and contact["avatar"]["image_url"]
    plain = {name: contact[name] for name in PLAIN} | {"avatar": avatar}
    attributes = {f"custom_attributes.{k}": v for k, v in contact["custom_attributes"].items()}
    return {name: value for name, value in (plain | attributes).items() if value is not None}


def consent_of(contact: dict[str, Any]) -> dict[str, bool]:
    """Channel → opted in. Type 101 is opt_out by nature, 102 opt_in."""
    attached = {each["id"] for each in contact["subscriptions"]}
    return {
        "all": not contact["unsubscribed_from_emails"],
        "101": "101" not in attached,
        "102": "102" in attached,
    }
