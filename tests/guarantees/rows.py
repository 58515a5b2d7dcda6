"""The promises, row by row, and for each at least one mistake in the product that breaks it and nothing else.

What is to be replaced is kept short, so that it goes on being found while the code around it changes.
"""

from __future__ import annotations

from .row import Row, broken

_SCRIPTS = "worker/onelane_worker/lanes/scripts"
_CLAIM, _COMMON, _SETTLE = f"{_SCRIPTS}/claim.lua", f"{_SCRIPTS}/_common.lua", f"{_SCRIPTS}/settle.lua"
_SUBMIT = "producers/onelane/scripts/submit.lua"
_TURN, _ENDING, _PERFORMER = (
    "worker/onelane_worker/turn.py",
    "worker/onelane_worker/ending.py",
    "worker/onelane_worker/performer.py",
)
_RETURNING, _PAYLOADS = "worker/onelane_worker/returning.py", "worker/onelane_worker/payloads.py"
_PLANNER = "worker/onelane_worker/planner"
_WORKSPACE = "worker/onelane_worker/workspace.py"

QUEUE = (
    Row(
        "Nothing accepted is dropped",
        (
            broken(
                "tests/lanes/test_postpone.py::test_the_head_waits_for_its_next_attempt",
                "an intent that was put back is forgotten",
                (
                    f"{_SCRIPTS}/postpone.lua",
                    "redis.call('ZADD', due, text(due_at), lane)",
                    "redis.call('ZREM', due, lane)",
                ),
            ),
            broken(
                "tests/lanes/test_settle.py::test_ids_that_are_not_the_head_end_nothing",
                "a settle ends whatever stands at the head",
                (_SETTLE, "if heads[i] ~= ARGV[FIRST + 3 * (i - 1)] then", "if not heads[i] then"),
            ),
            broken(
                "tests/lanes/test_bury.py::test_a_dead_letter_is_kept_whole",
                "a dead letter is kept for a minute only",
                (
                    f"{_SCRIPTS}/bury.lua",
                    "redis.call('HSET', intents .. id, 'error', ARGV[13])",
                    "redis.call('HSET', intents .. id, 'error', ARGV[13])\n"
                    "redis.call('PEXPIRE', intents .. id, 60000)",
                ),
            ),
        ),
    ),
    Row(
        "Sent again is not stored again",
        (
            broken(
                "tests/producers/test_faults.py::TestFaults::test_a_lost_reply_in_a_batch_stores_each_once",
                "an intent whose receipt was lost is stored once more",
                (_SUBMIT, "if redis.call('EXISTS', intent) == 1 then", "if false then"),
            ),
            broken(
                "tests/lanes/test_submit.py::test_a_known_dedupe_key_with_equal_content_is_a_duplicate",
                "dedupe keys are not looked at",
                (_SUBMIT, "  if known then\n", "  if false then\n"),
            ),
            broken(
                "tests/lanes/test_submit.py::test_a_dedupe_key_outlives_its_intent_for_a_while",
                "a dedupe key is free as soon as its intent has ended",
                (
                    _COMMON,
                    "redis.call('PEXPIRE', KEYS[11] .. known[2], dedupe_ms)",
                    "redis.call('DEL', KEYS[11] .. known[2])",
                ),
            ),
        ),
    ),
    Row(
        "The queue is bounded",
        (
            broken(
                "tests/producers/test_queue.py::TestLimits::test_of_a_lane",
                "a lane takes any number of intents",
                (_SUBMIT, "if redis.call('LLEN', queue) >= tonumber(ARGV[7]) then", "if false then"),
            ),
            broken(
                "tests/producers/test_queue.py::TestLimits::test_of_all_lanes_together",
                "all lanes together take any number of intents",
                (_SUBMIT, "'pending') or '0') >= tonumber(ARGV[8]) then", "'pending') or '0') < 0 then"),
            ),
            broken(
                "tests/lanes/test_claim.py::test_a_batch_is_no_larger_than_allowed",
                "a worker takes all that waits in a lane into its memory",
                (
                    _COMMON,
                    "redis.call('LRANGE', queue_key, 0, most - 1)",
                    "redis.call('LRANGE', queue_key, 0, -1)",
                ),
                (_COMMON, "if position == most then", "if false then"),
            ),
        ),
    ),
)

