"""What must have happened when a history is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .faults import BEGIN_MS

if TYPE_CHECKING:
    from .history import History

LOST_CREDIT_MS = 40_000
"""The credit of a lost wake-up is back by then."""


def judge_the_end(history: History) -> None:
    """All that is asked at the end."""
    _all_ended(history)
    _contacts(history)
    _drained_in_time(history)
    _little_asked_in_an_outage(history)
    _claims_cost_little(history)


def _all_ended(history: History) -> None:
    intents = history.scripts.state.intents
    for address, ids in history.judge.accepted.items():
        if lost := [id for id in ids if id not in intents]:
            history.violation("an intent is lost", lost)
        if stuck := [id for id in ids if id in intents and not intents[id].ended]:
            history.violation("an intent never ends", address, stuck)


def _contacts(history: History) -> None:
    """Excused pairs are merged; each contact holds what was settled last."""
    contacts = history.intercom.contacts
    for lead, user in history.judge.pairs:
        one, other = contacts[lead], contacts[user]
        if one.lives and other.lives and one.address == other.address and not one.external_id:
            history.violation("an excused pair is left", lead, user)
    if history.rolled_back or "an intent never ends" in history.violations:
        return
    for contact in contacts.values():
        judged = contact.lives and contact.want is not None and not contact.mixed
        if judged and contact.value != contact.want:
            history.violation("the last value is not the settled one", contact.id, contact.want)


def _drained_in_time(history: History) -> None:
    lasted = history.now - BEGIN_MS
    if lasted > history.longest_ms and not history.people:
        history.violation("slow to drain", lasted)
    late = history.now - history.broker.sent_at > LOST_CREDIT_MS and history.suite.wake_delay_ms < 1_000
    if history.scripts.state.tokens and late and not history.rolled_back:
        history.violation("the credit of wake-ups leaks", history.scripts.state.tokens)
    alike = [id for id, why in history.buried.items() if why == "alike"]
    if history.suite.rejecting and len(alike) >= history.settings.bulk_rejections:
        history.violation("too many alike are buried", len(alike))


def _little_asked_in_an_outage(history: History) -> None:
    if history.outage is None:
        return
    begins, ends = history.outage
    length = (ends - begins) / 10_000
    if history.judge.probes > 8 + length:
        history.violation("too many probes", history.judge.probes)
    under_way = 2 * history.suite.slots * history.suite.engines
    if history.judge.failed_calls > history.settings.breaker_calls + under_way + 2 * (6 + length):
        history.violation("too many calls while Intercom is down", history.judge.failed_calls)


def _claims_cost_little(history: History) -> None:
    if history.most_pops > 2 * history.suite.slots + 4:
        history.violation("a claim pops too much", history.most_pops)
    lasted_s = (history.now - BEGIN_MS) / 1000
    most = history.suite.most_pops * history.submitted + 10 * len(history.faults.happened) + lasted_s / 5
    if history.pops > 40 + most:
        history.violation("claims churn", history.pops)
