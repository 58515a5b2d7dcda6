"""The scripts of producers and operators: submit, withdraw, replay, discard, revise."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from onelane_worker.lanes.types import Replayed

from .ending import Ending
from .state import Dedupe, Intent, Lane


class Submitted(NamedTuple):
    """The answer of submit: the word, the intent's id or which limit, and whether to send a wake-up."""

    word: Literal["accepted", "duplicate", "mismatch", "lane_full", "queue_full"]
    detail: str
    wake: bool = False


class Submitting(Ending):
    """What producers and operators call."""

    def submit(
        self,
        id: str,
        lane: str,
        *,
        bulk: bool,
        kind: str,
        payload: Any,
        schema: int = 1,
        content: str = "",
        dedupe: str = "",
        ext: str = "",
        target: str = "",
        erases: bool = False,
        lane_max: int = 10_000,
        queue_max: int = 1_000_000,
        wake_max: int = 64,
    ) -> Submitted:
        """Accept an intent once."""
        state = self.state
        if id in state.intents:
            return Submitted("accepted", id)
        known = state.dedupe.get(dedupe)
        if known is not None and not 0 < known.until <= self.now:
            return Submitted("duplicate" if known.content == content else "mismatch", known.id)
        lanes = [self.lane(lane)] + ([self.lane(target)] if target else [])
        if any(len(one.queue) >= lane_max for one in lanes):
            return Submitted("lane_full", str(lane_max))
        if state.pending >= queue_max:
            return Submitted("queue_full", str(queue_max))
        intent = Intent(id, lane, kind, payload, schema, bulk, self.now)
        intent.content, intent.dedupe, intent.ext = content, dedupe, ext
        intent.target, intent.erases = target, erases
        state.intents[id] = intent
        if dedupe:
            state.dedupe[dedupe] = Dedupe(id, content)
        return Submitted("accepted", id, self._append_intent(intent, self.rules.marker_with_change, wake_max))

    def append_marker(self, id: str) -> None:
        """Of the mutant that appends the marker in a script of its own."""
        intent = self.state.intents.get(id)
        if intent is not None and intent.state == "waiting":
            self._append(self.lane(intent.target), f"~{id}", intent)

    def _append_intent(self, intent: Intent, with_marker: bool, wake_max: int) -> bool:
        """Returns whether a wake-up is to be sent."""
        self.state.pending += 1
        became_ready = self._append(self.lane(intent.lane), intent.id, intent)
        if intent.target and with_marker:
            became_ready = self._append(self.lane(intent.target), f"~{intent.id}", intent) or became_ready
        if not became_ready:
            return False
        if self.rules.wake_credit:
            if self.state.tokens >= wake_max:
                return False
            self.state.tokens += 1
        return True

    def _append(self, lane: Lane, element: str, intent: Intent) -> bool:
        """Returns whether the lane became ready."""
        state, was_empty = self.state, not lane.queue
        lane.queue.append(element)
        lane.hot += not intent.bulk
        lane.erasing += intent.erases and element == intent.id
        if lane.token is not None:
            return False
        if was_empty and (self.rules.only_empty_placed or lane.name not in state.due):
            self.place(lane)
            return self.ready_class(lane.name) is not None
        if lane.yields and lane.name in state.due:
            lane.yields = False
            self.make_ready(lane)
            return True
        if self.ready_class(lane.name) == "bulk" and self.rules.hot_counted:
            self.make_ready(lane)
        return False

    def withdraw(self, intent_id: str, outcome: Any) -> str:
        """End an intent that no grant has ever held."""
        intent = self.state.intents.get(intent_id)
        if intent is None or intent_id not in self.lane(intent.lane).queue:
            return "gone"
        lane = self.lane(intent.lane)
        index = lane.queue.index(intent_id)
        held = lane.served if self.rules.withdraw_unserved else lane.batch if lane.token is not None else 0
        if index < held or (intent.burials and self.rules.withdraw_not_replayed):
            return "busy"
        self.take_out(lane, intent_id, "done", outcome, withdrawn=True)
        self.forget_later(intent_id)
        self.place_again(lane, index == 0)
        if index == 0:
            for digest in intent.exts:
                if self.ext(digest).waiting.pop(lane.name, None) is not None:
                    self.wake_waiter(digest, though_held=True)  # the next one becomes the first
        return "ok"

    def replay(self, intent_id: str, burials: int, *, whole: bool, timeline: str | None = None) -> Replayed:
        """Put a dead letter at the end of its lane."""
        intent = self.state.intents.get(intent_id)
        if intent is None or (intent.burials != burials and self.rules.replay_by_burial):
            return Replayed("gone")
        if intent.state != "dead":
            return Replayed("accepted" if intent.replayed == burials else "gone")
        lane = self.lane(intent.lane)
        if lane.erasing and self.rules.replay_not_behind_erasure:
            return Replayed("erasing")
        lanes = [lane] + ([self.lane(intent.target)] if intent.target else [])
        if any(len(one.queue) >= self.settings.lane_max for one in lanes):
            return Replayed("lane_full")
        if self.state.pending >= self.settings.queue_max:
            return Replayed("queue_full")
        intent.state, intent.outcome, intent.ended, intent.error = "waiting", None, 0, None
        intent.attempts = intent.kills = intent.next = 0
        intent.again, intent.whole, intent.replayed = self.now, whole, burials
        self._forget_letter(intent)
        if own := self.own_dedupe(intent):
            self.state.dedupe[intent.dedupe] = own._replace(until=0)
        self.add_timeline(lane, [timeline] if timeline else [])
        return Replayed(
            "accepted", self._append_intent(intent, self.rules.marker_replayed, self.settings.wake_max)
        )

    def discard(self, intent_id: str, burials: int, outcome: Any, *, timeline: str | None = None) -> bool:
        """Give a dead letter up."""
        intent = self.state.intents.get(intent_id)
        if intent is None or intent.burials != burials:
            return False
        if intent.state != "dead":
            return intent.given_up == burials
        intent.state, intent.outcome, intent.given_up = "done", outcome, burials
        self.forget_later(intent_id)
        self.end_dedupe(intent)
        self._forget_letter(intent)
        self.add_timeline(self.lane(intent.lane), [timeline] if timeline else [])
        return True

    def _forget_letter(self, intent: Intent) -> None:
        state = self.state
        state.dead.pop(intent.id, None)
        letters = state.letters.get(intent.lane, set())
        letters.discard(intent.id)
        if not letters:
            state.letters.pop(intent.lane, None)

    def revise(self, lane: str, old: Any, new: Any) -> bool:
        """Compare and set a registry entry, without a lease."""
        known = self.lane(lane)
        if self.entry_of(known) is None or known.registry != old:
            return False
        known.registry = new
        return True

    def lanes_knowing(self, contact: str) -> tuple[str, ...]:
        """The lanes that know this contact from elsewhere."""
        known = self.state.contacts.get(contact)
        return tuple(sorted(known.knows)) if known is not None and known.until > self.now else ()
