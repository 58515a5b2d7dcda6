"""Never two requests for one address at once.

A request is in flight from its arrival until it was answered; one whose client has gone, until it was
executed. Counted apart, because nothing can come of them: a read whose client has gone or was frozen
meanwhile (its answer is taken by a socket that nobody reads, and the lane has a new holder), and a look by
external id for the user of a create whose answer was lost (if it is there already, it is adopted at once
instead of when the create can no longer commit). A moment that Redis lost excuses nothing: workers hold until
nothing of before can be under way.
"""

from __future__ import annotations

from .evidence import Address, Evidence
from .history import Request
from .report import OVERLAP, Report


def check_overlaps(evidence: Evidence, report: Report) -> None:
    """Look at every pair of requests of one address that were under way together."""
    for address in evidence.addresses.values():
        under_way: list[Request] = []
        for request in address.requests:
            if evidence.is_foreign(request):
                continue
            under_way = [one for one in under_way if one.end > request.at]
            for earlier in under_way:
                _together(evidence, report, address, earlier, request)
            under_way.append(request)


def _together(evidence: Evidence, report: Report, address: Address, earlier: Request, later: Request) -> None:
    why = _harmless(evidence, earlier, later)
    text = f"requests #{earlier.n} and #{later.n} were under way together"
    if why is None:
        report.found(OVERLAP, address.name, text, earlier, later)
    else:
        report.set_apart(why, OVERLAP, address.name, text, earlier, later)


def _harmless(evidence: Evidence, earlier: Request, later: Request) -> str | None:
    if not earlier.is_write and (earlier.status is None or evidence.was_frozen(earlier)):
        return "abandoned read"
    if earlier.creates and earlier.status is None and "find_by_external_id" in later.words:
        return "look for an unknown create"
    if earlier.is_write and later.at - earlier.at > evidence.declared.commit_window_s:
        return "commit beyond the tail"
    return "frozen worker" if evidence.woke(earlier, later) else None
