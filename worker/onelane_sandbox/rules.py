"""The sandbox as a pure state machine: a request and the time go in, a response comes out.

Two ways in:

* `handle(request, now)`: the API alone; nothing goes wrong and nothing is logged. For simulations that bring
  their own faults.
* `arrive(request, now)`, then after `exchange.delay_s` seconds `execute(exchange, now)`, then
  `depart(exchange, now)`: with the registered faults and the log. The HTTP server and simulations in virtual
  time do the same three steps.

`now` is in epoch seconds and should not run backwards. The rest is control: the true state, the index,
faults, switches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from onelane_sandbox.contact import true_state
from onelane_sandbox.dice import Dice, Lag
from onelane_sandbox.faults import Ending, Fault, Faults, Verdict, error_of
from onelane_sandbox.log import Entry, RequestLog
from onelane_sandbox.messages import ApiError, JsonObject, Request, Response
from onelane_sandbox.ratelimit import APP_PER_MINUTE, RateLimit, without_limits
from onelane_sandbox.routes import find_route, read_body
from onelane_sandbox.switches import check
from onelane_sandbox.versions import FIRST, echoed, read_version, require
from onelane_sandbox.workspace import Call, Workspace

DEFAULT_LAG: Lag = (2.0, 120.0)
_READ_ANSWERS = (200, 404, 410)

__all__ = ["DEFAULT_LAG", "Answer", "Exchange", "Lag", "Request", "Response", "Sandbox"]


@dataclass(slots=True)
class Exchange:
    """A request on its way. Wait `delay_s` seconds before executing it."""

    request: Request
    verdict: Verdict
    entry: Entry
    world: int

    @property
    def delay_s(self) -> float:
        """How long the `slow` faults hold it up."""
        return self.verdict.delay_s


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ends for the client: `response`, or, without one, the connection closed or reset."""

    ending: Ending
    response: Response | None


