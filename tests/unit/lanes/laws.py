"""What holds after every script, told from everything that is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis

from onelane.keys import READY_CLASSES, WORKSPACES, Keys

PERMANENT = {"meta", "ready", "due", "counters", "engines", "dead", "epoch"}
WHILE_NOT_EMPTY = {"queue", "wait", "letters"}
NO_END = -1


class Dump:
    """All keys, without the prefix of the one workspace that is there."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        found: Any = redis.keys("*")
        names = sorted(set(found) - {WORKSPACES})
        assert [name for name in names if not name.startswith(keys.prefix)] == []
        self.all = {name.removeprefix(keys.prefix): _read(redis, name) for name in names}
        self.ends_in_ms: dict[str, Any] = {name.removeprefix(keys.prefix): redis.pttl(name) for name in names}
        self.all.pop("test", None)
        self.ends_in_ms.pop("test", None)

    def of(self, word: str) -> dict[str, Any]:
        """What is stored under `word:<name>`, by name."""
        start = word + ":"
        return {key.removeprefix(start): value for key, value in self.all.items() if key.startswith(start)}

    def scores(self, key: str) -> dict[str, int]:
        return {member: int(score) for member, score in self.all.get(key, [])}


def _read(redis: Redis, key: str) -> Any:
    match redis.type(key):
        case "hash":
            return redis.hgetall(key)
        case "list":
            return redis.lrange(key, 0, -1)
        case "zset":
            return redis.zrange(key, 0, -1, withscores=True)
        case "set":
            return sorted(redis.smembers(key))
        case _:
            return redis.get(key)