ORDER = (
    Row(
        "Order",
        (
            broken(
                "tests/turn/test_turn.py::TestTurnsAreHints::test_intents_behind_the_head_are_served_in_order_by_one_turn",
                "the newest intent goes first",
                (_SUBMIT, "redis.call('RPUSH', queue, id)", "redis.call('LPUSH', queue, id)"),
            ),
            broken(
                "tests/turn/test_breaker.py::TestOpening::test_failures_of_one_lane_are_not_everybodys",
                "one failing person stops the line for everybody",
                (f"{_SCRIPTS}/breaker_tell.lua", " and lanes >= tonumber(ARGV[4])", ""),
            ),
        ),
    ),
    Row(
        "One worker at a time",
        (
            broken(
                "tests/lanes/test_claim.py::test_a_living_lease_is_not_broken",
                "whoever comes gets the lane",
                (_CLAIM, "if l[1] and until_ms > now then", "if false then"),
            ),
            broken(
                "tests/turn/test_turn.py::TestExternalIds::test_busy_external_id_puts_back_without_an_attempt",
                "two addresses may be at work on one external id",
                (f"{_SCRIPTS}/leaf_take.lua", "not same and tonumber(held[3]) > now", "false"),
            ),
        ),
    ),
    Row(
        "Celery messages are hints",
        (
            broken(
                "tests/turn/test_promises.py::TestMessages::test_a_lost_one_costs_seconds",
                "a lost message is never replaced",
                (f"{_SCRIPTS}/due.lua", "ipairs({ 'interactive', 'bulk' })", "ipairs({})"),
            ),
            broken(
                "tests/turn/test_promises.py::TestMessages::test_doubled_and_late_ones_change_nothing",
                "an intent is served again by every message that comes",
                (_COMMON, "  redis.call('LREM', queue_key, 1, id)\n", ""),
            ),
            broken(
                "tests/lanes/test_claim.py::test_a_retry_has_its_time",
                "a late message does not wait for the time of the next attempt",
                (_CLAIM, "if due_at > now then", "if false then"),
            ),
        ),
    ),
    Row(
        "A change of address is in order on both sides",
        (
            broken(
                "tests/turn/test_email_change.py::TestGates::test_later_intents_wait_and_earlier_ones_do_not",
                "the lane of the new address does not wait for the change",
                ("producers/onelane/client.py", "for gate in gates if gate is not None]", "for gate in []]"),
            ),
            broken(
                "tests/turn/test_promises.py::TestChanges::test_two_that_cross_never_wait_for_each_other",
                "changes that cross wait for each other",
                (_COMMON, "if id ~= head and redis.call('LREM'", "if false and redis.call('LREM'"),
            ),
        ),
    ),
)

