"""The rules of the protocol that a mutant can switch off, by name. PROTOCOL.md explains each."""

from __future__ import annotations

from typing import Final

RULES: Final[dict[str, str]] = {
    # claim
    "claim_repeats": "a claim sent again with its number gives the same grants and nothing new",
    "claim_repeats_owned": "a repeated claim gives only what is still owned",
    "claim_old_refused": "a claim with a number below the last one gives nothing",
    "fence_by_clock": "a fence is at least the clock, so that it grows though Redis lost the last one",
    # steps under a lease
    "step_repeats": "a step sent again gets the remembered answer and changes nothing",
    "step_old_refused": "a step below the last one is stale",
    "owner": "only who holds token and fence of the lane may act",
    "more_owned": "a remembered `more` is answered with a grant only to the owner",
    "ends_by_id": "settle ends the intents that it names, if they are the head's",
    # a write that may still commit
    "recorded": "a write is recorded with the time until which it may commit",
    "grace": "a write leaves within the grace of its record, or not at all",
    "unknown_holds": "a lane whose write may still commit is not granted",
    "unknown_keeps_locks": "claim keeps the locks of a lane that it finds held by such a write",
    "postponed_keeps_locks": "a postponement after an unknown write keeps the locks",
    "postponed_until_commit": "a postponement after an unknown write ends after the write can commit",
    "lock_until_commit": "a recorded write holds the locks until it can no longer commit",
    "journal_stays": "a postponement keeps the journal",
    "window_from_commit": "the settle window counts from when the create could no longer commit",
    "bury_only_answered": "a head is not buried while a write is open that was not answered",
    "bury_not_journaled": "a head that the journal names is not buried",
    "dirty": "facts of a holder that did not settle cleanly are not used",
    "dirty_stays": "an ending that stores no entry under an unclean grant leaves the dirt",
    # external ids
    "ext_locked": "an external id is locked by one lane at a time",
    "ext_checked": "checkpoint looks whether every lock is still the lane's",
    "ext_waiter_woken": "a released external id makes a waiting lane ready",
    "parked_wakes_next": "a lane that is parked wakes the next waiter of what it wanted",
    "one_waiter": "a release wakes one waiter",
    "waiters_in_order": "a waiter keeps its first order number until it is granted",
    "first_waits_less": "the first waiter looks again when the lock ends, not at the backstop",
    "further_ext_kept": "a further external id that was busy is named in the head",
    "versions_grow": "versions are stored by settle, and the larger wins",
    # changes of address
    "marker_with_change": "the change and its marker are appended by one script",
    "marker_first": "a change is granted when its marker is at the head of the target",
    "marker_wakes": "a marker that comes to the head makes the change's lane ready",
    "marker_ends": "a change that ends removes its marker",
    "marker_buried": "a change that is buried removes its marker",
    "marker_withdrawn": "a change that is withdrawn removes its marker",
    "marker_replayed": "a replayed change gets a new marker",
    "arrival_read": "a change after an unknown write is refused only after the contact was read by id",
    "pointer_buried": "a change buried unserved leaves the contact as a pointer in the target's entry",
    # batches
    "batch_before_marker": "a batch ends before a marker",
    "batch_known_schema": "a batch ends before a payload that is too new",
    "newer_waits": "a head that is too new for the worker waits",
    "folds_alike": "only intents with one external id fold",
    # letters, withdrawals
    "replay_by_burial": "a replay names the burial that it ends",
    "replay_not_behind_erasure": "nothing is replayed behind an erasure",
    "withdraw_unserved": "an intent that was in a batch cannot be withdrawn",
    "withdraw_not_replayed": "a replayed letter cannot be withdrawn",
    # where lanes stand
    "only_empty_placed": "submit places a lane only if it was empty",
    "hot_counted": "a lane with a waiting interactive intent is interactive",
    "eighth_pop": "every eighth pop takes a bulk lane first",
    "eighth_pop_always": "the eighth pop takes a bulk lane whatever the level of the bucket",
    "zero_delay_ready": "a postponement without delay makes the lane ready",
    # leases and kills
    "lease_due": "a granted lane is due at the end of its lease",
    "lease_living_stays": "a tick ends no lease that has not run out",
    "renewed_by_owner": "a tick renews the leases of their owners only",
    "renewed": "a tick renews leases",
    "due_made_ready": "a lane that is due becomes ready",
    "one_mover": "one engine at a time moves lanes",
    "shut_moves_leases_only": "while nothing is granted only leases that ran out are ended",
    "kill_charged": "the head of a lease that ran out gets a kill",
    "living_not_charged": "no kill is charged if the holder's process ticked after the lease's middle",
    "outage_not_charged": "no lease is ended in the first moments after nobody ticked",
    "epoch_not_charged": "no kill is charged while an epoch begins",
    "stopping_ticks": "a process that stops ticks until its last lane is released",
    "suspects_apart": "a head with a kill is granted as a suspect",
    "suspect_batch_alone": "a head with two kills is alone in its batch",
    "suspect_engine_alone": "a head with two kills is the engine's only suspect",
    "last_chance_unwritten": "a head with all kills is buried, or only reconciled",
    "jobs_by_fence": "an engine keeps its jobs by lane and fence",
    "deadline_from_send": "the own deadline counts from before the first send of the claim",
    "lapse_is_final": "an own deadline that has passed is not moved by a renewal",
    "hold_refuses_more": "a lane that was held for the maximum hold is released",
    "hold_ends_renewal": "an engine stops renewing a lease at the maximum hold",
    # wake-ups
    "wake_credit": "at most so many wake-ups are under way",
    "wake_heals": "the credit of lost wake-ups comes back",
    # breaker, bucket, epoch
    "breaker_gates": "nothing is granted while the breaker is open or paused",
    "refused_opens": "a refused token opens the breaker at once",
    "probe_pauses": "between two probes is a pause that doubles",
    "half_open": "a probe that succeeds makes the breaker half open, not closed",
    "half_one_lane": "while half open one lane is granted at a time",
    "half_by_sort": "only an answered call of the sort that failed closes a half-open breaker",
    "half_pause_doubles": "a failure while half open goes on with the doubled pause",
    "more_gated": "`more` is granted only where claim would grant",
    "bulk_stops": "bulk intents that are rejected alike stop their class",
    "bulk_one_trial": "while bulk intents are stopped one of their lanes is granted at a time",
    "bulk_trial_waits": "a trial that is rejected is followed by a pause",
    "bucket_small": "the bucket holds a small share of the quota",
    "throttle": "nothing is given before the end of a 429's wait",
    "hand_expires": "a call in hand is dropped when it is too old",
    "probes_pay": "a probe is a call of the bucket",
    "epoch": "another server begins an epoch",
    "epoch_holds": "in a new epoch nothing is granted for the hold",
    "epoch_in_more": "settle and bury look at the server before `more`",
    "epoch_of_empty": "an emptied Redis begins an epoch, whoever sees it first",
    "epoch_window": "the settle window of an epoch begins when lost writes can no longer commit",
    "epoch_facts": "facts of an older epoch give identity only",
    "epoch_check": "a guarded create in the first settle window of an epoch owes a settle check",
    "foreign_noted": "a write to a contact that lives elsewhere outdates that lane's facts",
    # the workspace's secret
    "no_workspace": "nothing is written where `meta` is missing",
    "rekeyed": "nothing is done for a caller with another secret",
}


class Rules:
    """Every rule is an attribute: True if it holds."""

    __slots__ = tuple(RULES)

    def __init__(self, *off: str) -> None:
        unknown = set(off) - RULES.keys()
        if unknown:
            raise ValueError(f"no such rule: {', '.join(sorted(unknown))}")
        for name in RULES:
            setattr(self, name, name not in off)

    def __getattr__(self, name: str) -> bool:  # for the type checker: slots hold them all
        raise AttributeError(name)


ALL: Final = Rules()
