"""Random intents of one person, for the laws."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)

from .play import ANN, START_MS

EXT = "u-1"
_EARLIER = tuple(datetime.fromtimestamp(START_MS / 1000 + s, UTC) for s in (-86_400, -60, 0))

emails = st.sampled_from([ANN, ANN, ANN, "Ann@Example.test"])
moments = st.none() | st.sampled_from(_EARLIER)
words = st.sampled_from(["a", "b", "c"])
attributes = st.dictionaries(st.sampled_from(["plan", "city"]), words, max_size=2)
types = st.sampled_from([(), (), ("101",), ("102",), ("101", "102")])
external_ids = st.sampled_from([None, EXT])
trust = st.sampled_from([None, None, True, False])
seconds = st.sampled_from([100, 200])


def _some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


forms = _some(name=words, phone=st.sampled_from(["+1", "+2"]), custom_attributes=attributes)
profiles = _some(
    name=words,
    phone=st.sampled_from(["+1", "+2"]),
    avatar=st.sampled_from(["https://x.test/1", "https://x.test/2"]),
    owner_id=st.sampled_from([7, 8]),
    last_seen_at=seconds,
    signed_up_at=seconds,
    custom_attributes=attributes,
)


@st.composite
def opt_ins(draw: st.DrawFn) -> NewsletterOptIn:
    return NewsletterOptIn(
        email=draw(emails),
        external_id=draw(external_ids),
        occurred_at=draw(moments),
        subscription_types=draw(types),
        lift_unsubscribe_all=draw(st.booleans()),
        trusted=draw(trust),
        **draw(forms),
    )


@st.composite
def opt_outs(draw: st.DrawFn) -> NewsletterOptOut:
    return NewsletterOptOut(
        email=draw(emails),
        external_id=draw(external_ids),
        occurred_at=draw(moments),
        subscription_types=draw(types),
    )


@st.composite
def captures(draw: st.DrawFn) -> LeadCapture:
    return LeadCapture(email=draw(emails), external_id=draw(external_ids), trusted=draw(trust), **draw(forms))


@st.composite
def sign_ups(draw: st.DrawFn) -> ProductSignUp:
    extra = draw(_some(signed_up_at=seconds))
    return ProductSignUp(
        email=draw(emails), external_id=EXT, occurred_at=draw(moments), **draw(forms), **extra
    )


def _unset(draw: st.DrawFn, taken: dict[str, Any]) -> tuple[str, ...]:
    paths = {*taken} - {"custom_attributes"}
    paths |= {f"custom_attributes.{name}" for name in taken.get("custom_attributes", {})}
    free = sorted({"name", "phone", "avatar", "last_seen_at", "custom_attributes.plan"} - paths)
    return tuple(draw(st.lists(st.sampled_from(free), unique=True, max_size=2))) if free else ()


@st.composite
def syncs(draw: st.DrawFn) -> ContactSync:
    fields = draw(profiles)
    return ContactSync(
        email=draw(emails),
        external_id=draw(external_ids),
        create=draw(st.sampled_from([True, True, False])),
        version=draw(st.none() | st.integers(1, 3)),
        source=draw(st.sampled_from([None, "crm"])),
        unset=_unset(draw, fields),
        **fields,
    )


@st.composite
def upserts(draw: st.DrawFn) -> ContactUpsert:
    written = draw(profiles)
    inserted = {k: v for k, v in draw(profiles).items() if k not in written and k != "custom_attributes"}
    unset = tuple(path for path in _unset(draw, written) if path not in inserted)
    return ContactUpsert(
        email=draw(emails),
        external_id=draw(external_ids),
        set=written,
        set_on_insert=inserted,
        unset=unset,
        role=draw(st.sampled_from(["keep", "lead", "user"])),
        create=draw(st.sampled_from(["create_or_update", "create_or_update", "update_only", "create_only"])),
    )


intents = opt_ins() | opt_outs() | captures() | sign_ups() | syncs() | upserts()
histories = st.lists(intents, min_size=1, max_size=8)
