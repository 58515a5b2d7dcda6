"""Why a lane stands where it stands, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _output as output

if TYPE_CHECKING:
    from onelane_worker.operate.lane_view import Standing


def words(
    stands: Standing, error: dict[str, Any], now_ms: int, *, stopped: str = "", reconciling: bool = False
) -> str:
    """One clause. `error`: why the head's last attempt failed; `stopped`: why nothing is served, if so;
    `reconciling`: the result of a create is not known yet."""
    until = "" if stands.until_ms is None else output.when((stands.until_ms - now_ms) / 1000)
    match stands.why:
        case "asleep":
            return "asleep: nothing waits"
        case "check":
            return f"asleep: nothing waits; looked at once more for duplicates {until}"
        case "leased":
            return "a worker is at it"
        case "cut_off":
            return "its worker never came back; the next one goes on from what is recorded"
        case "ready" | "due":
            return stopped or "waits for a free worker"
        case "held":
            left = output.span(((stands.until_ms or now_ms) - now_ms) / 1000)
            return f"a write whose answer was lost may still take effect for {left}; nobody writes meanwhile"
        case "blocked_by_external_id":
            return f"another lane works for its external id{_whose(stands)}"
        case "blocked_by_lane":
            return f"a change of address waits for the other lane{_whose(stands)}"
        case "newer":
            return f"its head needs a newer worker; looked at again {until}"
        case "stranded":
            return f"due for {until.removesuffix(' ago')}, and nobody came: is a worker running?"
    said = output.error_words(error) if error else ""
    said = "whether its create took effect is not known yet" if reconciling else said
    again = f"; again {until}" if stands.until_ms is not None and stands.until_ms > now_ms else ""
    return f"{said or stands.why}{again}"


def stopped_words(breaker: dict[str, Any], hold: str) -> str:
    """Why nothing is served at all; empty if that is not so. `breaker`: its document."""
    if breaker["state"] == "paused":
        return "the workspace is paused: nothing is served until `onelane resume`"
    if breaker["state"] == "open":
        return "the circuit breaker is open: nothing is served until a probe succeeds"
    return hold


def _whose(stands: Standing) -> str:
    return "" if stands.blocked_by is None else f": lane {stands.blocked_by}"
