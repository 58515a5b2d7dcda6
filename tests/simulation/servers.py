"""Redis, twice: the fast double of these histories, and fakeredis to hold it against. And its clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Protocol

from onelane import keyspace

from .lua import Interpreter
from .network import Network
from .scheduler import Process
from .small_redis import COMMANDS, Data

Words = dict[str, str]
CHECK = b"settle_check"
"""The kind of what the product enqueues for itself."""


class Server(Protocol):
    """What a history needs of a Redis."""

    def run(self, text: str, keys: Sequence[Any], args: Sequence[Any]) -> list[str]: ...

    def hgetall(self, key: str) -> Words: ...

    def hmget(self, key: str, fields: Sequence[str]) -> list[str | None]: ...

    def get(self, key: str) -> str | None: ...

    def replace(self, key: str, value: str) -> None: ...

    def delete(self, key: str) -> int: ...

    def lrange(self, key: str) -> list[str]: ...

    def scores(self, key: str) -> dict[str, float]: ...

    def intents(self, partition: str) -> set[str]:
        """Ids of all that producers have stored; the product's own checks are not among them."""
        ...

    def now_s(self) -> float: ...


_interpreter: list[Interpreter] = []


class SmallServer:
    """The fast one."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.data = Data(now_s)
        if not _interpreter:
            _interpreter.append(Interpreter())
        self._lua = _interpreter[0]

    def run(self, text: str, keys: Sequence[Any], args: Sequence[Any]) -> list[str]:
        return self._lua.run(self.data, text, keys, args)

    def hgetall(self, key: str) -> Words:
        return {name.decode(): value.decode() for name, value in (self.data.get(key.encode()) or {}).items()}

    def hmget(self, key: str, fields: Sequence[str]) -> list[str | None]:
        found = self.hgetall(key)
        return [found.get(field) for field in fields]

    def get(self, key: str) -> str | None:
        found = self.data.get(key.encode())
        return None if found is None else found.decode()

    def replace(self, key: str, value: str) -> None:
        COMMANDS["SET"](self.data, key.encode(), value.encode(), b"KEEPTTL")

    def delete(self, key: str) -> int:
        return int(COMMANDS["DEL"](self.data, key.encode()))

    def lrange(self, key: str) -> list[str]:
        return [value.decode() for value in self.data.get(key.encode()) or ()]

    def scores(self, key: str) -> dict[str, float]:
        return {member.decode(): score for member, score in (self.data.get(key.encode()) or {}).items()}

    def intents(self, partition: str) -> set[str]:
        prefix = keyspace.intent_prefix(partition).encode()
        found = {
            key.removeprefix(prefix).decode(): value
            for key, value in self.data.keys.items()
            if key.startswith(prefix)
        }
        return {id_ for id_, value in found.items() if not _is_own(id_, value)}


class FakeServer:
    """The slow one: fakeredis, with the history's clock in place of its own."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        import fakeredis
        import fakeredis._helpers
        import fakeredis._socket._base
        import fakeredis.commands_mixins.server_mixin as server_mixin

        self.now_s = now_s
        clock = SimpleNamespace(time=now_s)
        for module in (server_mixin, fakeredis._helpers, fakeredis._socket._base):
            module.time = clock  # type: ignore[attr-defined]
        self._redis: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        self._scripts: dict[str, Any] = {}

    def run(self, text: str, keys: Sequence[Any], args: Sequence[Any]) -> list[str]:
        if text not in self._scripts:
            self._scripts[text] = self._redis.register_script(text)
        return ["" if word is None else str(word) for word in self._scripts[text](keys=keys, args=args)]

    def hgetall(self, key: str) -> Words:
        return dict(self._redis.hgetall(key))

    def hmget(self, key: str, fields: Sequence[str]) -> list[str | None]:
        return list(self._redis.hmget(key, fields))

    def get(self, key: str) -> str | None:
        found: str | None = self._redis.get(key)
        return found

    def replace(self, key: str, value: str) -> None:
        self._redis.set(key, value, keepttl=True)

    def delete(self, key: str) -> int:
        return int(self._redis.delete(key))

    def lrange(self, key: str) -> list[str]:
        return list(self._redis.lrange(key, 0, -1))

    def scores(self, key: str) -> dict[str, float]:
        return dict(self._redis.zrange(key, 0, -1, withscores=True))

    def intents(self, partition: str) -> set[str]:
        prefix = keyspace.intent_prefix(partition)
        found = {key.removeprefix(prefix): self.hgetall(key) for key in self._redis.keys(f"{prefix}*")}
        encoded = {id_: {k.encode(): v.encode() for k, v in value.items()} for id_, value in found.items()}
        return {id_ for id_, value in encoded.items() if not _is_own(id_, value)}


