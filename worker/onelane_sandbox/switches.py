"""The switches: every point on which the evidence about Intercom is missing or contradictory.

Each has a name, its values (the first is the default), and what it stands for. A client is correct when it is
correct under every value of every switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Switch:
    """One open question. `values` is empty for a number of seconds; `section` says which fact is open."""

    name: str
    values: tuple[str, ...]
    default: str | float
    about: str
    section: str


def _choice(name: str, values: str, about: str, section: str) -> Switch:
    options = tuple(values.split())
    return Switch(name, options, options[0], about, section)


SWITCHES: dict[str, Switch] = {
    switch.name: switch
    for switch in (
        _choice(
            "email_conflict",
            "strict external_id_wins loose",
            "When does the address alone make creating a user a conflict? strict: always; external_id_wins: "
            "if either side has no external id; loose: only if neither side has one.",
            "identity and uniqueness: contradictory",
        ),
        _choice(
            "put_email_conflict",
            "allow 409",
            "Updating a user to an address (or an archived user's external id) that another one holds: done, "
            "as recorded, or refused, as documented. An external id of a live user is always refused.",
            "identity and uniqueness, update: contradictory",
        ),
        _choice(
            "find_by_external_id",
            "strong lagging",
            "Does the look-up by external id read the primary store or the lagging index?",
            "find_by_external_id consistency: unverified",
        ),
        _choice(
            "email_search_case",
            "insensitive sensitive",
            "Does a search by address mind upper and lower case? (Uniqueness never does.)",
            "identity and uniqueness, case folding: unverified",
        ),
        _choice(
            "email_store_case",
            "preserve lower",
            "Is an address stored as it was sent, or in lower case?",
            "identity and uniqueness, case folding: unverified",
        ),
        _choice(
            "unknown_attribute",
            "400 422",
            "The status of a write that names an unknown custom attribute.",
            "custom attributes: wording and status unverified",
        ),
        _choice(
            "deleted_unarchive",
            "400 500",
            "Unarchiving a deleted user: a 400 with a reason (March 2021) or a bare 500 (January 2021).",
            "archive, unarchive, delete, block: both were recorded",
        ),
        _choice(
            "blocked_create",
            "400 409",
            "The status of creating a user whom somebody has blocked; the code is not_restorable.",
            "archive, unarchive, delete, block: status unverified",
        ),
        _choice(
            "merge_role_error",
            "400 422",
            "The status of a merge that is not a lead into a user.",
            "merge and convert: status unverified",
        ),
        _choice(
            "consent_type_mismatch",
            "400 accept",
            "Attaching a subscription with the other consent type than the type's own: refused, or done as "
            "if the right one had been sent.",
            "subscriptions and opt-out: unverified",
        ),
        _choice(
            "opt_in_lifts_unsubscribe_all",
            "false true",
            "Does opting in to one type also clear unsubscribed_from_emails?",
            "subscriptions and opt-out: unverified, assumed not",
        ),
        _choice(
            "subscription_lists",
            "present absent",
            "Do contact bodies carry opted_in_subscription_types and opted_out_subscription_types?",
            "subscriptions and opt-out: in examples of the spec, absent from recorded bodies",
        ),
        Switch(
            "delete_lock_s",
            (),
            WEEK_S,
            "How many seconds a deleted user's identifiers stay taken.",
            "identity and uniqueness, deleted users: about seven days, third-party",
        ),
    )
}


class Switches:
    """The present settings. Unknown names and values raise ValueError that says what is allowed."""

    def __init__(self) -> None:
        self._values: dict[str, str | float] = {name: switch.default for name, switch in SWITCHES.items()}

    def __getitem__(self, name: str) -> str:
        return str(self._values[name])

    @property
    def delete_lock_s(self) -> float:
        """Seconds for which a deleted user's identifiers stay taken."""
        return float(self._values["delete_lock_s"])

    def set(self, name: str, value: object) -> None:
        """Set one switch. Numbers may come as JSON numbers or strings, true and false as JSON booleans."""
        self._values[name] = check(name, value)

    def listing(self) -> list[dict[str, Any]]:
        """Every switch with its present value, for the control interface."""
        return [
            {
                "name": switch.name,
                "value": self._values[switch.name],
                "values": list(switch.values),
                "default": switch.default,
                "about": switch.about,
                "section": switch.section,
            }
            for switch in SWITCHES.values()
        ]


def check(name: str, value: object) -> str | float:
    """The value in its stored form, or ValueError."""
    switch = SWITCHES.get(name)
    if switch is None:
        raise ValueError(f"unknown switch; there are: {', '.join(SWITCHES)}")
    if not switch.values:
        return _seconds(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text not in switch.values:
        raise ValueError(f"must be one of: {', '.join(switch.values)}")
    return text


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number of seconds, 0 or more")
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError("must be a number of seconds, 0 or more") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError("must be a number of seconds, 0 or more")
    return seconds
