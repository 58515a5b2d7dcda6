"""One Redis server, in process and in virtual time: it runs the product's scripts in Redis' own Lua (5.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaError, LuaRuntime, lua_type  # type: ignore[import-untyped]
from redis.exceptions import NoScriptError, ResponseError

Word = str | int | None


class SmallRedis:
    """A server. Answers look as a client with `decode_responses` shows them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lua = _interpreter()
        self._data = self._lua.library[b"fresh"]()
        self._server = 0
        self._texts: dict[str, str] = {}
        """Scripts that a client has loaded, by their SHA-1."""

    # ── for clients ──

    def run(self, text: str, keys: Iterable[str], args: Iterable[Any], name: str = "script") -> Any:
        """Run a script. Raises ResponseError."""
        script = self._lua.compiled(text, name)
        table_from = self._lua.runtime.table_from
        given = table_from([_bytes(arg) for arg in args])
        return self._do(script, table_from([key.encode() for key in keys]), given)

    def execute(self, *words: Any) -> Any:
        """Run one command. Raises ResponseError. HGETALL gives a dict, as clients do."""
        if words[0] in ("EVAL", "EVALSHA"):
            return self._eval(words[0] == "EVAL", str(words[1]), int(words[2]), words[3:])
        answer = self._do(self._lua.library[b"execute"], *map(_bytes, words))
        if words[0] == "HGETALL":
            return dict(zip(answer[::2], answer[1::2], strict=True))
        return answer

    def all(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Run several commands; an error is among the answers."""
        return [self._or_error(words) for words in commands]

    def _or_error(self, words: Sequence[Any]) -> Any:
        try:
            return self.execute(*words)
        except ResponseError as error:
            return error

    # ── for the world ──

    def load(self, text: str) -> None:
        """SCRIPT LOAD."""
        self._texts[hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()] = text

    def all_keys(self) -> list[str]:
        """All keys, sorted."""
        found: list[str] = self._do(self._lua.library[b"keys"])
        return found

    def dump(self, key: str) -> Any:
        """What is under a key: text, a dict for a hash, else a list; of a sorted set with scores."""
        read = {
            "string": ("GET", key),
            "hash": ("HGETALL", key),
            "list": ("LRANGE", key, 0, -1),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
        }
        return self.execute(*read[self.execute("TYPE", key)])

    def snapshot(self) -> Any:
        """What it holds now, for `restore`."""
        return self._lua.library[b"copy"](self._data)

    def restore(self, snapshot: Any) -> None:
        """Another server takes its place (a failover, a restart) and holds what there was."""
        self._data = self._lua.library[b"copy"](snapshot)
        self._server += 1

    def empty(self) -> None:
        """Another server takes its place, and holds nothing."""
        self._data = self._lua.library[b"fresh"]()
        self._server += 1

    # ── inside ──

    def _eval(self, is_text: bool, text: str, numkeys: int, words: Sequence[Any]) -> Any:
        if is_text:
            self.load(text)
        elif text not in self._texts:
            raise NoScriptError("NOSCRIPT No matching script.")
        else:
            text = self._texts[text]
        return self.run(text, words[:numkeys], words[numkeys:])

    def _do(self, call: Any, *given: Any) -> Any:
        info = b"run_id:%040x\r\nmaster_replid:%040x\r\n" % (self._server, self._server)
        self._lua.library[b"use"](self._data, round(self._now_s() * 1_000_000), info)
        try:
            return _python(call(*given))
        except LuaError as error:
            raise ResponseError(str(error).partition("\nstack traceback")[0]) from None


class _Interpreter:
    """The process' Lua. Every script is compiled once, for all histories."""

    def __init__(self) -> None:
        self.runtime = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        source = Path(__file__).with_name("small_redis.lua").read_bytes()
        self.library = self.runtime.execute(source)
        self._cjson = self.runtime.table_from({b"decode": self._decode, b"encode": self._encode})
        self._scripts: dict[str, Any] = {}

    def compiled(self, text: str, name: str) -> Any:
        script = self._scripts.get(text)
        if script is None:
            script = self.library[b"compile"](text.encode(), name.encode(), self._cjson)
            self._scripts[text] = script
        return script

    def _decode(self, text: bytes) -> Any:
        return self._table(json.loads(text))

    def _table(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.runtime.table_from({_bytes(key): self._table(one) for key, one in value.items()})
        if isinstance(value, list):
            return self.runtime.table_from([self._table(one) for one in value])
        return value.encode() if isinstance(value, str) else value

    def _encode(self, value: Any) -> bytes:
        return json.dumps(_plain(value), separators=(",", ":")).encode()


@cache
def _interpreter() -> _Interpreter:
    return _Interpreter()


def _plain(value: Any) -> Any:
    if lua_type(value) == "table":
        keys = list(value.keys())
        if keys == list(range(1, len(keys) + 1)):
            return [_plain(one) for one in value.values()]
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.decode() if isinstance(value, bytes) else value


def _python(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or value is False:
        return None
    if isinstance(value, int | float):
        return int(value)
    return [_python(one) for one in value.values()]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(value).encode()


class RedisClient:
    """What the SDK takes for its redis-py client: every call is executed at once."""

    def __init__(self, server: SmallRedis) -> None:
        self._server = server

    def execute_command(self, *words: Any) -> Any:
        return self._server.execute(*words)

    def pipeline(self, transaction: bool = True) -> RedisPipeline:
        return RedisPipeline(self._server)

    def close(self) -> None: ...


class RedisPipeline:
    """Several commands in one round trip."""

    def __init__(self, server: SmallRedis) -> None:
        self._server = server
        self._waiting: list[tuple[Any, ...]] = []

    def __enter__(self) -> RedisPipeline:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute_command(self, *words: Any) -> None:
        self._waiting.append(words)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        assert not raise_on_error, "only what the SDK uses"
        return self._server.all(self._waiting)
