"""One lane as a page: read in two steps from Redis, told as a document, shown to a person.

The document is what `--json` prints; the page for people is made from it and from nothing else. No address
stands in it unmasked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _output as output
from onelane_worker.cli import _timeline as timeline

if TYPE_CHECKING:
    from redis import Redis

    from onelane_worker.lanes.model import LaneView

_POSTPONED = {
    "parked": "put back when the line was stopped",
    "reconciling": "the index may not show everybody yet",
}
SHOWN = 20
"""Waiting intents that are looked at one by one; of the rest the number is told."""


def lane_of(redis: Redis, given: str) -> str:
    """The lane that an id means: that of its intent, or itself."""
    from onelane.identity import lane_id, normalise_email

    from onelane import keyspace
    from onelane_worker.lanes.scripts import as_text

    found: Any = redis.hmget(keyspace.intent(given), "lane", "payload")
    lane, payload = as_text(found[0]), _loaded(as_text(found[1])) or {}
    if lane:
        return lane
    return lane_id(normalise_email(str(payload["email"]))) if "email" in payload else given


def read(redis: Redis, lane: str, who: str | None, line: dict[str, Any]) -> dict[str, Any] | None:
    """The document of a lane; None if nothing at all is known of it. `line`: how the whole of it stands."""
    from onelane_worker.lanes import views

    view = views.describe(redis, lane, SHOWN)
    seconds, micros = redis.time()
    waiting = _records(redis, view)
    events = timeline.read(redis, lane, waiting)
    known = (view.intents, view.holder, view.belief, view.memory, view.sent, view.due_ms, view.open_write)
    if not any(known) and not view.dirty and not events:
        return None
    who = who or _who(redis, view)
    return _document(view, waiting, who, line, seconds * 1000 + micros // 1000) | {
        "timeline": output.masked(events)
    }


def _who(redis: Redis, view: LaneView) -> str:
    """The address, masked, where only an id was given: from what waits, or from what is believed."""
    from onelane import keyspace
    from onelane_worker.lanes.scripts import as_text

    head: Any = redis.hget(keyspace.intent(view.intents[0].id), "payload") if view.intents else None
    known = (_loaded(view.belief) or {}).get("contacts", ())
    addresses = [(_loaded(as_text(head)) or {}).get("email"), *(one.get("email") for one in known)]
    return str(output.masked(next(filter(None, addresses), "an address")))


def _records(redis: Redis, view: LaneView) -> list[dict[str, Any]]:
    """Error and next attempt of the first that wait."""
    from onelane import keyspace, records

    pipe = redis.pipeline(transaction=False)
    for intent in view.intents:
        pipe.hgetall(keyspace.intent(intent.id))
    found = (
        records.status_of(one.id, fields) for one, fields in zip(view.intents, pipe.execute(), strict=True)
    )
    return [status.model_dump(mode="json") for status in found if status is not None]


def _document(
    view: LaneView, waiting: list[dict[str, Any]], who: str, line: dict[str, Any], now_ms: int
) -> dict[str, Any]:
    belief, memory, journal = (_loaded(text) for text in (view.belief, view.memory, view.journal))
    document: dict[str, Any] = {
        "lane": view.lane,
        "who": who,
        "line": line["state"],
        "now_ms": now_ms,
        "waiting": view.waiting,
        "intents": [_intent(status) for status in waiting],
        "holder": _holder(view, now_ms),
        "clean": not view.dirty,
        "due_ms": view.due_ms,
        "turn_sent": dict(view.sent),
        "open_write": _loaded(view.open_write),
        "commit_until_ms": view.commit_until_ms,
        "journal": journal,
        "contacts": [_contact(known, belief or {}, now_ms) for known in (belief or {}).get("contacts", ())],
        "tombstones": (belief or {}).get("tombstones", {}),
        "consent": (memory or {}).get("consent", {}),
        "versions": (memory or {}).get("versions", {}),
    }
    document["why"] = why(document)
    masked: dict[str, Any] = output.masked(document)
    return masked


def _intent(status: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "kind", "state", "attempts", "accepted_at", "next_attempt_at", "error")
    return {name: status[name] for name in names}


def _holder(view: LaneView, now_ms: int) -> dict[str, Any] | None:
    if view.holder is None:
        return None
    holder = view.holder
    return {"fence": holder.fence, "until_ms": holder.until_ms, "alive": holder.until_ms > now_ms}


def _contact(known: dict[str, Any], belief: dict[str, Any], now_ms: int) -> dict[str, Any]:
    facts = known.get("facts") or {}
    as_of_ms = facts.get("as_of_ms")
    return {
        "id": known.get("id"),
        "role": known.get("role"),
        "external_id": known.get("external_id"),
        "chosen": known.get("id") == belief.get("primary"),
        "confirmed": known.get("confirmed", True),
        "facts": facts.get("fields"),
        "facts_source": facts.get("source", "read") if facts else None,
        "facts_age_s": None if as_of_ms is None else (now_ms - as_of_ms) / 1000,
    }


def why(page: dict[str, Any]) -> str:
    """Why nothing more happens in this lane right now, or that it does."""
    now_ms, due_ms = page["now_ms"], page["due_ms"]
    until = "" if due_ms is None else _looked_at((due_ms - now_ms) / 1000)
    if page["holder"] is not None:
        if page["holder"]["alive"]:
            return "a worker is at it"
        return f"its holder was cut off{until}; the next one goes on from what is recorded"
    if not page["waiting"]:
        return "asleep: nothing waits"
    if page["commit_until_ms"] is not None and page["commit_until_ms"] > now_ms:
        left = output.span((page["commit_until_ms"] - now_ms) / 1000)
        return f"a write whose answer was lost may still take effect for {left}; nobody writes before that"
    if page["journal"] is not None:
        return f"whether its create took effect is not known yet{until}"
    if page["line"] != "running":
        word = "paused" if page["line"] == "paused" else "stopped"
        return f"the line is {word}: nobody is served until it runs again"
    parked = bool(page["intents"]) and page["intents"][0].get("state") == "parked"
    if due_ms is not None and (due_ms > now_ms or parked):
        return _postponed(page) + until
    if page["turn_sent"]:
        return "its turn waits for a free worker"
    return f"its turn is about to be handed out{until}; if that was long ago, no worker is running"


def _looked_at(left_s: float) -> str:
    return f", looked at again {output.when(left_s)}" if left_s > 0 else f", due {output.when(left_s)}"


def _postponed(page: dict[str, Any]) -> str:
    head: dict[str, Any] = page["intents"][0] if page["intents"] else {}
    if (head.get("error") or {}).get("class") == "unreadable":
        return "this head needs a newer worker"
    if (head.get("error") or {}).get("class") == "second_look":
        return "nobody was found, which proves nothing yet; a second look follows"
    return _POSTPONED.get(head.get("state", ""), "the last attempt failed")


def _loaded(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return {"unreadable": True}
    return found if isinstance(found, dict) else None


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────


def show(page: dict[str, Any]) -> None:
    """The page."""
    output.tell(f"{page['who']}  lane {page['lane']}", style="bold")
    output.tell(page["why"], indent=2)
    _show_holder(page)
    if page["intents"]:
        _show_waiting(page)
    _show_contacts(page)
    _show_memory(page)
    if page["timeline"]:
        timeline.show(page["timeline"])


def _show_holder(page: dict[str, Any]) -> None:
    holder, now_ms = page["holder"], page["now_ms"]
    words = []
    if holder is not None:
        left = output.when((holder["until_ms"] - now_ms) / 1000)
        words.append(f"lease {'ends' if holder['alive'] else 'ended'} {left}, fence {holder['fence']}")
    if page["open_write"] is not None:
        certain = output.when(((page["commit_until_ms"] or now_ms) - now_ms) / 1000)
        words.append(f"open write: {page['open_write'].get('op', '?')}, certain {certain}")
    if page["journal"] is not None:
        looks = output.many(page["journal"].get("looks", 0), "look")
        words.append(f"unknown create of a {page['journal'].get('role', '?')}, {looks} so far")
    if not page["clean"]:
        words.append("not settled cleanly: no write is skipped because of older facts")
    for line in words:
        output.tell(line, indent=2)


def _show_waiting(page: dict[str, Any]) -> None:
    output.heading(f"Waiting  {output.many(page['waiting'], 'intent')}, head first")
    output.print_entries([_entry(one) for one in page["intents"]])
    if page["waiting"] > len(page["intents"]):
        output.tell(f"… and {page['waiting'] - len(page['intents']):,} more")


def _entry(intent: dict[str, Any]) -> output.Entry:
    tries = output.many(intent["attempts"], "attempt") if intent["attempts"] else ""
    cells = [intent["id"], output.kebab(intent["kind"]), intent["state"], tries]
    return cells, "" if intent["error"] is None else output.error_words(intent["error"])


def _show_contacts(page: dict[str, Any]) -> None:
    output.heading("Believed" + ("" if page["contacts"] else "  nothing"))
    for known in page["contacts"]:
        words = [known["role"], known["id"]]
        words += [f"external id {known['external_id']}"] if known["external_id"] else []
        words += [] if known["confirmed"] else ["only seen in the index"]
        output.tell(", ".join(words), indent=2)
        _show_facts(known)
    for gone, stone in page["tombstones"].items():
        into = f" into {stone['into']}" if stone.get("into") else ""
        output.tell(f"not to be used: {gone}, {stone.get('why')}{into}", indent=2)


def _show_facts(known: dict[str, Any]) -> None:
    if known["facts"] is None:
        output.tell("its fields are not known", indent=4)
        return
    age = "" if known["facts_age_s"] is None else f" {output.span(known['facts_age_s'])} ago"
    output.tell(f"{known['facts_source']}{age}", indent=4)
    for path, value in sorted(known["facts"].items()):
        if value is not None:
            output.tell(f"{path} = {json.dumps(value, ensure_ascii=False)}", indent=4)


def _show_memory(page: dict[str, Any]) -> None:
    if page["consent"]:
        output.heading("Last word on mail")
    for channel, word in page["consent"].items():
        name = "all mail" if channel == "all" else f"subscription type {channel}"
        said = "opted in" if word.get("opted_in") else "opted out"
        ago = output.span((page["now_ms"] - word.get("at_ms", 0)) / 1000)
        pending = ", still to be carried out" if word.get("pending") else ""
        output.tell(f"{name}: {said} {ago} ago{pending}", indent=2)
