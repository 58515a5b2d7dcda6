"""One lane as a page: told as a document, shown to a person.

The document is what `--json` prints; the page for people is made from it and from nothing else. No address
stands in it unmasked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _breaker_words as breaker_words
from onelane_worker.cli import _output as output
from onelane_worker.cli import _standing_words as standing_words
from onelane_worker.cli import _timeline as timeline

if TYPE_CHECKING:
    from onelane_worker.operate.lane_view import LaneView, Waiting
    from onelane_worker.operate.pause import Service


def document(view: LaneView, service: Service, who: str | None) -> dict[str, Any]:
    """The document of a lane. `who`: the masked address, if it was given."""
    registry, consent, journal = (_loaded(text) for text in (view.registry, view.consent, view.journal))
    breaker, hold = breaker_words.document(service.breaker), breaker_words.hold_words(service)
    intents = [_intent(one) for one in view.intents]
    contacts = [
        _contact(known, registry or {}, view.now_ms) for known in (registry or {}).get("contacts", ())
    ]
    why = standing_words.words(
        view.standing,
        (intents[0]["error"] if intents else None) or {},
        view.now_ms,
        stopped=standing_words.stopped_words(breaker, hold),
        reconciling=journal is not None,
    )
    page: dict[str, Any] = output.masked(
        {
            "lane": view.lane,
            "who": who or _who(view, registry or {}),
            "breaker": breaker["state"],
            "hold_until_ms": service.hold_until_ms,
            "now_ms": view.now_ms,
            "state": view.standing.why,
            "until_ms": view.standing.until_ms,
            "blocked_by": view.standing.blocked_by,
            "waiting": view.waiting,
            "intents": intents,
            "ready": view.ready,
            "due_ms": view.due_ms,
            "fence": view.fence,
            "lease_until_ms": view.lease_until_ms,
            "clean": view.clean,
            "open_write": _loaded(view.open_write),
            "commit_until_ms": view.commit_until_ms,
            "journal": journal,
            "check_ms": view.check_ms,
            "contacts": contacts,
            "tombstones": (registry or {}).get("tombstones", {}),
            "consent": (consent or {}).get("consent", {}),
            "versions": (consent or {}).get("versions", {}),
            "why": why,
            "timeline": timeline.entries(view.timeline, intents),
        }
    )
    return page


def _intent(waiting: Waiting) -> dict[str, Any]:
    status = waiting.status.model_dump(mode="json")
    names = ("id", "kind", "state", "attempts", "accepted_at", "next_attempt_at", "error")
    told = {name: status[name] for name in names}
    return {**told, "marker": True} if waiting.is_marker else told


def _who(view: LaneView, registry: dict[str, Any]) -> str:
    """The address, masked, where only an id was given: from what waits, or from what is known."""
    head = None if view.intents and view.intents[0].is_marker else _loaded(view.head_payload)
    addresses = [(head or {}).get("email"), *(one.get("email") for one in registry.get("contacts", ()))]
    return str(output.masked(next(filter(None, addresses), "an address")))


def _contact(known: dict[str, Any], registry: dict[str, Any], now_ms: int) -> dict[str, Any]:
    facts = known.get("facts") or {}
    as_of_ms = facts.get("as_of_ms")
    return {
        "id": known.get("id"),
        "role": known.get("role"),
        "external_id": known.get("external_id"),
        "chosen": known.get("id") == registry.get("primary"),
        "confirmed": known.get("confirmed", True),
        "facts": facts.get("fields"),
        "facts_source": facts.get("source", "read") if facts else None,
        "facts_age_s": None if as_of_ms is None else (now_ms - as_of_ms) / 1000,
    }


def _loaded(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return {"unreadable": True}
    return found if isinstance(found, dict) else {"unreadable": True} if text else None


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────


def show(page: dict[str, Any]) -> None:
    """The page."""
    output.tell(f"{page['who']}  lane {page['lane']}", style="bold")
    output.tell(page["why"], indent=2)
    _show_lease(page)
    if page["intents"]:
        _show_waiting(page)
    _show_contacts(page)
    _show_memory(page)
    if page["timeline"]:
        timeline.show(page["timeline"])


def _show_lease(page: dict[str, Any]) -> None:
    until_ms, now_ms = page["lease_until_ms"], page["now_ms"]
    words = []
    if until_ms is not None:
        left = output.when((until_ms - now_ms) / 1000)
        words.append(f"lease {'ends' if until_ms > now_ms else 'ended'} {left}, fence {page['fence']}")
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
    state = "of the other lane" if intent.get("marker") else intent["state"]
    cells = [intent["id"], output.kebab(intent["kind"]), state, tries]
    return cells, "" if intent["error"] is None else output.error_words(intent["error"])


def _show_contacts(page: dict[str, Any]) -> None:
    output.heading("Known of the person" + ("" if page["contacts"] else "  nothing"))
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