PERSON = (
    Row(
        "One contact per person",
        (
            broken(
                "tests/turn/test_promises.py::TestOnePerson::test_two_forms_within_the_lag_make_one_lead",
                "what was written is not remembered",
                (_SETTLE, "put_key(KEYS[9], ARGV[8], ARGV[9])", ""),
            ),
            broken(
                "tests/unit/planner/test_journal.py::TestLeads::test_one_that_was_made_is_adopted_as_created",
                "a create whose answer was lost is sent again as soon as a search shows nobody",
                (
                    f"{_PLANNER}/absorb.py",
                    "if unread or know.search_ms < pending.open_until_ms + know.settle_window_ms:",
                    "if unread:",
                ),
            ),
        ),
    ),
    Row(
        "Nobody else's account",
        (
            broken(
                "tests/unit/planner/test_scenarios.py::test_S17_two_accounts_share_an_address",
                "any user of the address will do",
                (
                    f"{_PLANNER}/match.py",
                    'separate = desired.mode.claims_identity and policy.other_external_id != "adopt"',
                    "separate = False",
                ),
            ),
        ),
    ),
    Row(
        "One queue, one workspace",
        (
            broken(
                "tests/turn/test_workspace.py::test_a_token_of_another_workspace_writes_nothing",
                "any workspace's token will do",
                (_WORKSPACE, "raise OtherWorkspace(token, record)", "return"),
            ),
            broken(
                "tests/turn/test_workspace.py::test_nothing_is_written_while_nobody_knows_whose_token_it_is",
                "calls are made before the workspace of the token is known",
                (_WORKSPACE, "if unknown is not None:", "if False:"),
            ),
        ),
    ),
    Row(
        "No lost update",
        (
            broken(
                "tests/unit/planner/test_diff.py::TestDiffers::test_R48_nothing_is_skipped_without_facts",
                "what is not known counts as equal",
                (
                    f"{_PLANNER}/diff.py",
                    "if facts is None or not _is_known(path, facts):\n        return True",
                    "if facts is None or not _is_known(path, facts):\n        return False",
                ),
            ),
            broken(
                "tests/turn/test_turn.py::TestUnknownResults::test_old_value_after_an_unknown_and_buried_write_is_written",
                "facts outlive a write of unknown result",
                (_ENDING, "self._lease.now_ms()).without_facts()", "self._lease.now_ms())"),
                (_TURN, "if not grant.facts_usable or self._end.buried:", "if False:"),
            ),
            broken(
                "tests/turn/test_elsewhere.py::TestAtHome::test_nor_if_home_is_being_served",
                "home believes what was true before another address wrote",
                (
                    "worker/onelane_worker/elsewhere.py",
                    "if facts.as_of_ms <= outdated.get(contact_id, 0):",
                    "if False:",
                ),
            ),
            broken(
                "tests/turn/test_elsewhere.py::TestFromAfar::test_what_home_writes_is_no_secret_either",
                "what is known of a contact that lives at another address is believed again",
                (
                    f"{_PLANNER}/knowledge.py",
                    "return contact if contact.email == email else",
                    "return contact if True else",
                ),
            ),
        ),
    ),
    Row(
        "The newest picture of a source wins",
        (
            broken(
                "tests/unit/planner/test_fold.py::TestVersions::test_R96_strictly_older_is_superseded",
                "an older version is applied after a newer one",
                (
                    f"{_PLANNER}/fold.py",
                    "return known.by if intent.version < known.number else None",
                    "return None",
                ),
            ),
            broken(
                "tests/turn/test_versions.py::TestTwoAddresses::test_an_older_one_is_superseded_without_a_call",
                "another address does not know what its external id has seen",
                (
                    "worker/onelane_worker/leaf.py",
                    "self.versions = versions_of(leaf.versions)",
                    "self.versions = {}",
                ),
            ),
        ),
    ),
    Row(
        "Consent moves only by explicit word",
        (
            broken(
                "tests/unit/planner/test_consent.py::TestFlag::test_R50_nobody_else_touches_it",
                "a re-sync subscribes the person again",
                (
                    f"{_PLANNER}/fold.py",
                    "case NewsletterOptIn(lift_unsubscribe_all=True):",
                    "case NewsletterOptIn(lift_unsubscribe_all=True) | ContactSync():",
                ),
            ),
            broken(
                "tests/unit/planner/test_fold.py::TestWords::test_R56_a_replayed_old_opt_in_is_superseded",
                "an old word overrules a newer one",
                (f"{_PLANNER}/fold.py", "if c in known and word.at_ms < known[c].at_ms}", "if False}"),
            ),
            broken(
                "tests/unit/planner/test_scenarios.py::test_S28_an_opt_out_of_somebody_not_visible_is_remembered",
                "an opt-out of somebody who is not to be seen yet is forgotten",
                (f"{_PLANNER}/request_body.py", "if not w.opted_in and c not in desired.words}", "if False}"),
            ),
        ),
    ),
    Row(
        "At once",
        (
            broken(
                "tests/turn/test_promises.py::TestAtOnce::test_a_newcomer_is_there_when_the_turn_ends",
                "a newcomer waits until the index would show them",
                (
                    f"{_PLANNER}/knowledge.py",
                    "epoch = [] if self.epoch_ms is None",
                    "epoch = [self.search_ms or 0] if self.epoch_ms is None",
                ),
            ),
            broken(
                "tests/turn/test_turn.py::TestCalls::test_believed_no_op_costs_none",
                "nothing is ever taken for unchanged",
                (f"{_PLANNER}/diff.py", "if same(path, desired, fact):", "if False:"),
            ),
        ),
    ),
    Row(
        "Whom others made unseen is found later",
        (
            broken(
                "tests/turn/test_promises.py::TestUnseen::test_a_hidden_user_gets_our_lead_a_window_later",
                "nobody looks again",
                (_ENDING, "owed = self._policy.settle_check and", "owed = False and"),
            ),
            broken(
                "tests/turn/test_outage.py::test_a_settle_check_outlives_an_outage",
                "an outage uses up the looks",
                (_ENDING, 'tried = state != "parked"', "tried = True"),
            ),
        ),
    ),
    Row(
        "An erased person leaves digests only",
        (
            broken(
                "tests/turn/test_erasure.py::TestTraces::test_nothing_of_the_person_is_left",
                "dead letters, errors and history of the person stay",
                (_ENDING, "self._store.scrub(", "print("),
            ),
            broken(
                "tests/turn/test_kept.py::TestErasure::test_nothing_of_the_person_is_left",
                "the turn that erases writes down what it did before",
                ("worker/onelane_worker/history.py", "self.events.clear()", "pass"),
            ),
            broken(
                "tests/turn/test_erasure.py::TestWhoGoes::test_lead_and_user",
                "only the first contact of the person is deleted",
                (
                    f"{_PLANNER}/erasure.py",
                    "if _is_the_person(s, one)), None)",
                    "if _is_the_person(s, one) and not s.know.log.written), None)",
                ),
            ),
            broken(
                "tests/turn/test_erasure.py::TestGone::test_merged_into_a_user_whom_the_index_hides",
                "who cannot be found to be deleted counts as deleted",
                (
                    f"{_PLANNER}/absorb.py",
                    "op.Gone: absence.gone_before",
                    "op.Gone: absence.deleted",
                ),
            ),
            broken(
                "tests/turn/test_erasure.py::TestTraces::test_the_lane_of_another_address_forgets_them",
                "lanes of other addresses go on knowing the person",
                (_ENDING, "for contact_id in erasing.gone(know):", "for contact_id in ():"),
            ),
        ),
    ),
    Row(
        "Addresses stay inside",
        (
            broken(
                "tests/turn/test_promises.py::TestDiscretion::test_no_address_is_seen_outside",
                "Flower's rows show the address",
                (_ENDING, "who=intent.masked,", "who=intent.email,"),
            ),
            broken(
                "tests/producers/test_display.py::test_odd_local_parts_and_spellings_are_hidden_whole",
                "the mask takes an equals sign for the beginning of an address",
                ("producers/onelane/display.py", 'frozenset("<>,;:")', 'frozenset("<>,;:=")'),
            ),
            broken(
                "tests/turn/test_shown.py::test_a_log_line_names_nobody_and_steers_nothing",
                "the log repeats foreign words as they are",
                ("worker/onelane_worker/logs.py", "                _mask,\n", ""),
            ),
            broken(
                "tests/turn/test_history.py::test_a_failed_attempt_is_told_with_what_went_wrong",
                "the timeline repeats what somebody else's message says of the person",
                (
                    "worker/onelane_worker/history.py",
                    '"code": problem.code}',
                    '"code": problem.code, "message": problem.message}',
                ),
            ),
        ),
    ),
)

