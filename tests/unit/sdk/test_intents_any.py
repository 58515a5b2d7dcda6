"""Whatever is given: an intent that survives its JSON form, or a refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onelane import (
    ContactSync,
    ContactUpsert,
    Intent,
    InvalidIntent,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    parse_intent,
)
from onelane.intents import KINDS

ANN = "ann@example.test"

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
identifiers = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=20
).filter(str.strip)
names = st.text("abcdefgh_ é-", min_size=1, max_size=10).filter(str.strip)
scalars = (
    words
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
attributes = st.dictionaries(names, scalars, max_size=4)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC))
seconds = st.integers(0, 10**10)
person: dict[str, Any] = {"name": words, "phone": words, "custom_attributes": attributes}
common: dict[str, Any] = {
    "external_id": identifiers,
    "dedupe_key": identifiers,
    "occurred_at": moments,
    "source": identifiers,
}
types = st.lists(st.integers(0, 999).map(str), max_size=3)
intents = st.one_of(
    *(
        st.builds(
            lambda make, required, optional: make(**required, **optional),
            st.just(make),
            st.fixed_dictionaries({"email": st.just(ANN), **required}),
            st.fixed_dictionaries(
                {}, optional={k: v for k, v in {**common, **own}.items() if k not in required}
            ),
        )
        for make, required, own in (
            (
                NewsletterOptIn,
                {},
                {**person, "subscription_types": types, "lift_unsubscribe_all": st.booleans()},
            ),
            (NewsletterOptOut, {}, {"subscription_types": types}),
            (LeadCapture, {}, person),
            (ProductSignUp, {"external_id": identifiers}, {**person, "signed_up_at": seconds | moments}),
            (
                ContactSync,
                {},
                {**person, "owner_id": seconds, "version": st.integers(-9, 9), "create": st.booleans()},
            ),
            (
                ContactUpsert,
                {},
                {
                    "set": st.fixed_dictionaries({}, optional={"name": words, "last_seen_at": seconds}),
                    "set_on_insert": st.fixed_dictionaries({}, optional={"phone": words}),
                    "unset": st.lists(st.sampled_from(["avatar", "owner_id"])),
                    "role": st.sampled_from(["keep", "lead", "user"]),
                },
            ),
        )
    )
)


@given(intents)
def test_json_form_round_trips(intent: Intent) -> None:
    again = parse_intent(json.loads(intent.to_json()))
    assert again == intent
    assert again.to_json() == intent.to_json()
    assert again.content() == intent.content()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first text takes a second
@given(
    st.dictionaries(
        st.sampled_from(sorted({*person, *common, "set", "unset", "create", "junk"})),
        st.recursive(
            st.none() | scalars | st.binary(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
        ),
    ),
    st.sampled_from(sorted(KINDS)),
)
def test_any_input_is_an_intent_or_refused(fields: dict[str, Any], kind: str) -> None:
    complaint = ""
    try:
        parse_intent({**fields, "email": ANN, "kind": kind}).to_json().encode()
    except InvalidIntent as error:
        complaint = str(error)
    assert ANN not in complaint
