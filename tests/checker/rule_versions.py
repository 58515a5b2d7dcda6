"""The newest picture of a source wins: an older version that is accepted later is not applied.

Within one address accepted order is the order of taking effect. Of two addresses only the external id is
one, and they are at work at the same time: there the newer one must have ended before the older was accepted.
Where a test does not tell when it ended, it is known to have if its own value was written, the answer came,
and for longer than a dead worker can be followed nothing more was asked about its address.

It is a question of outcomes, not of writes: what explains an old value on its way explains none of this.
"""

from __future__ import annotations

from itertools import combinations

from . import wishes
from .evidence import Evidence
from .history import Accepted
from .report import OUTCOME, Report

MEMORY_S = 86_400.0
"""VERSION_MEMORY_S: how long the newest version is known."""
SETTLED_S = 60.0
"""A worker that died with a write in flight is followed within 32 s."""


def check_versions(evidence: Evidence, report: Report) -> None:
    """Look at every two versions of one picture that were both applied."""
    applied = [one for one in evidence.accepted if one.result in wishes.APPLIED]
    versioned = [one for one in applied if one.intent.get("version") is not None]
    for pair in combinations(versioned, 2):
        older, newer = sorted(pair, key=lambda one: one.intent["version"])
        if older.intent["version"] < newer.intent["version"] and wishes.same_picture(older, newer):
            _compare(evidence, report, older, newer)


def _compare(evidence: Evidence, report: Report, older: Accepted, newer: Accepted) -> None:
    if not _was_known(evidence, older, newer) or _forgotten(evidence, older, newer):
        return
    text = f"version {older.intent['version']} was applied over {newer.intent['version']}"
    if any(newer.at <= span.end for span in evidence.declared.rollbacks):
        report.set_apart("rollback of Redis", OUTCOME, older.address, text, newer, older)
    else:
        report.found(OUTCOME, older.address, text, newer, older)


def _was_known(evidence: Evidence, older: Accepted, newer: Accepted) -> bool:
    """Had the newer one surely been applied when the older one's turn came?"""
    if older.address == newer.address:
        return newer.rank < older.rank
    if newer.ended is not None:
        return newer.ended < older.at
    return _settled(evidence, newer, older.at)


def _settled(evidence: Evidence, one: Accepted, at: float) -> bool:
    """Its own value was written, and long before `at` all was quiet."""
    address = evidence.addresses[one.address]
    asked = {(path, wishes.key(value)) for path, value in wishes.asked(one).items()}
    others = (each for each in address.intents if each.id != one.id)
    own = asked - {(path, wishes.key(v)) for each in others for path, v in wishes.asked(each).items()}
    before = [each for each in address.requests if one.at <= each.at < at]
    writes = [each for each in before if each.committed and each.status == 200 and each.is_write]
    carried = any(
        (path, wishes.key(value)) in own
        for each in writes
        if isinstance(each.body, dict)
        for path, value in wishes.fields_of(each.body).items()
    )
    return carried and all(each.end + SETTLED_S <= at for each in before)


def _forgotten(evidence: Evidence, older: Accepted, newer: Accepted) -> bool:
    """An erasure forgets what there was, and so does time."""
    concerned = {older.address, newer.address, newer.external_id} - {None}
    erased = any(
        one.kind == "contact_erasure" and one.at >= newer.at and concerned & {one.address, one.external_id}
        for one in evidence.accepted
    )
    last = max((one.at for one in evidence.requests), default=newer.at)
    return erased or max(last, older.at) - newer.at > MEMORY_S
