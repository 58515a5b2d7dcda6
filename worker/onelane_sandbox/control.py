"""The control interface under /_sandbox: what each path does, without HTTP.

    GET    contacts             the true state of every contact ever made
    GET    requests             the request log; DELETE empties it
    GET    index                {"lag": …, "pending": n}
    POST   index                {"lag": s | [min, max]} for later writes, {"catch_up": true} for all so far
    GET    faults               what is left of them; POST registers one; DELETE clears
    GET    switches             all switches; POST {name: value, …} sets some, all or none
    GET    subscription_types   all; POST {id, name, consent_type} adds or replaces one
    POST   attributes           {name, data_type = "string"} makes a custom attribute, unless it is there
    POST   reset                an empty workspace

`{"lag": 0}` does not hurry what is pending: a write was given its time when it was made. Use `catch_up`.
Bad input is a 400 {"error": message, "field": name}; unknown options are bad input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onelane_sandbox.catalogs import CONSENT_TYPES
from onelane_sandbox.dice import Lag
from onelane_sandbox.messages import ApiError, JsonObject
from onelane_sandbox.rules import Sandbox

PREFIX = "/_sandbox"

Action = Callable[[Sandbox, JsonObject, float], JsonObject]


class ControlError(ValueError):
    """Bad input to the control interface: `field` names the culprit, None if it is the whole body."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


def control(sandbox: Sandbox, method: str, name: str, body: Any, now: float) -> tuple[int, JsonObject]:
    """Perform one control request: HTTP status and answer."""
    action = ACTIONS.get((method, name))
    if action is None:
        known = ", ".join(f"{verb} {path}" for verb, path in ACTIONS)
        return 404, {"error": f"no {method} {PREFIX}/{name}; there are: {known}", "field": None}
    try:
        return 200, action(sandbox, _object(body), now)
    except ControlError as error:
        return 400, {"error": str(error), "field": error.field}


def _contacts(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    return {"contacts": sandbox.contacts()}


def _requests(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    return {"requests": sandbox.requests()}


def _clear_requests(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    sandbox.clear_requests()
    return _requests(sandbox, body, now)


def _index(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    lag = sandbox.lag
    return {"lag": list(lag) if isinstance(lag, tuple) else lag, "pending": sandbox.pending(now)}


def _set_index(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    _only(body, "lag", "catch_up")
    if not body:
        raise ControlError(None, "give lag, catch_up, or both")
    lag = read_lag(body["lag"]) if "lag" in body else sandbox.lag
    if not isinstance(body.get("catch_up", False), bool):
        raise ControlError("catch_up", "must be true or false")
    try:
        sandbox.set_lag(lag)
    except ValueError as error:
        raise ControlError("lag", str(error)) from None
    if body.get("catch_up"):
        sandbox.catch_up()
    return _index(sandbox, body, now)


def read_lag(raw: Any) -> Lag:
    """A lag from its JSON form: seconds, or [least, most]. Raises ControlError."""
    parts = raw if isinstance(raw, list | tuple) else [raw]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in parts):
        raise ControlError("lag", "must be seconds, 0 or more, or [least, most]")
    if isinstance(raw, list | tuple):
        if len(raw) != 2:
            raise ControlError("lag", "must be seconds, 0 or more, or [least, most]")
        return float(raw[0]), float(raw[1])
    return float(raw)


def _faults(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    return {"faults": sandbox.faults()}


def _add_fault(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    options = {key: value for key, value in body.items() if key != "fault"}
    try:
        return sandbox.add_fault(body.get("fault", ""), **options).listing()
    except ValueError as error:
        raise _named(error) from None


def _clear_faults(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    sandbox.clear_faults()
    return _faults(sandbox, body, now)


def _switches(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    return {"switches": sandbox.switches()}


def _set_switches(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    try:
        sandbox.switch_all(body)
    except ValueError as error:
        raise _named(error) from None
    return _switches(sandbox, body, now)


def _subscription_types(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    return {"subscription_types": sandbox.subscription_types()}


def _put_subscription_type(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    _only(body, "id", "name", "consent_type")
    type_id = body.get("id")
    if isinstance(type_id, bool) or not isinstance(type_id, str | int) or type_id == "":
        raise ControlError("id", "must be a string")
    name = _text(body, "name")
    if body.get("consent_type") not in CONSENT_TYPES:
        raise ControlError("consent_type", f"must be one of {', '.join(CONSENT_TYPES)}")
    return sandbox.put_subscription_type(str(type_id), name, body["consent_type"])


def _put_attribute(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    _only(body, "name", "data_type")
    try:
        return sandbox.put_attribute(_text(body, "name"), _text(body, "data_type", "string"), now)
    except ApiError as error:
        raise ControlError(error.field_name, error.message) from None


def _reset(sandbox: Sandbox, body: JsonObject, now: float) -> JsonObject:
    _only(body)
    sandbox.reset()
    return {}


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "contacts"): _contacts,
    ("GET", "requests"): _requests,
    ("DELETE", "requests"): _clear_requests,
    ("GET", "index"): _index,
    ("POST", "index"): _set_index,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "switches"): _switches,
    ("POST", "switches"): _set_switches,
    ("GET", "subscription_types"): _subscription_types,
    ("POST", "subscription_types"): _put_subscription_type,
    ("POST", "attributes"): _put_attribute,
    ("POST", "reset"): _reset,
}


def _object(body: Any) -> JsonObject:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ControlError(None, "the body must be a JSON object")
    return body


def _text(body: JsonObject, field: str, default: str | None = None) -> str:
    value = body.get(field, default)
    if not isinstance(value, str):
        raise ControlError(field, "must be a string")
    return value


def _only(body: JsonObject, *known: str) -> None:
    for name in body:
        if name not in known:
            raise ControlError(name, "unknown option")


def _named(error: ValueError) -> ControlError:
    field, _, message = str(error).partition(": ")
    return ControlError(field, message)
