"""What is stored, told alike of the model and of a real Redis. What stands for nothing is left out."""

from __future__ import annotations

from typing import Any

from onelane_worker.lanes.types import LaneSettings

from .guards import HELD, REFILL
from .scripts import Scripts
from .state import Breaker, Intent, Lane

Told = dict[str, Any]


def _full(told: Told) -> Told:
    """Without what is nothing."""
    return {name: value for name, value in told.items() if value not in (None, "", 0, False, [], {}, ())}


# ── the model ──


def of_model(model: Scripts) -> Told:
    """All that the model holds."""
    state, now = model.state, model.now
    return {
        "lanes": _full({name: _lane(lane, now) for name, lane in state.lanes.items()}),
        "ready": {kind: list(lanes) for kind, lanes in state.ready.items()},
        "due": dict(state.due),
        "waiting": _full({
            ext: sorted(one.waiting, key=one.waiting.__getitem__) for ext, one in state.exts.items()
        }),
        "exts": _full({
            digest: _full({
                "lane": ext.lane,
                "until": ext.until if ext.lane else 0,
                "pointer": ext.pointer if ext.pointer_until > now else None,
                "versions": dict(ext.versions),
            })
            for digest, ext in state.exts.items() if ext.kept_until > now
        }),
        "contacts": _full({
            digest: _full({
                "writer": one.writer, "wrote": one.wrote, "others": one.others, "home": one.home,
                "moved": one.moved, "knows": sorted(one.knows),
            })
            for digest, one in state.contacts.items() if one.until > now
        }),
        "intents": {id: _intent(one) for id, one in state.intents.items()},
        "dedupe": {
            digest: f"{one.id}:{one.content}"
            for digest, one in state.dedupe.items() if not 0 < one.until <= now
        },
        "dead": dict(state.dead),
        "letters": {name: sorted(ids) for name, ids in state.letters.items()},
        "engines": _full({
            name: _full({
                "number": one.number, "seen": one.seen, "name": one.name, "grants": list(one.grants),
            })
            for name, one in state.engines.items()
        }),
        "counters": _full({
            "pending": state.pending, "pops": state.pops, "tokens": state.tokens, "healed": state.healed,
            "ticked": state.ticked, "spare": state.spare, "backstops": state.backstops,
            "mover": state.mover, "moved": state.moved_at,
        }),
        "breaker": _breaker(model, False),
        "bulk": _breaker(model, True),
        "bucket": _bucket(model),
        "epoch": _full({"server": state.epoch_server, "since": state.epoch_since, "hold": _hold(model)}),
    }  # fmt: skip


def _hold(model: Scripts) -> int:
    return model.state.epoch_hold if model.now < model.state.epoch_hold else 0


def _lane(lane: Lane, now: int) -> Told:
    leased = lane.token is not None
    told = {
        "queue": list(lane.queue), "fence": lane.fence, "step": lane.step, "stepfence": lane.step_fence,
        "dirty": lane.dirty, "served": lane.served, "hot": lane.hot, "erasing": lane.erasing,
        "yields": lane.yields, "waits": lane.waits, "exts": list(lane.exts), "open": lane.open_write,
        "openby": lane.open_step, "commit": lane.commit, "journal": lane.journal, "about": list(lane.about),
        "registry": lane.registry if lane.registry_until > now else None,
        "consent": lane.consent if lane.consent_until > now else None,
        "timeline": lane.timeline if lane.timeline_until > now else None,
    }  # fmt: skip
    if leased:
        told |= {"token": lane.token, "until": lane.until, "batch": lane.batch, "seen": lane.seen}
        told |= {"usable": lane.usable}
    if lane.check is not None:
        told |= {"check": lane.check.payload, "check_id": lane.check.id, "check_at": lane.check_at}
    return _full(told)


