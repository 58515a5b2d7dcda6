"""The same calls on the model and on the real scripts: answers and state must be the same after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from tests.blocking import AllScripts, finish

from onelane.workspace import Workspace
from onelane_worker.lanes.store import Script, Word
from onelane_worker.lanes.types import LaneError, LaneSettings

from .scripts import Scripts
from .stored import of_model, of_redis

CLOCK: Final = """
local function test_field(name) return redis.call('HGET', KEYS[1] .. 'test', name) end
local function clock() return tonumber(test_field('us')) end
local function server() return test_field('server') end
"""
BEGIN_US: Final = 1_800_000_000_000_123


class Server(Protocol):
    """A Redis in which the scripts run."""

    def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        """What the script answers."""

    def command(self, *words: Word) -> Any:
        """What a command answers; hashes as dicts."""

    def dump(self) -> dict[str, Any]:
        """All keys: str, dict, list, set, or list of (member, score)."""

    def set_time(self, now_us: int) -> None:
        """The time by which its keys end, if it can be turned."""

    def empty(self) -> None:
        """Forget everything."""


class Call(NamedTuple):
    """A call of a script, or `wait`, `server`, `empty`."""

    name: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})

    def __str__(self) -> str:
        words = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.named.items())]
        return f"{self.name}({', '.join(words)})"


class Difference(AssertionError):
    """Model and scripts disagree."""


class Twin:
    """A workspace, twice."""

    def __init__(self, server: Server, settings: LaneSettings) -> None:
        self.server = server
        self.settings = settings
        self.model = Scripts(settings)
        self.now_us = BEGIN_US
        self.server_name = "a"
        self.secret = "0123456789abcdef"
        self._stores: dict[str, AllScripts] = {}
        server.empty()
        self.begin()

    def begin(self) -> None:
        """An empty Redis gets a workspace."""
        self.model.state.secret = self.secret
        self.server.command("HSET", self._key("meta"), "secret", self.secret)
        self._tell_server()

    def _key(self, name: str) -> str:
        return Workspace("main", self.secret).keys.key(name)

    def _tell_server(self) -> None:
        self.server.set_time(self.now_us)
        self.server.command("HSET", self._key("test"), "us", self.now_us, "server", self.server_name)
        self.model.set_clock(self.now_us)
        self.model.server = self.server_name

    # ── calls ──

    def do(self, call: Call) -> Any:
        """Make the call on both sides. Returns the answer. Raises `Difference`."""
        if call.name == "wait":
            self.now_us += call.args[0]
        elif call.name == "server":
            self.server_name = call.args[0]
        elif call.name == "empty":
            self._empty(call.args[0])
        elif call.name == "caller":
            return self._compare(call, call.args[0])
        else:
            return self._compare(call, self.secret)
        self._tell_server()
        return None

    def _empty(self, secret: str) -> None:
        self.server.empty()
        self.model.state = Scripts(self.settings).state
        self.secret = secret
        if secret:
            self.begin()

    def _compare(self, call: Call, secret: str) -> Any:
        if call.name == "caller":
            call = Call(call.args[1], call.args[2:], call.named)
        modelled = _answer(lambda: self._on_model(call, secret))
        real = _answer(lambda: self._on_redis(call, secret))
        if modelled != real:
            raise Difference(f"{call}\nmodel   {modelled}\nscripts {real}")
        self.compare_state(call)
        return modelled

    def compare_state(self, call: Call) -> None:
        """All that is stored."""
        modelled, real = (
            of_model(self.model),
            of_redis(self.server.dump(), self.now_us // 1000, self.settings),
        )
        lines = [
            f"{path}: model {one!r}, scripts {other!r}" for path, one, other in _differing("", modelled, real)
        ]
        if lines:
            raise Difference(f"after {call}\n" + "\n".join(lines))

    def _on_model(self, call: Call, secret: str) -> Any:
        args = list(call.args)
        if call.name == "scrub":
            args[0] = call.args[0]
        return self.model.run(secret[:8], call.name, *args, **call.named)

    def _on_redis(self, call: Call, secret: str) -> Any:
        store = self._store(secret)
        if call.name == "submit":
            return self._submit(call, secret)
        args = list(call.args)
        if call.name == "scrub":
            step = args[0]
            args[0] = lambda: step
        return finish(getattr(store, call.name)(*args, **call.named))

    def _submit(self, call: Call, secret: str) -> Any:
        named = call.named
        words = [
            *call.args, int(named["bulk"]), named["kind"], named["payload"], named["schema"],
            named["content"],
            named["dedupe"], named["ext"], named["target"], int(named["erases"]), named["lane_max"],
            named["queue_max"], named["wake_max"],
        ]  # fmt: skip
        store = self._store(secret)
        answer = finish(store.submit(*words))
        return (answer[0], answer[1], bool(int(answer[2])))

    def _store(self, secret: str) -> AllScripts:
        if secret not in self._stores:
            workspace = Workspace("main", secret or "none")
            self._stores[secret] = AllScripts(_Client(self.server), workspace, self.settings, CLOCK)
        return self._stores[secret]


class _Client:
    """What a `AllScripts` needs, without waiting."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        return self._server.run(script, key, args)

    async def read(self, *command: Word) -> Any:
        return self._server.command(*command)


def _answer(ask: Any) -> Any:
    """The answer, in a form in which both sides can be compared."""
    try:
        answer = ask()
    except LaneError as error:
        return "Fenced" if type(error).__name__ == "Stale" else type(error).__name__
    if isinstance(answer, tuple) and type(answer) is not tuple:
        return tuple(answer)
    return answer


def _differing(path: str, one: Any, other: Any) -> list[tuple[str, Any, Any]]:
    """Where two states are not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted(one.keys() | other.keys(), key=str):
            found += _differing(f"{path} {key}", one.get(key), other.get(key))
        return found
    if isinstance(one, float) and isinstance(other, float) and abs(one - other) < 1e-3:
        return []
    return [] if one == other else [(path.strip(), one, other)]
