"""One Redis server, in process and in virtual time: it runs the product's scripts in Redis' own Lua (5.1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaError, LuaRuntime, lua_type  # type: ignore[import-untyped]
from redis.exceptions import ResponseError

Word = str | int | None


class SmallRedis:
    """A server. Answers look as a client with `decode_responses` shows them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lua = _interpreter()
        self._data = self._lua.library[b"fresh"]()
        self._server = 0

    # ── for clients ──

    def run(self, text: str, keys: Iterable[str], args: Iterable[Any], name: str = "script") -> Any:
        """Run a script. Raises ResponseError."""
        script = self._lua.compiled(text, name)
        table_from = self._lua.runtime.table_from
        given = table_from([_bytes(arg) for arg in args])
        return self._do(script, table_from([key.encode() for key in keys]), given)

    def execute(self, *words: Any) -> Any:
        """Run one command. Raises ResponseError. HGETALL gives a dict, as clients do."""
        answer = self._do(self._lua.library[b"execute"], *map(_bytes, words))
        if words[0] == "HGETALL":
            return dict(zip(answer[::2], answer[1::2], strict=True))
        return answer

    # ── for the world ──

    def keys(self) -> list[str]:
        """All keys, sorted."""
        found: list[str] = self._do(self._lua.library[b"keys"])
        return found

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