def _intent(one: Intent) -> Told:
    return _full({
        "lane": one.lane, "bulk": one.bulk, "payload": one.payload, "at": one.accepted, "again": one.again,
        "whole": one.whole, "dedupe": one.dedupe, "ext": one.ext, "ext2": one.ext2, "target": one.target,
        "erases": one.erases, "state": one.state, "attempts": one.attempts, "kills": one.kills,
        "next": one.next,
        "error": one.error, "burials": one.burials, "outcome": one.outcome, "ended": one.ended,
    })  # fmt: skip


def _breaker(model: Scripts, bulk: bool) -> Told:
    view = model.breaker_view(bulk)
    breaker: Breaker = model.state.bulk_breaker if bulk else model.state.breaker
    told: Told = {"state": view.state}
    if view.state == "closed":
        return told
    stands = view.state in ("open", "half", "paused")
    told |= {"sort": view.sort, "since": view.since_ms, "problem": view.problem, "next": view.next_ms}
    if bulk or not stands:
        told |= {"streak": breaker.streak}
    if not bulk and not stands:
        told |= {"lanes": sorted(breaker.lanes)}
    if stands and not bulk:
        told |= {"pause": breaker.pause}
    return _full(told | {"trial": breaker.trial})


def _bucket(model: Scripts) -> Told:
    state = model.state
    level = model.bucket_size if state.bucket_level is None else state.bucket_level
    level = min(model.bucket_size, level + max(0, model.now - state.bucket_at) * model.bucket_rate)
    return {"level": level, "until": state.bucket_until if state.bucket_until > model.now else 0}


# ── Redis ──


def of_redis(dump: Told, now: int, settings: LaneSettings) -> Told:
    """All that the scripts have stored, from a dump of all keys without their prefix."""

    def of(word: str) -> Told:
        return {key[len(word) + 1 :]: value for key, value in dump.items() if key.startswith(f"{word}:")}

    queues, registries = of("queue"), of("registry")
    consents, timelines = of("consent"), of("timeline")
    names = {*queues, *of("lane"), *registries, *consents, *timelines}
    counters = dump.get("counters", {})
    return {
        "lanes": _full({
            name: _stored_lane(
                dump.get(f"lane:{name}", {}), queues.get(name), registries.get(name), consents.get(name),
                timelines.get(name),
            )
            for name in names
        }),
        "ready": {kind: [name for name, _ in dump.get(f"ready:{kind}", [])]
                  for kind in ("interactive", "bulk", "suspect")},
        "due": {name: int(at) for name, at in dump.get("due", [])},
        "waiting": {ext: [name for name, _ in line] for ext, line in of("wait").items()},
        "exts": _full({digest: _stored_ext(one, now) for digest, one in of("ext").items()}),
        "contacts": _full({digest: _stored_contact(one) for digest, one in of("contact").items()}),
        "intents": {id: _stored_intent(one) for id, one in of("intent").items()},
        "dedupe": of("dedupe"),
        "dead": {id: int(at) for id, at in dump.get("dead", [])},
        "letters": {name: sorted(ids) for name, ids in of("letters").items()},
        "engines": _full({name: _stored_engine(one) for name, one in of("engine").items()}),
        "counters": _full({
            name: value if name == "mover" else int(value)
            for name, value in counters.items() if name != "order"
        }),
        "breaker": _stored_breaker(dump.get("breaker", {}), False),
        "bulk": _stored_breaker(dump.get("breaker:bulk", {}), True),
        "bucket": _stored_bucket(dump.get("bucket", {}), now, settings),
        "epoch": _stored_epoch(dump.get("epoch", {}), now, settings),
    }  # fmt: skip


def _pair(text: str | None, separator: str = " ") -> tuple[str, int] | None:
    if not text:
        return None
    name, _, number = text.partition(separator)
    return name, int(number)


