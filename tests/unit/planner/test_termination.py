"""The planner comes to a verdict whatever Intercom answers, even nonsense: every answer teaches something."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from onelane_worker.planner import operations as op
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.fold import Accepted, Superseded, fold
from onelane_worker.planner.intent_rights import AnyIntent
from onelane_worker.planner.knowledge import Knowledge, recall
from onelane_worker.planner.planner import Finish, Reject, Retry, Skip, Wait, plan
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ConsentMemory, Facts, Journal, RegistryEntry
from onelane_worker.planner.retry_policy import Absorb, handle

from .play import ANN, START_MS
from .strategies import EXT, intents
from .test_laws import law

MOST = 40
"""Calls after which a turn puts a desired state back; nothing should need that."""
IDS = ("c1", "c2", "c3", "c4")
ids = st.sampled_from(IDS)
emails = st.sampled_from([ANN, ANN, "other@example.test", None])
external_ids = st.sampled_from([None, EXT, "u-2", "minted"])
roles = st.sampled_from(["lead", "user"])
problem = op.Problem("any")
policies = st.builds(
    Policy,
    other_external_id=st.sampled_from(["separate", "reject", "adopt"]),
    revive=st.sampled_from(["people", "always", "never"]),
    merge_leads=st.sampled_from(["own", "all", "off"]),
    form_fields_on_user=st.sampled_from(["overwrite", "fill", "keep"]),
    optout_creates=st.booleans(),
)


@st.composite
def contacts(draw: st.DrawFn, contact_id: str | None = None) -> op.Reply:
    shown = draw(
        st.sampled_from([{}, {"name": "a"}, {"unsubscribed_from_emails": True, "signed_up_at": None}])
    )
    return op.Found(
        Facts(
            id=contact_id or draw(ids),
            role=draw(roles),
            external_id=draw(external_ids),
            email=draw(emails),
            fields=shown,
            attributes_known=draw(st.booleans()),
            attached=draw(st.sampled_from([None, frozenset(), frozenset({"101", "102"})])),
            created_at=draw(st.sampled_from([None, START_MS // 1000 - 60, START_MS // 1000])),
        )
    )


candidates = st.builds(op.Candidate, ids, roles, external_ids, emails, st.sampled_from([None, 1, 2]))
gone = st.builds(op.Gone, st.none() | ids)
conflicts = st.builds(op.Conflict, st.none() | ids, st.booleans())
hopeless = st.builds(op.NotRestorable, st.sampled_from(["merged", "deleted", "blocked"]), st.just(problem))


def replies(operation: op.Operation) -> st.SearchStrategy[op.Reply]:
    """Anything that could be an answer to this question."""
    match operation:
        case op.Search():
            hits = st.lists(candidates, max_size=4).map(tuple)
            return st.builds(op.Listed, hits, st.just(START_MS))
        case op.FindByExternalId():
            return contacts() | st.just(op.Gone())
        case op.Read(contact_id):
            return contacts(contact_id) | contacts() | gone
        case op.Update(contact_id):
            return contacts(contact_id) | contacts() | gone | conflicts | hopeless
        case op.Create():
            return contacts() | conflicts | hopeless
        case op.Merge(user_id=user):
            return contacts(user) | gone | conflicts | st.just(op.Refused(problem))
        case op.ListTypes():
            return st.just(op.Types({"101": "opt_out", "102": "opt_in"}))
        case op.ListSubscriptions():
            return st.just(op.Subscriptions(frozenset({"101"}))) | gone
        case op.Unarchive():
            return st.builds(op.Done, external_ids) | gone | conflicts | hopeless
        case op.Detach():
            return st.just(op.Done()) | gone | st.just(op.NoResource())
    return st.just(op.Done()) | gone


@law(400)
@given(intents, policies, st.booleans(), st.booleans(), st.data())
def test_every_conversation_ends(
    intent: AnyIntent, policy: Policy, guarded: bool, pending: bool, data: st.DataObject
) -> None:
    accepted = Accepted("i1", intent, START_MS)
    desired = fold([accepted], ConsentMemory(), policy, START_MS)
    assert not isinstance(desired, Superseded)
    unknown = Journal(
        intents=("i0",),
        role="user" if guarded else "lead",
        external_id=EXT if guarded else None,
        body={},
        sent_ms=START_MS - 60_000,
        commit_until_ms=START_MS - 30_000,
    )
    know = recall(ANN, desired.external_id, RegistryEntry(), unknown if pending else None, policy, START_MS)
    asked: list[op.Operation] = []
    while not isinstance(step := plan(desired, know, ConsentMemory(), policy, START_MS), VERDICTS):
        asked.append(step)
        assert len(asked) <= MOST, asked
        know, taught = _answered(know, step, data)
        if not taught:
            return


VERDICTS = (Finish, Skip, Wait, Retry, Reject)


def _answered(know: Knowledge, operation: op.Operation, data: st.DataObject) -> tuple[Knowledge, bool]:
    reply: Any = data.draw(replies(operation))
    if not isinstance(handle(operation, reply), Absorb):
        return know, False
    taught = absorb(know, operation, reply, START_MS)
    assert taught != know, f"{reply} to {operation} taught nothing"
    return taught, True
