"""One rule off at a time: does the judge notice?

Each mutant has a suite that should catch it. `caught.json` keeps the history that did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from .fleet import processes
from .play import play
from .rules import RULES, Rules
from .suites import SUITES

RECORD: Final = Path(__file__).with_name("caught.json")
_RULES_BY_SUITE: Final[dict[str, str]] = {
    "dense": "claim_repeats claim_repeats_owned claim_old_refused hot_counted",
    "failover_late": "fence_by_clock epoch_holds epoch_window epoch_facts",
    "set": (
        "step_repeats step_old_refused owner more_owned ends_by_id recorded grace unknown_holds "
        "postponed_until_commit journal_stays window_from_commit bury_not_journaled dirty "
        "replay_by_burial withdraw_unserved only_empty_placed zero_delay_ready lease_due "
        "lease_living_stays renewed_by_owner due_made_ready one_mover stopping_ticks "
        "deadline_from_send wake_heals "
    ),
    "ext2": (
        "unknown_keeps_locks postponed_keeps_locks lock_until_commit ext_locked ext_checked "
        "ext_waiter_woken parked_wakes_next versions_grow foreign_noted "
    ),
    "hot": "bury_only_answered",
    "poison2": "dirty_stays",
    "crowd": "one_waiter",
    "star": "waiters_in_order first_waits_less",
    "change4": "further_ext_kept marker_with_change marker_first marker_wakes pointer_buried",
    "change": (
        "marker_ends marker_buried marker_withdrawn marker_replayed arrival_read batch_before_marker "
    ),
    "upgrade": "batch_known_schema newer_waits",
    "ext": "folds_alike jobs_by_fence",
    "all": "replay_not_behind_erasure",
    "broker": "withdraw_not_replayed wake_credit",
    "bulk": "eighth_pop",
    "window2": "eighth_pop_always bucket_small",
    "flap": "renewed outage_not_charged",
    "pause": "shut_moves_leases_only more_gated",
    "poison": "kill_charged living_not_charged suspects_apart suspect_batch_alone",
    "failover": "epoch_not_charged epoch lapse_is_final",
    "poison32": "suspect_engine_alone",
    "poison_late": "last_chance_unwritten",
    "hold": "hold_refuses_more",
    "hold_slow": "hold_ends_renewal",
    "outage": "breaker_gates probe_pauses",
    "refused": "refused_opens",
    "half": "half_open half_one_lane half_pause_doubles",
    "writes_fail": "half_by_sort",
    "rejecting": "bulk_stops bulk_one_trial bulk_trial_waits",
    "window429": "throttle",
    "hoard": "hand_expires",
    "outage_paid": "probes_pay",
    "failover_all": "epoch_in_more",
    "emptied_late": "epoch_of_empty",
    "emptied_ext": "epoch_check",
    "emptied": "no_workspace rekeyed",
}
SUITE_OF: Final = {rule: suite for suite, rules in _RULES_BY_SUITE.items() for rule in rules.split()}
"""Rule → the suite in which its loss should show first."""

NOT_CAUGHT: Final[dict[str, str]] = {
    "more_owned": "who gets a grant that is not theirs is fenced by their next step",
    "ends_by_id": "an engine settles the head of its own grant; steps are fenced and numbered",
    "grace": "a call in hand is dropped after half a second, so no write waits for a second",
    "postponed_until_commit": "claim does not grant a lane whose write may still commit",
    "bury_only_answered": "these engines bury only after an answer, or after a clear",
    "bury_not_journaled": "these engines reconcile a head that the journal names",
    "dirty_stays": "rare: facts must outlive an unclean grant that stored no entry",
    "ext_checked": "rare: a lock must be lost under a lease that lives; the lock ends later than the lease",
    "parked_wakes_next": "rare: a woken waiter must be blocked by something else",
    "first_waits_less": "the holder's own retry releases the lock and wakes the waiter",
    "further_ext_kept": "the change meets the busy external id again, and waits again: it costs claims",
    "arrival_read": "rare: a move of unknown result, then a refusal",
    "pointer_buried": "rare: a move of unknown result by a head that then kills",
    "replay_by_burial": "rare: a late copy must meet the letter after another burial",
    "zero_delay_ready": "it costs time only",
    "lease_living_stays": "a lease that lives is not due",
    "one_mover": "it costs work only",
    "epoch_not_charged": "other rules spare these holders",
    "jobs_by_fence": "rare: a lane must come back while an older job awaits its reply",
    "deadline_from_send": "a checkpoint renews the lease first, and a fenced one sends nothing",
}
"""Rule → why nobody notices that it is off."""


def hunt(rule: str, most: int, first: int = 0) -> dict[str, Any] | None:
    """The first history that notices that the rule is off: in its suite, then in all."""
    tries = [(SUITE_OF[rule], most)] + [(name, most // 8) for name in SUITES if name != SUITE_OF[rule]]
    for suite, count in tries:
        for number in range(first, first + count):
            played = play(number, suite, Rules(rule))
            if played.violations:
                return {"suite": suite, "number": number, "what": played.violations[0][:120]}
    return None


def notices(rule: str, caught: dict[str, Any]) -> bool:
    """Does this history notice it, and is it silent with all rules?"""
    number, suite = int(caught["number"]), str(caught["suite"])
    return bool(play(number, suite, Rules(rule)).violations) and not play(number, suite).violations


def recorded() -> dict[str, dict[str, Any]]:
    """Rule → the history that caught its loss."""
    known: dict[str, dict[str, Any]] = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    return known


def hunt_all(most: int, jobs: int, only: Sequence[str], write: bool) -> dict[str, dict[str, Any] | None]:
    """Every mutant, those on record first by their record."""
    names = list(only) or list(RULES)
    known = recorded()
    result: dict[str, dict[str, Any] | None] = {}
    with processes(jobs) as pool:
        found = pool.map(partial(_again_or_hunt, most=most, known=known), names)
        for name, caught in zip(names, found, strict=True):
            result[name] = caught
            where = f"{caught['suite']} {caught['number']}: {caught['what']}" if caught else "NOT CAUGHT"
            print(f"{name:26} {where}", file=sys.stderr, flush=True)
    if write:
        merged = {**known, **{name: caught for name, caught in result.items() if caught}}
        gone = {name for name, caught in result.items() if caught is None}
        kept = {name: merged[name] for name in RULES if name in merged and name not in gone}
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    return result


def _again_or_hunt(name: str, most: int, known: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    before = known.get(name)
    return before if before and notices(name, before) else hunt(name, most)