def _stored_lane(fields: Told, queue: Any, registry: Any, consent: Any, timeline: Any) -> Told:
    numbers = ("fence", "step", "served", "hot", "erasing", "commit", "until", "batch", "seen", "check_at")
    told: Told = {name: int(fields.get(name) or 0) for name in numbers}
    told |= {name: fields.get(name) for name in ("open", "journal", "token", "check", "check_id")}
    told |= {name: fields.get(name) == "1" for name in ("dirty", "yields", "usable")}
    told |= {"queue": queue, "registry": registry, "consent": consent, "timeline": timeline}
    told |= {"exts": (fields.get("exts") or "").split(), "about": (fields.get("about") or "").split()}
    told["stepfence"] = int(fields.get("stepfence") or 0)
    if waits := fields.get("waits"):
        told["waits"] = ("ext" if waits[0] == "x" else "lane", waits[2:])
    if openby := fields.get("openby"):
        fence, _, step = openby.partition(":")
        told["openby"] = (int(fence), int(step))
    return _full(told)


def _stored_ext(fields: Told, now: int) -> Told:
    lane = fields.get("lane")
    fresh = int(fields.get("pointer_until") or 0) > now
    return _full({
        "lane": lane,
        "until": int(fields.get("until") or 0) if lane else 0,
        "pointer": fields.get("pointer") if fresh else None,
        "versions": {name[2:]: value for name, value in fields.items() if name.startswith("v:")},
    })  # fmt: skip


def _stored_contact(fields: Told) -> Told:
    told: Told = {name: int(fields.get(name) or 0) for name in ("wrote", "others", "moved")}
    told |= {"writer": fields.get("writer"), "home": fields.get("home")}
    told["knows"] = sorted(name[3:] for name in fields if name.startswith("at:"))
    return _full(told)


def _stored_intent(fields: Told) -> Told:
    told: Told = {
        name: int(fields.get(name) or 0)
        for name in ("at", "again", "attempts", "kills", "next", "burials", "ended")
    }
    told |= {
        name: fields.get(name)
        for name in ("lane", "payload", "dedupe", "ext", "ext2", "target", "error", "outcome")
    }
    told |= {name: fields.get(name) == "1" for name in ("bulk", "whole", "erases")}
    told["state"] = fields.get("state") or "waiting"
    return _full(told)


def _stored_engine(fields: Told) -> Told:
    words = (fields.get("grants") or "").split()
    return _full({
        "number": int(fields.get("number") or 0),
        "seen": int(fields.get("seen") or 0),
        "name": fields.get("name"),
        "grants": [(lane, int(fence)) for lane, fence in zip(words[::2], words[1::2], strict=True)],
    })  # fmt: skip


def _stored_breaker(fields: Told, bulk: bool) -> Told:
    state = fields.get("state") or ("streak" if fields.get("streak") else "closed")
    if state == "closed":
        return {"state": state}
    told: Told = {name: int(fields.get(name) or 0) for name in ("since", "next", "streak")}
    told |= {"state": state, "problem": fields.get("problem"), "trial": _pair(fields.get("trial"))}
    told["sort"] = fields.get("sort") or "reads"
    stands = state in ("open", "half", "paused")
    if not bulk and stands:
        told["pause"] = int(fields.get("pause") or 0)
        told.pop("streak")
    if not bulk and not stands:
        told["lanes"] = sorted((fields.get("lanes") or "").split())
    return _full(told)


def _stored_bucket(fields: Told, now: int, settings: LaneSettings) -> Told:
    size = max(1.0, HELD * settings.requests_per_10s)
    level = float(fields.get("level") or size)
    per_ms = REFILL * settings.requests_per_10s / 10_000
    level = min(size, level + max(0, now - int(fields.get("at") or now)) * per_ms)
    until = int(fields.get("until") or 0)
    return {"level": level, "until": until if until > now else 0}


def _stored_epoch(fields: Told, now: int, settings: LaneSettings) -> Told:
    since = int(fields.get("since") or 0)
    hold = since + settings.failover_hold_ms if since and not fields.get("resumed") else 0
    return _full({"server": fields.get("server"), "since": since, "hold": hold if hold > now else 0})
