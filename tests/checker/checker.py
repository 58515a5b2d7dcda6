"""The promise, as one checker: receipts, true state and request log go in, a verdict comes out.

    report = check(accepted, control.contacts(), control.requests(), Declared(poison={…}))
    assert report.ok, str(report)

| rule          | promise                                                                             |
|---------------|-------------------------------------------------------------------------------------|
| rule_endings  | every accepted intent ended; dead letters only where expected                       |
| rule_results  | a result fits the kind of intent, its reason, and the true state                    |
| rule_versions | the newest picture of a source wins                                                 |
| rule_order    | per address the effects appear in accepted order; nothing is written unasked        |
| rule_overlap  | never two requests for one address in flight at once                                |
| rule_persons  | one live contact per person                                                         |
| rule_fields   | no lost field update                                                                |
| rule_consent  | consent exactly as the last explicit word says                                      |

It judges what was asked against what is, never how the worker went about it: it knows no lanes, folds,
leases or beliefs, and imports nothing of `onelane`, `onelane_worker` or `onelane_sandbox`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .evidence import Evidence
from .history import Accepted, Declared, Json, Request
from .report import Report
from .rule_consent import check_consent
from .rule_endings import check_endings
from .rule_fields import check_fields
from .rule_order import check_order
from .rule_overlap import check_overlaps
from .rule_persons import check_persons
from .rule_results import check_results
from .rule_versions import check_versions

RULES = (
    check_endings,
    check_results,
    check_versions,
    check_order,
    check_overlaps,
    check_persons,
    check_fields,
    check_consent,
)


def check(
    accepted: Iterable[Accepted],
    contacts: Sequence[Json],
    requests: Iterable[Json],
    declared: Declared | None = None,
) -> Report:
    """Judge a history that has come to rest.

    accepted: one per receipt (a duplicate's receipt is the earlier one's). contacts, requests: the JSON of
    `/_sandbox/contacts` and `/_sandbox/requests`.
    """
    log = [Request.of(line) for line in requests]
    evidence = Evidence(accepted, contacts, log, declared or Declared())
    report = Report()
    for rule in RULES:
        rule(evidence, report)
    _count(evidence, report)
    return report


def _count(evidence: Evidence, report: Report) -> None:
    ours = [one for one in evidence.requests if not evidence.is_foreign(one)]
    effective = [one for one in ours if one.committed and one.is_write]
    report.counts.update(
        {
            "intents": len(evidence.accepted),
            "addresses": len(evidence.addresses),
            "requests": len(ours),
            "writes": len(effective),
            "creates": sum(one.creates for one in effective),
            "dead letters": sum(one.result == "rejected" for one in evidence.accepted),
            "unmapped requests": evidence.unmapped,
        }
    )
