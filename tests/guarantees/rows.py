"""The promises, row by row, and for each a mistake in the product that breaks it."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from tests.faults import Fault, item, lua, lua_call, python

from .row import Row, broken

_ENGINE, _PLANNER = "onelane_worker.engine", "onelane_worker.planner"
_E, _L, _P, _S = "tests/unit/engine", "tests/unit/lanes", "tests/unit/planner", "tests/unit/sdk"


def _nothing(*_: Any, **__: Any) -> Any:
    return None


async def _no_call(*_: Any, **__: Any) -> bool:
    return False


def _gives(value: Any) -> Any:
    return lambda _: lambda *_, **__: value


def _adopting(old: Any) -> Any:
    from msgspec.structs import replace

    return lambda desired, know, policy: old(desired, know, replace(policy, other_external_id="adopt"))


def _resubscribing(old: Any) -> Any:
    from onelane.intents import ContactSync
    from onelane_worker.planner.registry import ALL_MAIL, ConsentWord

    def spoken(accepted: Any, types: Any) -> Any:
        if not isinstance(accepted.intent, ContactSync):
            return old(accepted, types)
        return {ALL_MAIL: ConsentWord(opted_in=True, at_ms=accepted.acted_ms, by=accepted.id)}

    return spoken


def _always_counted(old: Any) -> Any:
    return lambda end, attempt, back: old(end, attempt, dataclasses.replace(back, counted=True))


def _memory_of_nothing(old: Any) -> Any:
    from onelane_worker.planner.registry import ConsentMemory

    def memory_of(stored: Any) -> Any:
        try:
            return old(stored)
        except ValueError:
            return ConsentMemory()

    return memory_of


def _not_owed(_: Any) -> Any:
    from onelane_worker.lanes.types import KEEP

    return lambda *_: KEEP


def _without_doubt(_: Any) -> Any:
    from msgspec.structs import replace

    return lambda know: know if know.search_ms is None else replace(know, journal=None)


def _unkeyed(_: Any) -> Any:
    return lambda _, __, text: hashlib.sha256(text.encode()).hexdigest()[:32]


ROWS = (
    Row(
        "Nothing accepted is dropped",
        (
            broken(
                f"{_L}/test_steps.py::test_a_postponed_head_stays_and_says_why",
                "a lane that was put back is forgotten",
                lua(
                    "park",
                    "local function park(lane, at)\n  unready(lane)\n  redis.call('ZREM', DUE, lane)\nend",
                ),
            ),
            broken(
                f"{_L}/test_letters.py::test_a_dead_letter_is_kept_whole",
                "a dead letter loses what it said",
                lua_call("bury", "HINCRBY", "if a[2] == 'burials' then call('HDEL', a[1], 'payload') end"),
            ),
        ),
    ),
    Row(
        "Sent again is not stored again",
        (
            broken(
                f"{_S}/test_faults.py::TestFaults::test_a_lost_reply_in_a_batch_stores_each_once",
                "an intent whose receipt was lost is stored once more",
                lua_call("submit", "EXISTS", "return 0"),
            ),
            broken(
                f"{_L}/test_submit.py::test_a_known_dedupe_key_stores_nothing",
                "dedupe keys are not looked at",
                lua_call("submit", "GET", "return false"),
            ),
            broken(
                f"{_S}/test_queue.py::TestWithdraw::test_its_record_and_its_dedupe_key_live_as_long_as_the_settings_say",
                "a dedupe key is free as soon as its intent has ended",
                lua_call(
                    "withdraw",
                    "PEXPIRE",
                    "if string.find(a[1], ':dedupe:', 1, true) then return call('DEL', a[1]) end",
                ),
            ),
        ),
    ),
    Row(
        "The queue is bounded",
        (
            broken(
                f"{_S}/test_queue.py::TestLimits::test_of_a_lane",
                "a lane takes any number of intents",
                lua("is_full", "local function is_full() return false end"),
            ),
            broken(
                f"{_S}/test_queue.py::TestLimits::test_of_all_lanes_together",
                "all lanes together take any number of intents",
                lua("waiting", "local function waiting() return 0 end"),
            ),
            broken(
                f"{_L}/test_claim.py::test_a_batch_has_a_longest_length",
                "a worker takes all that waits in a lane",
                lua("batch_size", "local function batch_size(_, _, waiting) return waiting end"),
            ),
        ),
    ),
    Row(
        "Order",
        (
            broken(
                f"{_E}/test_promises.py::TestOrder::test_intents_of_a_lane_end_in_their_order",
                "the newest intent goes first",
                lua_call("submit", "RPUSH", "return call('LPUSH', unpack(a))"),
            ),
        ),
    ),
    Row(
        "One worker at a time",
        (
            broken(
                f"{_L}/test_steps.py::test_a_holder_that_lost_the_lane_changes_nothing",
                "whoever had the lane may change it",
                lua("owns", "local function owns() return true end"),
            ),
            broken(
                f"{_L}/test_steps.py::test_a_step_that_was_answered_is_answered_alike_when_it_comes_again_much_later",
                "answers of steps are not remembered",
                lua(
                    "answered",
                    "local function answered()\n  if not owns(ARGV[2]) then return { 'fenced' } end\nend",
                ),
            ),
            broken(
                f"{_E}/test_lane.py::TestExternalIds::test_a_busy_one_is_waited_for_without_an_attempt",
                "two addresses may be at work on one external id",
                lua("held_until", "local function held_until() return nil end"),
            ),
        ),
    ),
    Row(
        "A claim is answered once",
        (
            broken(
                f"{_L}/test_claim.py::test_a_repeated_claim_is_told_what_is_still_its_own_and_nothing_new",
                "claims have no numbers",
                lua_call("claim", "HMGET", "if a[2] == 'number' then return { false, false } end"),
            ),
        ),
    ),
    Row(
        "Celery messages are hints",
        (
            broken(
                f"{_L}/test_submit.py::test_wake_ups_are_capped",
                "every lane that becomes ready sends a message",
                lua("wake", "local function wake(ready) return ready and 1 or 0 end"),
            ),
            broken(
                f"{_L}/test_submit.py::test_a_lane_that_waits_for_its_retry_is_not_made_ready_by_a_newcomer",
                "a newcomer does not wait for the time of the next attempt",
                lua(
                    "append",
                    (
                        "local function append(lane, element)\n"
                        "  redis.call('RPUSH', key('queue', lane), element)\n"
                        "  make_ready(lane)\n"
                        "  return true\n"
                        "end"
                    ),
                ),
            ),
        ),
    ),
    Row(
        "A change of address is in order on both sides",
        (
            broken(
                f"{_E}/test_email_change.py::TestMarkers::test_later_intents_wait_and_earlier_ones_do_not",
                "the lane of the new address does not wait for the change",
                lua_call("submit", "RPUSH", "if string.sub(a[2], 1, 1) == '~' then return 0 end"),
            ),
        ),
    ),
    Row(
        "Waiters for an external id come in order",
        (
            broken(
                f"{_L}/test_external_ids.py::test_waiters_come_in_their_order_one_at_a_time",
                "all who wait go on at once",
                lua(
                    "wake_first_waiter",
                    (
                        "local function wake_first_waiter(ext)\n"
                        "  local all = redis.call('ZREVRANGE', key('wait', ext), 0, -1)\n"
                        "  for _, lane in ipairs(all) do make_ready(lane) end\n"
                        "end"
                    ),
                ),
            ),
        ),
    ),
    Row(
        "One contact per person",
        (
            broken(
                f"{_E}/test_lane.py::TestAtOnce::test_two_forms_within_the_lag_make_one_lead",
                "what was written is not remembered",
                lua("put_registry", "local function put_registry() end"),
            ),
            broken(
                f"{_P}/test_journal.py::TestLeads::test_one_that_was_made_is_adopted_as_created",
                "a search that shows nobody ends the doubt about a create",
                python(f"{_PLANNER}.absorb:_concluded", _without_doubt),
            ),
        ),
    ),
    Row(
        "Nobody else's account",
        (
            broken(
                f"{_P}/test_scenarios.py::test_S17_two_accounts_share_an_address",
                "any user of the address will do",
                python(f"{_PLANNER}.match:choose", _adopting),
            ),
        ),
    ),
    Row(
        "One queue, one workspace",
        (
            broken(
                f"{_E}/test_workspace_check.py::test_a_token_of_another_workspace_makes_no_call_and_ends_the_worker",
                "any token will do",
                python(f"{_ENGINE}.workspace_check:require_same", lambda _: _nothing),
            ),
        ),
    ),
    Row(
        "Several workspaces share one Redis",
        (
            broken(
                f"{_S}/test_workspaces.py::TestWorkspace::test_each_has_lanes_and_limits_of_its_own",
                "all workspaces have the same keys",
                python("onelane.keys:Keys.prefix", lambda _: property(lambda _: "{ol:main}:")),
            ),
        ),
    ),
    Row(
        "No lost update",
        (
            broken(
                f"{_P}/test_diff.py::TestDiffers::test_R48_nothing_is_skipped_without_facts",
                "what is not known counts as equal",
                python(
                    f"{_PLANNER}.diff:differs",
                    lambda old: lambda path, desired, facts: facts is not None and old(path, desired, facts),
                ),
            ),
            broken(
                f"{_E}/test_elsewhere.py::TestAtHome::test_nor_if_home_is_being_served",
                "home believes what was true before another address wrote",
                python(f"{_ENGINE}.external_ids:_checked", lambda _: lambda contact, *_: contact),
            ),
            broken(
                f"{_E}/test_elsewhere.py::TestFromAfar::test_what_home_writes_is_no_secret_either",
                "what is known of a contact of another address is believed",
                python(f"{_PLANNER}.knowledge:_at_home", lambda _: lambda contact, _: contact),
            ),
        ),
    ),
    Row(
        "The newest picture of a source wins",
        (
            broken(
                f"{_P}/test_fold.py::TestVersions::test_R96_strictly_older_is_superseded",
                "an older version is applied after a newer one",
                python(f"{_PLANNER}.fold:_outdated", lambda _: _nothing),
            ),
            broken(
                f"{_E}/test_versions.py::TestTwoAddresses::test_an_older_one_is_superseded_without_a_call",
                "an external id forgets its versions",
                python(f"{_ENGINE}.codec:versions_of", _gives({})),
            ),
        ),
    ),
    Row(
        "Consent moves only by explicit word",
        (
            broken(
                f"{_P}/test_consent.py::TestFlag::test_R50_nobody_else_touches_it",
                "a sync subscribes the person again",
                python(f"{_PLANNER}.fold:_spoken", _resubscribing),
            ),
            broken(
                f"{_P}/test_fold.py::TestWords::test_R56_a_replayed_old_opt_in_is_superseded",
                "an old word is not overruled by a newer one",
                python(f"{_PLANNER}.fold:_overruled", lambda _: _nothing),
            ),
            broken(
                f"{_P}/test_scenarios.py::test_S28_an_opt_out_of_somebody_not_visible_is_remembered",
                "an opt out of somebody not visible is forgotten",
                python(f"{_PLANNER}.request_body:_remembered_opt_outs", _gives({})),
            ),
        ),
    ),
    Row(
        "At once",
        (
            broken(
                f"{_E}/test_lane.py::TestAtOnce::test_a_newcomer_is_there_within_two_seconds",
                "a newcomer waits for the index",
                python(
                    f"{_PLANNER}.knowledge:Knowledge.gone_ms",
                    lambda _: property(lambda know: know.search_ms or 0),
                ),
            ),
            broken(
                f"{_E}/test_lane.py::TestCalls::test_what_is_so_already_costs_none",
                "nothing is ever taken for unchanged",
                python(f"{_PLANNER}.diff:same", _gives(False)),
            ),
        ),
    ),
    Row(
        "A duplicate made by another writer is found by the settle check",
        (
            broken(
                f"{_E}/test_promises.py::test_a_user_made_by_another_writer_gets_our_lead_a_settle_window_later",
                "nobody looks again",
                python(f"{_ENGINE}.settle:Endings._check_after", _not_owed),
            ),
        ),
    ),
    Row(
        "An erased person leaves digests only",
        (
            broken(
                f"{_E}/test_erasure.py::TestWhoGoes::test_lead_and_user",
                "only the first contact of the person is deleted",
                python(
                    f"{_PLANNER}.erasure:_is_the_person",
                    lambda old: lambda s, one: old(s, one) and not s.know.log.written,
                ),
            ),
            broken(
                f"{_E}/test_erasure.py::TestGone::test_merged_into_a_user_whom_the_index_hides",
                "who cannot be found counts as deleted",
                item(
                    f"{_PLANNER}.absorb:RULES",
                    f"{_PLANNER}.operations:Delete",
                    f"{_PLANNER}.operations:Gone",
                    new=f"{_PLANNER}.absorb_absence:deleted",
                ),
            ),
            broken(
                f"{_E}/test_erasure.py::TestTraces::test_the_lane_of_another_address_forgets_them",
                "lanes of other addresses go on knowing the person",
                python(f"{_PLANNER}.erasure:gone", _gives(())),
            ),
            broken(
                f"{_E}/test_kept.py::TestErasure::test_nor_can_the_address_be_guessed_by_hashing_it",
                "digests have no key",
                python("onelane.workspace:Workspace._digest", _unkeyed),
            ),
        ),
    ),
    Row(
        "Bulk that changes nothing leaves little",
        (
            broken(
                f"{_E}/test_kept.py::TestNoOps::test_a_bulk_intent_that_changed_nothing_leaves_an_hour_of_receipt",
                "a bulk intent that changed nothing is kept like any other",
                python(f"{_ENGINE}.timeline:leaves_no_trace", _gives(False)),
            ),
        ),
    ),
    Row(
        "Addresses stay inside",
        (
            broken(
                f"{_E}/test_promises.py::test_no_address_is_seen_outside",
                "addresses are not masked",
                python("onelane.display:mask", lambda _: lambda text: text),
            ),
        ),
    ),
    Row(
        "Record before write",
        (
            broken(
                f"{_L}/test_steps.py::test_an_unknown_write_holds_its_lane_until_it_can_no_longer_commit",
                "the lane goes on at once after a write without an answer",
                lua_call(
                    "postpone",
                    "HMGET",
                    "if a[2] == 'commit' then return { false, call('HGET', a[1], 'seen') } end",
                ),
            ),
        ),
    ),
    Row(
        "A dead worker is followed within a lease and four seconds",
        (
            broken(
                f"{_E}/test_promises.py::TestDeadWorker::test_another_one_goes_on_within_a_lease_and_some_seconds",
                "nobody looks after the lanes of the dead",
                lua_call("claim", "ZADD", "if a[1] == KEYS[1] .. 'due' then return 0 end"),
            ),
            broken(
                f"{_E}/test_promises.py::TestDeadWorker::test_with_a_write_in_flight_when_that_can_no_longer_commit",
                "its write may be overtaken",
                lua_call(
                    "claim",
                    "HMGET",
                    "if a[2] == 'commit' then local r = call('HMGET', unpack(a)) r[1] = false return r end",
                ),
            ),
        ),
    ),
    Row(
        "Poison ends",
        (
            broken(
                f"{_E}/test_promises.py::TestPoison::test_what_kills_its_engine_again_and_again_is_a_dead_letter",
                "it is tried for ever",
                python(f"{_ENGINE}.lane:_LaneJob._hopeless", lambda _: _nothing),
            ),
            broken(
                f"{_L}/test_tick.py::test_a_living_holder_is_not_charged_for_a_lane_that_it_lost",
                "a kill is charged to a living process",
                lua("is_alive", "local function is_alive() return false end"),
            ),
            broken(
                f"{_L}/test_claim.py::test_a_head_with_two_kills_comes_alone_and_nobody_passes_it",
                "suspects come together",
                lua("kills_of", "local function kills_of() return 0 end"),
            ),
        ),
    ),
    Row(
        "What Redis does costs no intent anything",
        (
            broken(
                f"{_E}/test_unreadable.py::test_what_only_a_newer_worker_can_read_is_left_to_it",
                "consent that cannot be read is forgotten",
                python(f"{_ENGINE}.codec:memory_of", _memory_of_nothing),
            ),
        ),
    ),
    Row(
        "An outage makes no dead letters",
        (
            broken(
                f"{_E}/test_outage.py::test_six_hours",
                "the breaker is told nothing",
                python(f"{_ENGINE}.circuit_breaker:CircuitBreaker.tell", lambda _: _no_call),
            ),
            broken(
                f"{_E}/test_outage.py::test_a_storm_of_429_burns_nothing",
                "every wait costs an attempt",
                python(f"{_ENGINE}.settle:Endings.postpone", _always_counted),
            ),
        ),
    ),
    Row(
        "A half-open breaker lets one lane through",
        (
            broken(
                f"{_L}/test_breaker.py::test_half_open_lets_one_lane_at_a_time_through",
                "a half open breaker lets everybody through",
                lua("is_tried", "local function is_tried() return false end"),
            ),
            broken(
                f"{_L}/test_breaker.py::test_one_engine_probes_after_1_2_4_seconds_and_so_on",
                "nobody probes",
                lua("probes", "local function probes() return 0 end"),
            ),
        ),
    ),
    Row(
        "Calls are spread evenly",
        (
            broken(
                f"{_L}/test_breaker.py::test_the_bucket_refills_evenly_and_holds_little",
                "the bucket is always full",
                lua(
                    "load_bucket",
                    "local function load_bucket()\n  bucket.level, bucket.muted_until = bucket.most, 0\nend",
                ),
            ),
        ),
    ),
    Row(
        "A bad import fills no dead letters",
        (
            broken(
                f"{_E}/test_bulk_breaker.py::TestARenamedAttribute::test_fills_no_dead_letters_and_goes_on_by_itself_once_it_is_mended",
                "every bulk intent is rejected on its own",
                python(f"{_ENGINE}.circuit_breaker:CircuitBreaker.rejected_bulk", lambda _: _no_call),
            ),
        ),
    ),
    Row(
        "A Redis that may have lost a moment is not believed",
        (
            broken(
                f"{_E}/test_epoch.py::test_nothing_is_granted_for_a_hold",
                "there is no hold",
                lua("in_hold", "local function in_hold() return false end"),
            ),
            broken(
                f"{_E}/test_epoch.py::test_facts_from_before_are_not_believed",
                "facts from before are used to skip writes",
                python(f"{_PLANNER}.knowledge:_with_young_facts", lambda _: lambda contact, _: contact),
            ),
            broken(
                f"{_E}/test_epoch.py::test_a_lead_is_not_created_on_a_first_miss",
                "a search that shows nobody is proof enough",
                python(f"{_PLANNER}.knowledge:Knowledge.gone_ms", lambda _: property(lambda _: None)),
            ),
        ),
    ),
    Row(
        "A replay undoes nothing",
        (
            broken(
                f"{_E}/test_replay.py::test_what_was_written_since_is_left_out",
                "a dead letter comes back with everything it had",
                python(f"{_PLANNER}.replay:left_out", _gives(frozenset())),
            ),
            broken(
                f"{_E}/test_erasure.py::test_no_dead_letter_from_before_comes_back_behind_it",
                "a dead letter comes back behind an erasure",
                lua_call("replay", "HEXISTS", "return 0"),
            ),
        ),
    ),
    Row(
        "Restarts and upgrades lose nothing",
        (
            broken(
                f"{_E}/test_stopping.py::test_what_takes_longer_than_the_grace_is_handed_back",
                "nothing is handed back",
                python(f"{_ENGINE}.shutdown:Shutdown.overdue", lambda _: property(lambda _: False)),
            ),
            broken(
                f"{_L}/test_claim.py::test_a_head_of_a_newer_schema_waits_for_a_newer_worker",
                "a worker takes what only newer ones can read",
                lua("obstacle", "local function obstacle() return nil end"),
            ),
        ),
    ),
)
FAULTS: dict[str, Fault] = {fault.name: fault for row in ROWS for fault in row.faults}
