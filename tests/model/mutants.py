"""One rule off at a time: does the judge notice?

Each mutant has a suite that should catch it. `caught.json` keeps the history that did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from .play import play
from .rules import RULES, Rules
from .suites import SUITES

RECORD: Final = Path(__file__).with_name("caught.json")
SUITE_OF: Final[dict[str, str]] = {
    "claim_repeats": "dense", "claim_repeats_owned": "dense", "claim_old_refused": "dense", "fence_by_clock": "failover_late",
    "step_repeats": "set", "step_old_refused": "set", "owner": "set", "more_owned": "set", "ends_by_id": "set",
    "recorded": "set", "grace": "set", "unknown_holds": "set", "unknown_keeps_locks": "ext2",
    "postponed_keeps_locks": "ext2", "postponed_until_commit": "set", "lock_until_commit": "ext2",
    "journal_stays": "set", "window_from_commit": "set", "bury_only_answered": "hot", "bury_not_journaled": "set",
    "dirty": "set", "dirty_stays": "poison2", "ext_locked": "ext2", "ext_checked": "ext2", "ext_waiter_woken": "ext2",
    "parked_wakes_next": "ext2", "one_waiter": "crowd", "waiters_in_order": "star", "first_waits_less": "star",
    "further_ext_kept": "change4", "versions_grow": "ext2", "marker_with_change": "change4", "marker_first": "change4",
    "marker_wakes": "change4", "marker_ends": "change", "marker_buried": "change", "marker_withdrawn": "change",
    "marker_replayed": "change", "arrival_read": "change", "pointer_buried": "change4",
    "batch_before_marker": "change", "batch_known_schema": "upgrade", "newer_waits": "upgrade", "folds_alike": "ext",
    "replay_by_burial": "set", "replay_not_behind_erasure": "all", "withdraw_unserved": "set",
    "withdraw_not_replayed": "broker", "only_empty_placed": "set", "hot_counted": "dense", "eighth_pop": "bulk",
    "eighth_pop_always": "window2", "zero_delay_ready": "set", "lease_due": "set", "lease_living_stays": "set",
    "renewed_by_owner": "set", "renewed": "flap", "due_made_ready": "set", "one_mover": "set",
    "shut_moves_leases_only": "pause", "kill_charged": "poison", "living_not_charged": "poison",
    "outage_not_charged": "flap", "epoch_not_charged": "failover", "stopping_ticks": "set",
    "suspects_apart": "poison", "suspect_batch_alone": "poison", "suspect_engine_alone": "poison32",
    "last_chance_unwritten": "poison_late", "jobs_by_fence": "ext", "deadline_from_send": "set",
    "hold_refuses_more": "hold", "hold_ends_renewal": "hold_slow", "wake_credit": "broker", "wake_heals": "set",
    "breaker_gates": "outage", "refused_opens": "refused", "probe_pauses": "outage", "half_open": "half",
    "half_one_lane": "half", "half_by_sort": "writes_fail", "half_pause_doubles": "half", "more_gated": "pause",
    "bulk_stops": "rejecting", "bulk_one_trial": "rejecting", "bulk_trial_waits": "rejecting", "bucket_small": "window2",
    "throttle": "window429", "hand_expires": "hoard", "probes_pay": "outage_paid", "epoch": "failover",
    "epoch_holds": "failover_late", "epoch_in_more": "failover_all", "epoch_of_empty": "emptied_late",
    "epoch_window": "failover_late", "epoch_facts": "failover_late", "epoch_check": "emptied_ext",
    "foreign_noted": "ext2", "no_workspace": "emptied", "rekeyed": "emptied",
}  # fmt: skip
"""Rule → the suite in which its loss should show first."""


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
    with ProcessPoolExecutor(jobs) as pool:
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