def _is_own(intent_id: str, record: dict[bytes, bytes]) -> bool:
    """Did the product enqueue it for itself: a settle check, or the place that a change of address keeps?"""
    is_gate = record.get(b"change") not in (None, intent_id.encode())
    return is_gate or CHECK in record.get(b"payload", b"") or record.get(b"kind") == CHECK


class Client:
    """What a worker's code takes for its redis-py client."""

    def __init__(self, server: Server, network: Network, process: Process) -> None:
        self._server = server
        self._network = network
        self._process = process

    def register_script(self, text: str) -> Callable[..., list[str]]:
        name = _name_of(text)

        def run(keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> list[str]:
            given_keys, given_args = list(keys), list(args)
            words: list[str] = self._call(name, lambda: self._server.run(text, given_keys, given_args))
            return words

        return run

    def hgetall(self, key: str) -> Words:
        found: Words = self._call("hgetall", lambda: self._server.hgetall(key))
        return found

    def eval(self, text: str, numkeys: int, *words: Any) -> list[str]:
        """A script by its text."""
        return self.register_script(text)(words[:numkeys], words[numkeys:])

    def zscore(self, key: str, member: str) -> float | None:
        found: float | None = self._call("zscore", lambda: self._server.scores(key).get(member))
        return found

    def zrange(
        self, key: str, first: int, last: int, withscores: bool = False
    ) -> list[tuple[str, float]] | list[str]:
        scores: dict[str, float] = self._call("zrange", lambda: self._server.scores(key))
        found = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))
        found = found[first : None if last == -1 else last + 1]
        return found if withscores else [member for member, _ in found]

    def lrange(self, key: str, first: int, last: int) -> list[str]:
        assert (first, last) == (0, -1), "only what the store uses"
        found: list[str] = self._call("lrange", lambda: self._server.lrange(key))
        return found

    def hget(self, key: str, field: str) -> str | None:
        return self.hmget(key, [field])[0]

    def delete(self, key: str) -> int:
        found: int = self._call("del", lambda: self._server.delete(key))
        return found

    def hmget(self, key: str, *names: Any) -> list[str | None]:
        fields = [field for name in names for field in ([name] if isinstance(name, str) else name)]
        found: list[str | None] = self._call("hmget", lambda: self._server.hmget(key, fields))
        return found

    def get(self, key: str) -> str | None:
        found: str | None = self._call("get", lambda: self._server.get(key))
        return found

    def pipeline(self, transaction: bool) -> _Pipeline:
        assert not transaction
        return _Pipeline(self)

    def transaction(self, change: Callable[[Any], None], *watched: str) -> None:
        """redis-py's: read, queue, and write if nobody has written since; else again."""
        while True:
            pipe = _Transaction(self)
            change(pipe)
            if not pipe.queued or self._call("exec", partial(self._commit, pipe)):
                return

    def _commit(self, pipe: _Transaction) -> bool:
        if any(self._server.get(key) != value for key, value in pipe.seen.items()):
            return False
        for key, value in pipe.queued:
            if value is None:
                self._server.delete(key)
            else:
                self._server.replace(key, value)
        return True

    def _call(self, what: str, effect: Callable[[], Any]) -> Any:
        return self._network.call(self._process, what, effect)


class _Pipeline:
    """Several reads in one round trip."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reads: list[Callable[[Server], Any]] = []

    def __enter__(self) -> _Pipeline:
        return self

    def __exit__(self, *_: object) -> None: ...

    def hmget(self, key: str, *fields: str) -> None:
        self._reads.append(lambda server: server.hmget(key, fields))

    def time(self) -> None:
        self._reads.append(lambda server: divmod(round(server.now_s() * 1_000_000), 1_000_000))

    def execute(self) -> list[Any]:
        server = self._client._server
        found: list[Any] = self._client._call("pipeline", lambda: [read(server) for read in self._reads])
        return found


class _Transaction:
    """One try."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: dict[str, str | None] = {}
        self.queued: list[tuple[str, str | None]] = []
        """Keys and what they are to hold; None: they go."""

    def get(self, key: str) -> str | None:
        self.seen[key] = self._client.get(key)
        return self.seen[key]

    def multi(self) -> None: ...

    def set(self, key: str, value: str, keepttl: bool) -> None:
        assert keepttl, "only what the store uses"
        self.queued.append((key, value))

    def delete(self, key: str) -> None:
        self.queued.append((key, None))


@cache
def _name_of(text: str) -> str:
    """Scripts say their own name at the start of a line: `-- claim: …`."""
    for line in text.splitlines():
        name, colon, _ = line.removeprefix("-- ").partition(":")
        if line.startswith("-- ") and colon and name.isidentifier() and name != "_common":
            return name
    return "script"