TROUBLE = (
    Row(
        "Record before write",
        (
            broken(
                "tests/turn/test_turn.py::TestRecordBeforeWrite::test_open_write_and_journal_stand_when_a_create_is_sent",
                "a write is sent without its record",
                (_PERFORMER, "open_write=_open_write(operation, record.intents),", "open_write=None,"),
            ),
            broken(
                "tests/lanes/test_claim.py::test_no_lease_begins_while_a_write_may_still_commit",
                "the lane goes on at once after a write without an answer",
                (_CLAIM, "if commit > now then", "if false then"),
            ),
        ),
    ),
    Row(
        "A dead worker is followed within a lease and a second",
        (
            broken(
                "tests/turn/test_promises.py::TestDeadWorker::test_another_one_goes_on_within_a_lease_and_a_second",
                "nobody looks after the lanes of the dead",
                (_COMMON, "  redis.call('ZADD', due, until_ms, lane)\n", ""),
            ),
            broken(
                "tests/turn/test_promises.py::TestDeadWorker::test_with_a_write_in_flight_when_that_can_no_longer_commit",
                "its write may be overtaken",
                (_CLAIM, "if commit > now then", "if false then"),
            ),
        ),
    ),
    Row(
        "Poison ends",
        (
            broken(
                "tests/turn/test_promises.py::TestPoison::test_what_kills_its_worker_three_times_is_a_dead_letter",
                "it is tried for ever",
                (_TURN, "if grant.kills >= timing.max_kills:", "if False:"),
            ),
            broken(
                "tests/turn/test_unanswered.py::test_it_is_a_dead_letter_after_its_chances",
                "a create without an answer is sent for ever",
                (_TURN, "op.Create() if (hopeless := self._hopeless())", "op.Create() if (hopeless := None)"),
            ),
            broken(
                "tests/turn/test_unanswered.py::test_made_by_the_last_try_it_is_adopted",
                "what may have been made is buried before anybody looks",
                (_TURN, "if grant.journal is None and (hopeless", "if (hopeless"),
            ),
            broken(
                "tests/turn/test_unanswered.py::test_it_costs_one_attempt_however_often_is_looked",
                "a create without an answer costs no attempt",
                (_ENDING, "count_attempt=counted or (attempt.costs", "count_attempt=counted or (False"),
            ),
            broken(
                "tests/lanes/test_bury.py::test_batch_mates_of_a_poison_intent_are_never_blamed",
                "whoever stands beside it is blamed, too",
                (
                    _CLAIM,
                    "if l[1] then redis.call('HINCRBY', head, 'kills', 1) end",
                    "if l[1] then for _, id in ipairs(redis.call('LRANGE', queue_key, 0, -1)) do "
                    "redis.call('HINCRBY', intents .. id, 'kills', 1) end end",
                ),
            ),
        ),
    ),
    Row(
        "What Redis does costs no intent anything",
        (
            broken(
                "tests/turn/test_redis_refuses.py::test_one_script_refused_three_times_costs_nothing",
                "a worker that lives is taken for dead when Redis has refused it",
                (
                    _RETURNING,
                    "answer = store.give_back(lane, token, delay_ms, error_json(problem))",
                    'answer = ""',
                ),
            ),
            broken(
                "tests/turn/test_redis_refuses.py::test_a_lane_that_another_took_over_is_not_charged",
                "a kill that was charged for a living worker stays",
                (
                    _CLAIM,
                    "if l[1] then redis.call('HSET', lane_key, 'blamed'",
                    "if false then redis.call('HSET', lane_key, 'blamed'",
                ),
            ),
            broken(
                "tests/turn/test_unreadable.py::test_what_only_a_newer_worker_can_read_is_left_to_it",
                "a memory that cannot be read is forgotten",
                (_PAYLOADS, 'raise Unreadable(f"{what}, {_place(error)}") from None', 'return parse("{}")'),
            ),
        ),
    ),
    Row(
        "Blame hits the guilty",
        (
            broken(
                "tests/turn/test_turn.py::TestBlame::test_poison_in_the_middle_of_a_fold",
                "when a fold is refused its head becomes the dead letter",
                (_TURN, "if len(attempt.wish.members) == 1:", "if attempt.wish.members:"),
            ),
        ),
    ),
    Row(
        "An outage makes no dead letters",
        (
            broken(
                "tests/turn/test_outage.py::TestSixHours::test_everything_is_applied_in_the_end",
                "the line never stops for failures",
                (
                    f"{_SCRIPTS}/breaker_tell.lua",
                    "then return stop() end\nreturn",
                    "then return { 'closed' } end\nreturn",
                ),
            ),
            broken(
                "tests/turn/test_outage.py::test_a_revoked_token_burns_nothing",
                "a stopped line costs an attempt each time",
                (
                    _TURN,
                    "counted=counted,\n            may_commit=may_commit,",
                    "counted=True,\n            may_commit=may_commit,",
                ),
            ),
            broken(
                "tests/turn/test_forbidden.py::TestReadsOnly::test_burns_nothing_and_all_is_applied_once_it_may_write",
                "a read that succeeds is taken for a sign that writes do",
                (
                    f"{_SCRIPTS}/breaker_tell.lua",
                    "if failing ~= 'reads' and failing ~= sort then",
                    "if false then",
                ),
                (
                    f"{_PLANNER}/retry_policy.py",
                    "else Denied(forbidden)",
                    'else GiveUp("forbidden", forbidden)',
                ),
            ),
            broken(
                "tests/turn/test_forbidden.py::TestFirewall::test_nothing_is_dead_and_all_is_applied",
                "a page of somebody else's is taken for a refusal of Intercom's",
                ("worker/onelane_worker/intercom/responses.py", "    _foreign,\n", ""),
            ),
            broken(
                "tests/turn/test_breaker.py::TestWhileOpen::test_its_attempts_are_not_held_against_an_intent",
                "what an outage took of an intent's attempts is missing afterwards",
                (_TURN, "problem, forgiven=True)", "problem)"),
            ),
            broken(
                "tests/turn/test_outage.py::test_a_storm_of_429_burns_nothing",
                "nobody tells the others of a 429",
                (_PERFORMER, "self._limiter.throttle(performed.reply.retry_in_s)", "pass"),
            ),
            broken(
                "tests/turn/test_turn.py::TestPutBack::test_waiting_and_stopping_cost_no_attempt",
                "a 429 costs an attempt",
                (
                    _TURN,
                    'return _Ended(self._end.postpone(attempt, delay_s, "retrying", problem, counted=False))',
                    'return _Ended(self._end.postpone(attempt, delay_s, "retrying", problem, counted=True))',
                ),
            ),
        ),
    ),
    Row(
        "A bad import fills no dead letters",
        (
            broken(
                "tests/turn/test_bulk.py::TestARenamedAttribute::test_fills_no_dead_letters_and_goes_on_by_itself_once_it_is_mended",
                "every bulk intent is rejected on its own",
                (_TURN, "if self._bulk.rejected(problem, error_json(problem)):", "if False:"),
            ),
            broken(
                "tests/turn/test_bulk.py::TestARenamedAttribute::test_a_sign_up_of_somebody_whose_sync_waits_is_not_held",
                "whoever comes behind a sync that waits, waits",
                (_TURN, "yields=self._bulk_gate.shut,", "yields=False,"),
            ),
        ),
    ),
    Row(
        "A Redis that may have lost a moment is not believed",
        (
            broken(
                "tests/turn/test_epoch.py::TestActing::test_facts_from_before_are_not_believed",
                "facts from before are used to skip writes",
                (f"{_PLANNER}/knowledge.py", "max(now_ms - life_ms, epoch_ms or 0)", "now_ms - life_ms"),
            ),
            broken(
                "tests/turn/test_epoch.py::TestActing::test_a_lead_is_not_created_on_a_first_miss",
                "a search that shows nobody is proof enough",
                (
                    f"{_PLANNER}/knowledge.py",
                    "epoch = [] if self.epoch_ms is None else [self.epoch_ms]",
                    "epoch: list[int] = []",
                ),
            ),
        ),
    ),
    Row(
        "A replay undoes nothing",
        (
            broken(
                "tests/turn/test_replay.py::test_what_was_written_since_is_left_out",
                "a dead letter comes back with everything it had",
                (f"{_PLANNER}/replay.py", "if count >= number)", "if False)"),
            ),
            broken(
                "tests/turn/test_replay.py::test_consent_that_was_taken_back_since_stays_so",
                "a replayed opt-in counts as spoken now",
                (f"{_PLANNER}/replay.py", '    data.setdefault("occurred_at", at)\n', ""),
            ),
            broken(
                "tests/turn/test_erasure.py::TestDeadLetters::test_none_from_before_comes_back_behind_it",
                "a dead letter goes to the tail, whatever waits before it",
                (f"{_SCRIPTS}/replay.lua", "if is_erasure(other) then return { 'erasing' } end", ""),
            ),
        ),
    ),
    Row(
        "Restarts and upgrades lose nothing",
        (
            broken(
                "tests/turn/test_stopping.py::test_the_wish_at_hand_is_ended_and_no_other_begun",
                "a worker that is to stop goes on with its lane",
                (_TURN, "and not self._deps.stop.asked", ""),
            ),
            broken(
                "tests/turn/test_stopping.py::test_a_wish_that_takes_too_long_is_handed_back",
                "nothing is handed back",
                (_TURN, "case _ if self._deps.stop.overdue:", "case _ if False:"),
            ),
            broken(
                "tests/lanes/test_claim.py::test_a_newer_payload_is_left_to_newer_workers",
                "a worker takes what only newer ones can read",
                (_CLAIM, "'schema') or '1') > schema then", "'schema') or '1') < 0 then"),
            ),
        ),
    ),
)

ROWS = (*QUEUE, *ORDER, *PERSON, *TROUBLE)
