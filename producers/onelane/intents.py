"""What a producer may want to be true of one person: the intents, a union told apart by `kind`.

An intent is immutable and is checked when it is made: a bad one raises `InvalidIntent`, which names the
field and never repeats the value. `None` in a field of a dedicated intent means "not named": it is left as
it is in Intercom. To clear a field, name it in `unset` (ContactSync and ContactUpsert).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from onelane import display
from onelane.email_address import normalise_email
from onelane.errors import InvalidIntent
from onelane.validation import (
    ATTRIBUTE_PREFIX,
    CLEARABLE,
    Attributes,
    ContactId,
    DedupeKey,
    Email,
    Flag,
    Identifier,
    Moment,
    OwnerId,
    Seconds,
    Source,
    Text,
    TypeIds,
    Unset,
    Url,
    Version,
    first_complaint,
    refuse,
)

__all__ = [
    "ATTRIBUTE_PREFIX",
    "CLEARABLE",
    "KINDS",
    "ContactErasure",
    "ContactSync",
    "ContactUpsert",
    "EmailChange",
    "FieldMap",
    "Intent",
    "LeadCapture",
    "NewsletterOptIn",
    "NewsletterOptOut",
    "ProductSignUp",
    "json_schema",
    "parse_intent",
]


def _kind_is_required(schema: dict[str, Any]) -> None:
    """In Python the class says the kind; a JSON object has to."""
    schema["required"] = ["kind", *schema.get("required", [])]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What was given, for `repr`, which ends up in logs and tracebacks: addresses masked."""
        for name, value in super().__repr_args__():
            if name in self.model_fields_set:
                yield name, display.masked(value)


class _Base(_Given):
    model_config = ConfigDict(json_schema_extra=_kind_is_required)

    kind: str
    email: Email
    external_id: Identifier | None = None
    dedupe_key: DedupeKey | None = None
    occurred_at: Moment | None = None
    source: Source | None = None

    bulk: ClassVar[bool] = False
    """True for kinds that are served behind what people wait for."""
    schema_version: ClassVar[int] = 1
    """Version of the payload's form. A worker that knows less leaves the lane to one that knows it."""

    if not TYPE_CHECKING:  # type checkers keep the signature that pydantic makes from the fields

        def __init__(self, /, **data: Any) -> None:  # a JSON object may hold the name "self"
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise first_complaint(error) from None

    @property
    def address(self) -> str:
        """The normalised address."""
        return normalise_email(self.email)

    @property
    def payload_schema(self) -> int:
        """The version of the form of this very payload."""
        return self.schema_version

    @property
    def masked(self) -> str:
        """What people may see of the address."""
        return display.mask(self.address)

    def to_json(self) -> str:
        """The JSON form, canonical: sorted keys, only what was named."""
        return _canonical({"kind": self.kind, **self.model_dump(mode="json", exclude_defaults=True)})

    def content(self) -> str:
        """What is wanted, as canonical JSON: two intents with one dedupe key must agree on it.

        Leaves out the dedupe key itself, the time, and the spelling of the address: a retried request may
        rightly differ in them.
        """
        content = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"dedupe_key", "occurred_at", "email"}
        )
        return _canonical({"kind": self.kind, **content})


class _PersonFields(_Base):
    name: Text | None = None
    phone: Text | None = None
    custom_attributes: Attributes = Field(default_factory=dict)


class _Form(_PersonFields):
    """What may come from a public form, where anyone can type someone else's address."""

    trusted: Flag | None = None
    """May it overwrite fields of a user? None: as the setting FORM_FIELDS_ON_USER says. True: it may,
    since it comes from behind a login. False: at most it fills in empty ones, whatever the setting says."""

    @property
    def payload_schema(self) -> int:
        """A worker that does not know `trusted` must not pass over it."""
        return self.schema_version if self.trusted is None else 3


class NewsletterOptIn(_Form):
    """The person asks for the newsletter: consent. Creates a lead when nobody is found."""

    kind: Literal["newsletter_opt_in"] = "newsletter_opt_in"
    subscription_types: TypeIds = ()
    lift_unsubscribe_all: Flag = True


class NewsletterOptOut(_Base):
    """The person refuses mail: of the given types, or of everything. Remembered if nobody is found."""

    kind: Literal["newsletter_opt_out"] = "newsletter_opt_out"
    subscription_types: TypeIds = ()


class LeadCapture(_Form):
    """A form was filled in (a quote, a demo request): create a lead or update whoever this is."""

    kind: Literal["lead_capture"] = "lead_capture"


class ProductSignUp(_PersonFields):
    """The person became a user of the product; a lead of that address is converted, with the same id."""

    kind: Literal["product_sign_up"] = "product_sign_up"
    external_id: Identifier
    signed_up_at: Seconds | None = None
    contact_id: ContactId | None = None


class ContactSync(_PersonFields):
    """The full picture one source has of the person, sent again and again. Never touches consent."""

    kind: Literal["contact_sync"] = "contact_sync"
    avatar: Url | None = None
    owner_id: OwnerId | None = None
    signed_up_at: Seconds | None = None
    last_seen_at: Seconds | None = None
    unset: Unset = ()
    version: Version | None = None
    create: Flag = True

    bulk: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_word_per_field(self) -> Self:
        _disjoint(("unset", _paths_of(self.unset)), ("set", _named(self)))
        return self