class Laws:
    """The state law of PROTOCOL §2, and what every key has to obey."""

    def __init__(self, redis: Redis, keys: Keys, now_ms: int) -> None:
        self.dump = dump = Dump(redis, keys)
        self.now_ms = now_ms
        self.intents: dict[str, dict[str, str]] = dump.of("intent")
        self.queues: dict[str, list[str]] = dump.of("queue")
        self.lanes: dict[str, dict[str, str]] = dump.of("lane")
        self.due = dump.scores("due")
        self.ready = {name: dump.scores(f"ready:{name}") for name in READY_CLASSES}

    def check(self) -> None:
        """Fails with the law that is broken."""
        for lane in {*self.queues, *self.lanes, *self.due, *self._listed()}:
            self._is_in_one_place(lane)
            self._is_counted(lane)
            self._waits_for_something(lane)
            self._ends_somewhere(lane)
        self._every_intent_is_in_one_place()
        self._every_marker_has_its_change()
        self._free_external_ids_have_nobody_asleep()
        self._every_key_ends()
        self._nothing_empty_is_kept()

    def _listed(self) -> Iterator[str]:
        for members in self.ready.values():
            yield from members

    def _is_in_one_place(self, lane: str) -> None:
        fields, queue = self.lanes.get(lane, {}), self.queues.get(lane, [])
        ready = [name for name in READY_CLASSES if lane in self.ready[name]]
        told = f"{lane}: {fields}, queue {queue}, ready {ready}, due {self.due.get(lane)}"
        assert len(ready) + (lane in self.due) == bool(queue or "check_at" in fields), told
        if "token" in fields:
            assert queue, f"leased and empty; {told}"
            assert not queue[0].startswith("~"), f"leased at a marker; {told}"
            assert self.due.get(lane) == int(fields["until"]), f"not in due at its lease's end; {told}"
            assert len(queue) >= int(fields["batch"]) <= int(fields["served"]), told
        if ready and queue:
            assert ready == [self._class(lane)], told

    def _class(self, lane: str) -> str:
        head = self.queues[lane][0]
        if not head.startswith("~") and int(self.intents[head].get("kills", 0)):
            return "suspect"
        return "interactive" if int(self.lanes.get(lane, {}).get("hot", 0)) else "bulk"

    def _is_counted(self, lane: str) -> None:
        fields, queue = self.lanes.get(lane, {}), self.queues.get(lane, [])
        hot = sum("bulk" not in self.intents[element.lstrip("~")] for element in queue)
        erasing = sum("erases" in self.intents[element] for element in queue if not element.startswith("~"))
        assert int(fields.get("hot", 0)) == hot, (lane, fields, queue)
        assert int(fields.get("erasing", 0)) == erasing, (lane, fields, queue)
        served = int(fields.get("served", 0))
        assert not any(element.startswith("~") for element in queue[:served]), (lane, fields, queue)
        assert served <= len(queue)

    def _waits_for_something(self, lane: str) -> None:
        fields = self.lanes.get(lane, {})
        if "waits" not in fields:
            return
        assert lane in self.due, f"{lane} waits, and is not due"
        assert "token" not in fields, f"{lane} waits, and is leased"
        what, name = fields["waits"].split(":")
        assert what == "l" or lane in self.dump.scores(f"wait:{name}"), f"{lane} does not stand in line"

    def _ends_somewhere(self, lane: str) -> None:
        """No lane waits for itself by way of others."""
        seen: list[str] = []
        at: str | None = lane
        while at is not None:
            assert at not in seen, f"{seen} wait for each other"
            seen.append(at)
            at = self._blocker(at)

    def _blocker(self, lane: str) -> str | None:
        queue = self.queues.get(lane)
        if not queue:
            return None
        head = queue[0]
        intent = self.intents[head.lstrip("~")]
        if head.startswith("~"):
            return intent["lane"]
        target = intent.get("target")
        return target if target and self.queues.get(target, [""])[0] != "~" + head else None

    def _every_intent_is_in_one_place(self) -> None:
        queued = [element for queue in self.queues.values() for element in queue if element[0] != "~"]
        dead = self.dump.scores("dead")
        letters = [id_ for ids in self.dump.of("letters").values() for id_ in ids]
        assert sorted(letters) == sorted(dead)
        for id_, intent in self.intents.items():
            ended = intent.get("state") == "done"
            assert queued.count(id_) + (id_ in dead) + ended == 1, (id_, intent)
            assert (intent.get("state") == "dead") == (id_ in dead), (id_, intent)
            assert ("payload" in intent) != ended, (id_, intent)
        assert set(queued) | set(dead) <= set(self.intents)
        assert int(self.dump.all.get("counters", {}).get("pending", 0)) == len(queued)

    def _every_marker_has_its_change(self) -> None:
        waiting = {id_ for queue in self.queues.values() for id_ in queue if not id_.startswith("~")}
        for lane, queue in self.queues.items():
            for element in queue:
                if element.startswith("~"):
                    assert element[1:] in waiting
                    assert self.intents[element[1:]]["target"] == lane
                elif "target" in self.intents[element]:
                    assert self.queues[self.intents[element]["target"]].count("~" + element) == 1

    def _free_external_ids_have_nobody_asleep(self) -> None:
        for ext, line in self.dump.of("wait").items():
            lanes = [lane for lane, _ in line]
            holder = self.dump.all.get(f"ext:{ext}", {}).get("lane")
            asleep = [lane for lane in lanes if self.lanes.get(lane, {}).get("waits") == f"x:{ext}"]
            if holder is None and asleep:
                listed = set(self._listed())
                assert any(lane in listed for lane in lanes), f"{ext} is free, and {asleep} wait for it"

    def _every_key_ends(self) -> None:
        for key, ends_in_ms in self.dump.ends_in_ms.items():
            assert ends_in_ms != NO_END or self._may_stay(key), f"{key} has no time to live"
            assert ends_in_ms == NO_END or not self._must_stay(key), f"{key} has a time to live"

    def _may_stay(self, key: str) -> bool:
        word = key.partition(":")[0]
        if word == "breaker":
            return "state" in self.dump.all[key]
        return word in PERMANENT | WHILE_NOT_EMPTY or self._must_stay(key)

    def _must_stay(self, key: str) -> bool:
        """It lasts while something waits, an intent also as a dead letter."""
        word, _, name = key.partition(":")
        if word == "lane":
            return name in self.queues
        if word == "intent":
            return self.intents[name].get("state") != "done"
        if word == "dedupe":
            owner = self.dump.all[key].partition(":")[0]
            return self.intents.get(owner, {}).get("state") not in ("done", "dead")
        return False

    def _nothing_empty_is_kept(self) -> None:
        for key, value in self.dump.all.items():
            fields = value.items() if isinstance(value, dict) else [("", value)]
            for name, content in fields:
                gone = key.startswith("contact:") and name == "home"  # of a contact that was erased
                assert gone or content not in ("", "{}", "[]", "null"), f"{key} {name} keeps nothing"
