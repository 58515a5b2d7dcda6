"""The search grammar: a filter, or AND/OR groups of them, compiled to a predicate over index documents.

Evidence: published spec 2.15. Two levels of groups, 15 parts in a group, operators by type:

    string    =  !=  IN  NIN  ~  !~  ^  $
    boolean   =  !=  IN  NIN
    integer   =  !=  IN  NIN  <  >  <=  >=
    date      =  <  >            by calendar day, here of UTC: ">" begins with the next day
    tag_id    =  !=              segment_id the same; the sandbox has no segments
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onelane_sandbox.attributes import AttributeCatalog
from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import ApiError, invalid, missing
from onelane_sandbox.operators import OPERATORS, Test, read_value

Predicate = Callable[[Contact], bool]

MAX_LEVELS = 2
MAX_PARTS = 15


@dataclass(frozen=True, slots=True)
class Query:
    """`accepts` judges a document; `exact` are field = value pairs that all hits must have, to look up by."""

    accepts: Predicate
    exact: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """A searchable field: its type, and where a contact keeps it."""

    kind: str
    read: Callable[[Contact], Any]


def compile_query(raw: Any, catalog: AttributeCatalog, *, email_case_sensitive: bool) -> Query:
    """The query of a search body, or ApiError 400 that says what is wrong with it."""
    if raw is None:
        raise missing("query")
    return _Compiler(catalog, email_case_sensitive).compile(raw, level=1)


class _Compiler:
    def __init__(self, catalog: AttributeCatalog, email_case_sensitive: bool) -> None:
        self._catalog = catalog
        self._email_case_sensitive = email_case_sensitive

    def compile(self, raw: Any, level: int) -> Query:
        if not isinstance(raw, dict):
            raise invalid("a query must be an object", "query")
        if "field" in raw:
            return self._filter(raw)
        if raw.get("operator") in ("AND", "OR"):
            return self._group(raw, level)
        raise invalid("a query needs a field, or the operator AND or OR", "query")

    def _group(self, raw: dict[str, Any], level: int) -> Query:
        parts = raw.get("value")
        if level > MAX_LEVELS:
            raise invalid(f"queries nest at most {MAX_LEVELS} levels", "query")
        if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_PARTS:
            raise invalid(f"a group needs a list of 1 to {MAX_PARTS} filters", "query")
        compiled = [self.compile(part, level + 1) for part in parts]
        tests = [one.accepts for one in compiled]
        if raw["operator"] == "OR":
            return Query(lambda contact: any(test(contact) for test in tests))
        exact = tuple(pair for one in compiled for pair in one.exact)
        return Query(lambda contact: all(test(contact) for test in tests), exact)

    def _filter(self, raw: dict[str, Any]) -> Query:
        name, operator = raw["field"], raw.get("operator")
        field = self._field(name)
        tests = OPERATORS[field.kind]
        if not isinstance(operator, str) or operator not in tests:
            message = f"operator {operator!r} does not go with {name}; there are: {' '.join(tests)}"
            raise invalid(message, "operator")
        if "value" not in raw:
            raise missing("value")
        fold = field.kind == "email" and not self._email_case_sensitive
        value = read_value(field.kind, name, operator, raw["value"], fold=fold)
        test: Test = tests[operator]
        read = field.read
        if fold:
            return Query(lambda contact: test(_folded(read(contact)), value), _exact(name, operator, value))
        return Query(lambda contact: test(read(contact), value), _exact(name, operator, value))

    def _field(self, name: Any) -> Field:
        if not isinstance(name, str):
            raise invalid("field must be a string", "field")
        if name in FIELDS:
            return FIELDS[name]
        prefix, _, key = name.partition(".")
        attribute = self._catalog.contact_attribute(key) if prefix == "custom_attributes" else None
        if attribute is None:
            raise ApiError(
                400, "parameter_invalid", f"'{name}' is not a searchable field", field_name="field"
            )
        kind = {"float": "integer"}.get(attribute.data_type, attribute.data_type)
        return Field(kind, lambda contact: contact.custom_attributes.get(key))


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _exact(name: str, operator: str, value: Any) -> tuple[tuple[str, str], ...]:
    looked_up = (
        name in ("email", "external_id", "id") and operator == "=" and isinstance(value, str) and value
    )
    return ((name, value),) if looked_up else ()


def _attribute(name: str) -> Callable[[Contact], Any]:
    return lambda contact: getattr(contact, name)


def _constant(value: Any) -> Callable[[Contact], Any]:
    return lambda contact: value


_KEPT = {
    "string": "id role name phone external_id email_domain",
    "email": "email",
    "integer": "owner_id",
    "date": "created_at updated_at signed_up_at last_seen_at",
    "boolean": "unsubscribed_from_emails",
}
_NEVER_KNOWN = {
    "string": "formatted_phone language_override browser browser_version browser_language os "
    "location.country location.region location.city "
    "ios_app_name ios_app_version ios_device ios_os_version ios_sdk_version "
    "android_app_name android_app_version android_device android_os_version android_sdk_version",
    "date": "last_contacted_at last_replied_at last_email_opened_at last_email_clicked_at ios_last_seen_at "
    "android_last_seen_at",
}
FIELDS: dict[str, Field] = {
    **{name: Field(kind, _attribute(name)) for kind, names in _KEPT.items() for name in names.split()},
    **{name: Field(kind, _constant(None)) for kind, names in _NEVER_KNOWN.items() for name in names.split()},
    "avatar": Field("string", _attribute("avatar_url")),
    "has_hard_bounced": Field("boolean", _constant(False)),
    "marked_email_as_spam": Field("boolean", _constant(False)),
    "tag_id": Field("reference", lambda contact: tuple(contact.tags)),
    "segment_id": Field("reference", _constant(())),
}