class FieldMap(_Given):
    """Fields to write, as Intercom names them. Role, address, external id and consent are no fields."""

    name: Text | None = None
    phone: Text | None = None
    avatar: Url | None = None
    owner_id: OwnerId | None = None
    signed_up_at: Seconds | None = None
    last_seen_at: Seconds | None = None
    custom_attributes: Attributes = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _no_none(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key, value in data.items():
                if value is None:
                    raise refuse("is None; to clear a field, name it in unset", str(key))
        return data

    def paths(self) -> frozenset[str]:
        """The names of what is written, attributes as `custom_attributes.<name>`."""
        return _named(self)


class ContactUpsert(_Base):
    """The general form: what to set, what to set only on a new contact, what to clear."""

    kind: Literal["contact_upsert"] = "contact_upsert"
    set: FieldMap = Field(default_factory=FieldMap)
    set_on_insert: FieldMap = Field(default_factory=FieldMap)
    unset: Unset = ()
    role: Literal["keep", "lead", "user"] = "keep"
    create: Literal["create_or_update", "update_only", "create_only"] = "create_or_update"

    @model_validator(mode="after")
    def _one_word_per_field(self) -> Self:
        _disjoint(
            ("unset", _paths_of(self.unset)),
            ("set", self.set.paths()),
            ("set_on_insert", self.set_on_insert.paths()),
        )
        return self


class EmailChange(_Base):
    """The person has another address from now on: the contact moves there, with the same id.

    It waits in the lane of the old address; a marker in the lane of the new one makes what is accepted there
    later wait until the change has ended.
    """

    kind: Literal["email_change"] = "email_change"
    new_email: Email

    schema_version: ClassVar[int] = 2

    @model_validator(mode="after")
    def _another_address(self) -> Self:
        if self.new_address == self.address:
            raise refuse("is the address that the person has already", "new_email")
        return self

    @property
    def new_address(self) -> str:
        """The new address, normalised."""
        return normalise_email(self.new_email)


class ContactErasure(_Base):
    """The person is to be forgotten: deleted in Intercom, and whatever is kept of them here.

    Users of the address with another external id are other accounts and stay, unless `everyone` is meant.
    """

    kind: Literal["contact_erasure"] = "contact_erasure"
    everyone: Flag = False

    schema_version: ClassVar[int] = 2


class SettleCheck(_Base):
    """Onelane's own: look once more whether the contact that was made is the person's only one."""

    kind: Literal["settle_check"] = "settle_check"
    tries: int = 1
    made: str | None = None
    """The contact that was made: the registry may have forgotten it when the check comes late."""

    bulk: ClassVar[bool] = True
    schema_version: ClassVar[int] = 2


class DuplicateCheck(_Base):
    """Onelane's own (`onelane repair`): merge the leads of the address into its user, whoever made them."""

    kind: Literal["duplicate_check"] = "duplicate_check"
    contact_ids: tuple[str, ...] = ()
    """Contacts that were seen with this address, in whatever spelling."""

    bulk: ClassVar[bool] = True
    schema_version: ClassVar[int] = 3


_paths_of = frozenset[str]  # inside ContactUpsert the name `set` is a field


def _named(fields: ContactSync | FieldMap) -> frozenset[str]:
    plain = {name for name in CLEARABLE if getattr(fields, name) is not None}
    return frozenset(plain | {ATTRIBUTE_PREFIX + key for key in fields.custom_attributes})


def _disjoint(*groups: tuple[str, frozenset[str]]) -> None:
    for i, (name, paths) in enumerate(groups):
        for other, others in groups[i + 1 :]:
            both = sorted(paths & others)
            if both:
                raise refuse(f"stands in both {name} and {other}", both[0])


Intent = Annotated[
    NewsletterOptIn
    | NewsletterOptOut
    | LeadCapture
    | ProductSignUp
    | ContactSync
    | ContactUpsert
    | EmailChange
    | ContactErasure,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[_Base]] = {
    cls.model_fields["kind"].default: cls for cls in get_args(get_args(Intent)[0])
}


def parse_intent(data: Mapping[str, Any] | _Base) -> Intent:
    """The intent of a JSON object such as `{"kind": "newsletter_opt_in", "email": …}`.

    An intent that is already one is checked again: `model_copy(update=…)` and `model_construct` check
    nothing, and the dictionaries in it can be changed. Raises `InvalidIntent`.
    """
    if isinstance(data, _Base):
        data = {"kind": type(data).model_fields["kind"].default, **_held(data)}
    if not isinstance(data, Mapping):
        raise InvalidIntent("intent", "must be an intent or a JSON object")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidIntent("kind", f"must be one of {', '.join(KINDS)}")
    return cast(Intent, KINDS[kind](**{str(key): value for key, value in data.items()}))


def _held(model: BaseModel) -> dict[str, Any]:
    """All that was given to a model, names that are no field of it included; nested models likewise."""
    fields = type(model).model_fields
    return {
        name: _held(value) if isinstance(value, BaseModel) else value
        for name, value in vars(model).items()
        if name in model.model_fields_set or name not in fields
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every intent, for producers in other languages."""
    return TypeAdapter(Intent).json_schema()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