class Sandbox:
    """One simulated Intercom workspace.

    seed: of ids, lags and chances. token: the only bearer token accepted; None accepts any that is not empty.
    index_lag: seconds, or (least, most) drawn for every write. rate_per_minute: calls per token.
    attributes: custom attributes of contacts that exist from the start, name → data type. Raises ApiError for
    a bad one. The workspace's id follows from seed and token: it stays the same over a restart.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        token: str | None = None,
        index_lag: Lag = DEFAULT_LAG,
        rate_per_minute: int = APP_PER_MINUTE,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._dice = Dice(seed)
        self._token = token
        self._id_code = _id_code(seed, token)
        self._first_lag = index_lag
        self._first_attributes = dict(attributes or {})
        self._rate_per_minute = rate_per_minute
        self._world = 0
        self._begin()

    # --- the API ---

    def handle(self, request: Request, now: float) -> Response:
        """Execute one API request at `now`, without faults and without logging it."""
        headers = self._headers(request)
        reads = False
        try:
            token = self._authorized(request)
            headers |= self._rate_limit.take(token, now)
            version = read_version(request.header("intercom-version"))
            _check_accept(request)
            route, params = find_route(request)
            require(version, route.since)
            body = read_body(request) if request.method.upper() in ("POST", "PUT") else {}
            reads = route.reads
            answer = route.handler(self._space, Call(request, params, body, version, now))
        except ApiError as error:
            return self._refused(error, headers, committed=reads and error.status in _READ_ANSWERS)
        return Response(status=200, headers=headers, body=answer, committed=True)

    def arrive(self, request: Request, now: float) -> Exchange:
        """Log a request and decide which fault meets it."""
        verdict = self._faults.decide(request.method, request.path)
        entry = self._log.arrived(request, now)
        entry.fault = verdict.label
        return Exchange(request, verdict, entry, self._world)

    def execute(self, exchange: Exchange, now: float) -> Answer:
        """Let a request take effect, as far as its fault allows. Once only per exchange.

        After a reset nothing of the old world takes effect any more: its connection is closed.
        """
        if exchange.world != self._world:
            return Answer("close", None)
        effect = exchange.verdict.effect
        response = None
        if effect is None or effect.executes:
            response = self.handle(exchange.request, now)
            exchange.entry.committed = response.committed
        if effect is None:
            return Answer("answer", response)
        if effect.ending != "answer":
            return Answer(effect.ending, None)
        return Answer("answer", self._faulty(exchange, effect.status or 500, now))

    def depart(self, exchange: Exchange, now: float, answer: Answer | None) -> None:
        """Note in the log that a request has left; `answer` None if the client got none after all."""
        response = answer.response if answer else None
        exchange.entry.status = response.status if response else None
        exchange.entry.duration_ms = round((now - exchange.entry.at) * 1000, 3)

    # --- control ---

    def reset(self) -> None:
        """A new, empty workspace: no contacts, faults or log; switches, lag and attributes as at first.

        The streams of randomness go on, so that no id of the old world comes up again.
        """
        self._world += 1
        self._begin()

    def contacts(self) -> list[JsonObject]:
        """The true state of every contact ever made, in order of creation."""
        return [true_state(one, self._space.show(one, FIRST)) for one in self._space.contacts]

    def requests(self) -> list[JsonObject]:
        """The request log, oldest first."""
        return self._log.listing()

    def clear_requests(self) -> None:
        """Empty the request log."""
        self._log.clear()

    @property
    def lag(self) -> Lag:
        """The index lag of writes to come, in seconds."""
        return self._space.lag

    def set_lag(self, lag: Lag) -> None:
        """Set the lag of later writes; what is pending keeps its time. Raises ValueError."""
        least, most = lag if isinstance(lag, tuple) else (lag, lag)
        if not 0 <= least <= most < float("inf"):
            raise ValueError("must be seconds, 0 or more, or [least, most]")
        self._space.lag = lag

    def catch_up(self) -> None:
        """Make the index show every write made so far."""
        self._space.index.catch_up()

    def pending(self, now: float) -> int:
        """How many writes the index does not show yet."""
        self._space.index.advance(now)
        return self._space.index.pending

    def add_fault(self, fault: str, **options: object) -> Fault:
        """Register a fault (see `faults`). Raises ValueError naming the option that is wrong."""
        return self._faults.add({"fault": fault, **options})

    def faults(self) -> list[JsonObject]:
        """What is left of the registered faults."""
        return self._faults.listing()

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def switch(self, name: str, value: object) -> None:
        """Set one switch. Raises ValueError."""
        self.switch_all({name: value})

    def switch_all(self, values: Mapping[str, object]) -> None:
        """Set several switches, all or none. Raises ValueError naming the one that is wrong."""
        for name, value in values.items():
            try:
                check(name, value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for name, value in values.items():
            self._space.switches.set(name, value)

    def switches(self) -> list[JsonObject]:
        """Every switch with its value, its values, its default and what it stands for."""
        return self._space.switches.listing()

    def subscription_types(self) -> list[JsonObject]:
        """Every subscription type, as the API shows it."""
        types: list[JsonObject] = self._space.subscription_types.listing()["data"]
        return types

    def put_subscription_type(self, type_id: str, name: str, consent_type: str) -> JsonObject:
        """Add or replace a subscription type."""
        return self._space.subscription_types.put(type_id, name, consent_type).body()

    def put_attribute(self, name: str, data_type: str, now: float) -> JsonObject:
        """Make a custom attribute of contacts, unless it is there. Raises ApiError."""
        return self._space.attributes.put(name, data_type, now)

    # --- inside ---

    def _begin(self) -> None:
        self._space = Workspace(self._dice, self._first_lag, self._id_code)
        for name, data_type in self._first_attributes.items():
            self._space.attributes.put(name, data_type, now=0)
        self._faults = Faults(self._dice)
        self._log = RequestLog()
        self._rate_limit = RateLimit(self._rate_per_minute)

    def _authorized(self, request: Request) -> str:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or self._token not in (None, token):
            raise error_of(401)
        return token

    def _headers(self, request: Request) -> dict[str, str]:
        label = echoed(request.header("intercom-version"))
        return {"X-Request-Id": self._dice.request_id(), "Intercom-Version": label}

    def _faulty(self, exchange: Exchange, status: int, now: float) -> Response:
        headers = self._headers(exchange.request)
        if status == 429:
            return self._refused(self._rate_limit.exceeded(now, exchange.verdict.seconds), headers)
        return self._refused(error_of(status), headers)

    @staticmethod
    def _refused(error: ApiError, headers: dict[str, str], *, committed: bool = False) -> Response:
        headers = {**headers, **error.headers}
        if error.status == 401:
            headers = without_limits(headers)
        body = error.body(headers["X-Request-Id"])
        return Response(status=error.status, headers=headers, body=body, committed=committed)


def _id_code(seed: int, token: str | None) -> str:
    of_token = "" if token is None else f"-{sha256(token.encode()).hexdigest()[:6]}"
    return f"sandbox-{seed}{of_token}"


def _check_accept(request: Request) -> None:
    """406 unless JSON is acceptable. Evidence: official documentation (the code is unverified)."""
    accept = request.header("accept")
    if accept is None:
        return
    offered = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not offered & {"application/json", "application/*", "*/*", ""}:
        raise ApiError(406, "not_acceptable", "The Accept header must allow application/json")
