"""What each kind of intent may do: one table, so that no rule asks for a kind by name.

| kind               | creates        | becomes user | claims identity | revives      | form | everyone |
|--------------------|----------------|--------------|-----------------|--------------|------|----------|
| newsletter_opt_in  | lead           |              |                 | yes          | yes  |          |
| newsletter_opt_out | (setting) lead |              |                 | never        |      | yes      |
| lead_capture       | lead           |              |                 | yes          | yes  |          |
| product_sign_up    | user           | yes          | yes             | yes          |      |          |
| contact_sync       | user if create | with ext     | with ext        |              |      |          |
| contact_upsert     | by role, ext   | role=user    | with ext        | if it may do |      |          |
|                    |                |              |                 | both         |      |          |

Changes of address, erasures and checks for duplicates have rules of their own: `email_change`, `erasure`,
`duplicate_check`.

What a form may do to the fields of a user:

| FORM_FIELDS_ON_USER | trusted=None | trusted=True | trusted=False |
|---------------------|--------------|--------------|---------------|
| overwrite           | overwrite    | overwrite    | fill          |
| fill                | fill         | overwrite    | fill          |
| keep                | keep         | overwrite    | keep          |

"with ext": if the intent names an external id. Which kinds revive is the default policy; it can be widened to
all kinds or narrowed to none, but an opt-out never restores a contact, and neither does a create-only intent.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from onelane.intents import (
    ContactErasure,
    ContactSync,
    ContactUpsert,
    DuplicateCheck,
    EmailChange,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    SettleCheck,
)
from onelane_worker.planner.policy import FormFields, Policy
from onelane_worker.planner.registry import Role

AnyIntent = (
    NewsletterOptIn
    | NewsletterOptOut
    | LeadCapture
    | ProductSignUp
    | ContactSync
    | ContactUpsert
    | EmailChange
    | ContactErasure
    | SettleCheck
    | DuplicateCheck
)


class Mode(Struct, frozen=True):
    """What an intent may do. Intents fold only with others of the same mode."""

    creates: Role | None = None
    """Role of the contact that it creates when none is found; None: it may not create."""
    create_only: bool = False
    """An existing contact is left alone: skipped `exists`."""
    becomes_user: bool = False
    """A lead becomes a user."""
    claims_identity: bool = False
    """It is an authority on who the person is: it writes its external id and its address."""
    revives: bool = False
    """It may restore an archived contact: the person acts (R21)."""
    finds_first: bool = True
    """Ask by external id before searching. A sign-up need not: its writes are guarded by 409s (R12)."""
    form: FormFields | None = None
    """It comes from a form: what it may do to the fields of a user (R23). None: it is no form."""
    everyone: bool = False
    """It concerns every contact of the address: Intercom mails each of them by itself (R53)."""
    moves: bool = False
    """It gives the contact another address: planned by rules of its own, and alone."""
    erases: bool = False
    """It deletes the person: planned by rules of its own, and alone."""
    checks: bool = False
    """It only looks for further contacts of the person (`duplicate_check`), and alone."""
    merges_all: bool = False
    """An operator asked for it: leads are merged whoever made them, whatever MERGE_LEADS says."""

    @property
    def alone(self) -> bool:
        """It has rules of its own, and is never folded."""
        return self.moves or self.erases or self.checks


def mode_of(intent: AnyIntent, policy: Policy) -> Mode:
    """The row of the table above for this intent, under this policy."""
    mode = _mode(intent, policy)
    could = not (mode.everyone or mode.create_only or mode.alone)
    revives = {"people": mode.revives, "always": could, "never": False}[policy.revive]
    return replace(mode, revives=revives)


def _mode(intent: AnyIntent, policy: Policy) -> Mode:
    named = intent.external_id is not None
    match intent:
        case NewsletterOptIn() | LeadCapture():
            return Mode(creates="lead", revives=True, form=_form(intent, policy))
        case NewsletterOptOut():
            return Mode(creates="lead" if policy.optout_creates else None, everyone=True)
        case ProductSignUp():
            return Mode(
                creates="user", becomes_user=True, claims_identity=True, revives=True, finds_first=False
            )
        case ContactSync():
            return Mode(creates="user" if intent.create else None, becomes_user=named, claims_identity=named)
        case ContactUpsert():
            return Mode(
                creates=_upsert_creates(intent),
                create_only=intent.create == "create_only",
                becomes_user=intent.role == "user",
                claims_identity=named,
                revives=intent.create == "create_or_update",
            )
        case EmailChange():
            return Mode(moves=True)
        case ContactErasure():
            return Mode(erases=True)
        case SettleCheck():
            return Mode(checks=True)
        case DuplicateCheck():
            return Mode(checks=True, merges_all=True)


def _form(intent: NewsletterOptIn | LeadCapture, policy: Policy) -> FormFields:
    setting = policy.form_fields_on_user
    if intent.trusted is None:
        return setting
    if intent.trusted:
        return "overwrite"
    return "keep" if setting == "keep" else "fill"


def _upsert_creates(intent: ContactUpsert) -> Role | None:
    if intent.create == "update_only":
        return None
    if intent.role == "keep":
        return "user" if intent.external_id else "lead"
    return intent.role
