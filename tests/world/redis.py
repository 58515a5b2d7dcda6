"""One Redis server, in process and in virtual time: it runs the product's scripts as they are.

The Lua is LuaJIT without its compiler, which is 5.1 like that of Redis, and faster. `LUA=lua51` in the
environment takes Redis' own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

KIND = os.environ.get("LUA", "luajit21")


class SmallRedis:
    """A server. Answers look as a client with `decode_responses` shows them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lua = _interpreter()
        self._data = self._lua.library["fresh"]()
        self._restart(0)
        self._texts: dict[str, str] = {}
        """Scripts that a client has loaded, by their SHA-1."""

    # ── for clients ──

    def run(self, text: str, key: str, args: Iterable[Any], name: str = "script") -> Any:
        """Run a script on one key. Raises ResponseError."""
        return self._do(self._lua.compiled(text, name), key, *map(_text, args))

    def execute(self, *words: Any) -> Any:
        """Run one command. Raises ResponseError. HGETALL gives a dict, as clients do."""
        if words[0] in ("EVAL", "EVALSHA"):
            return self._eval(words[0] == "EVAL", str(words[1]), int(words[2]), words[3:])
        answer = self._do(self._lua.command, *map(_text, words))
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
        found: list[str] = self._do(self._lua.library["keys"])
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

    def writes(self) -> int:
        """How many commands have written where lanes stand, in this process."""
        count: int = self._lua.writes()
        return count

    def snapshot(self) -> Any:
        """What it holds now, for `restore`."""
        return self._lua.library["copy"](self._data)

    def restore(self, snapshot: Any) -> None:
        """Another server takes its place (a failover, a restart) and holds what there was."""
        self._data = self._lua.library["copy"](snapshot)
        self._restart(self._server + 1)

    def empty(self) -> None:
        """Another server takes its place, and holds nothing."""
        self._data = self._lua.library["fresh"]()
        self._restart(self._server + 1)

    # ── inside ──

    def _eval(self, is_text: bool, text: str, numkeys: int, words: Sequence[Any]) -> Any:
        assert numkeys == 1, "every script has one key"
        if is_text:
            self.load(text)
        elif text not in self._texts:
            raise NoScriptError("NOSCRIPT No matching script.")
        else:
            text = self._texts[text]
        return self.run(text, words[0], words[1:])

    def _restart(self, server: int) -> None:
        self._server = server
        self._info = f"run_id:{server:040x}\r\nmaster_replid:{server:040x}\r\n"

    def _do(self, call: Any, *given: Any) -> Any:
        now_us = round(self._now_s() * 1_000_000)
        try:
            answer = self._lua.run(call, self._data, now_us, self._info, *given)
        except self._lua.error as error:
            raise ResponseError(str(error).partition("\nstack traceback")[0]) from None
        if isinstance(answer, tuple):
            return [self._lua.part(one) for one in answer[1:]]
        return [] if answer is True else self._lua.part(answer)


class _Interpreter:
    """The process' Lua. Every script is compiled once, for all histories."""

    def __init__(self) -> None:
        lua = import_module(f"lupa.{KIND}")
        self.error: type[Exception] = lua.LuaError
        self._type_of: Callable[[Any], str | None] = lua.lua_type
        self._runtime = lua.LuaRuntime(unpack_returned_tuples=True)
        if KIND.startswith("luajit"):
            self._runtime.execute("if jit then jit.off() end")
        source = Path(__file__).with_name("small_redis.lua").read_text()
        self.library = self._runtime.execute(source)
        self.run, self.command, self.writes = (self.library[name] for name in ("run", "execute", "writes"))
        self._cjson = self._runtime.table_from({"decode": self._decode, "encode": self._encode})
        self._scripts: dict[str, Any] = {}

    def compiled(self, text: str, name: str) -> Any:
        script = self._scripts.get(text)
        if script is None:
            script = self._scripts[text] = self.library["compile"](text, name, self._cjson)
        return script

    def part(self, value: Any) -> Any:
        """A part of an answer: text, a whole number, None, or a list of such."""
        if value is None or isinstance(value, str):
            return value
        if value is False:
            return None
        if isinstance(value, int | float):
            return int(value)
        return [self.part(one) for one in value.values()]

    def _decode(self, text: str) -> Any:
        return self._table(json.loads(text))

    def _table(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._runtime.table_from({_text(key): self._table(one) for key, one in value.items()})
        if isinstance(value, list):
            return self._runtime.table_from([self._table(one) for one in value])
        return value

    def _encode(self, value: Any) -> str:
        return json.dumps(self._plain(value), separators=(",", ":"))

    def _plain(self, value: Any) -> Any:
        if self._type_of(value) != "table":
            return int(value) if isinstance(value, float) and value.is_integer() else value
        keys = list(value.keys())
        if keys == list(range(1, len(keys) + 1)):
            return [self._plain(one) for one in value.values()]
        return {key: self._plain(one) for key, one in value.items()}


@cache
def _interpreter() -> _Interpreter:
    return _Interpreter()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


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
