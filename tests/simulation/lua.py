"""The scripts' Lua: the same 5.1 as in Redis, with `redis.call` going to our small Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from lupa.lua51 import LuaRuntime, lua_type  # type: ignore[import-untyped]

from .small_redis import COMMANDS, Data

_WRAPPED = b"""
return function(redis, cjson)
  local script = function(KEYS, ARGV)
%s
  end
  return function(keys, args)
    return unpack(script(keys, args))
  end
end
"""


class Interpreter:
    """One Lua for all histories: scripts are compiled once, and see the data that is laid before them."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._compiled: dict[str, Any] = {}
        self.data: Data | None = None
        calls = {name.encode(): self._command(run) for name, run in COMMANDS.items()}
        make = self._lua.execute(
            b"local calls = ...\n"
            b"return { call = function(name, ...)\n"
            b"  local run = calls[name]\n"
            b"  if not run then error('unknown command ' .. tostring(name)) end\n"
            b"  return run(...)\n"
            b"end }",
            self._lua.table_from(calls),
        )
        self._redis = make
        self._cjson = self._lua.table_from({b"decode": self._decode})

    def run(self, data: Data, text: str, keys: Iterable[Any], args: Iterable[Any]) -> list[str]:
        """Run a script; the answer as a client that decodes shows it."""
        script = self._compiled.get(text)
        if script is None:
            script = self._compiled[text] = self._compile(text)
        self.data = data
        found = script(self._lua.table_from(map(_bytes, keys)), self._lua.table_from(map(_bytes, args)))
        words = found if isinstance(found, tuple) else () if found is None else (found,)
        return [word.decode() if isinstance(word, bytes) else str(int(word)) for word in words]

    def _compile(self, text: str) -> Any:
        return self._lua.execute(_WRAPPED % text.encode())(self._redis, self._cjson)

    def _command(self, run: Callable[..., Any]) -> Callable[..., Any]:
        table_from = self._lua.table_from

        def call(*args: Any) -> Any:
            data = self.data
            assert data is not None
            words = [arg if type(arg) is bytes else _bytes(arg) for arg in args]
            if words:
                data.touched.add(words[0])
            found = run(data, *words)
            if found is None:
                return False
            if isinstance(found, list):
                return table_from([False if word is None else word for word in found])
            return found

        return call

    def _decode(self, text: bytes) -> Any:
        assert lua_type(text) is None, "cjson.decode wants a string"
        found = json.loads(text)
        flat = {key.encode(): _shallow(value) for key, value in found.items()}
        return self._lua.table_from(flat)


def _shallow(value: Any) -> Any:
    """Scripts look at the top of an intent only."""
    return value.encode() if isinstance(value, str) else value if isinstance(value, int | float) else True


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return b"%.17g" % value
    return str(value).encode()
