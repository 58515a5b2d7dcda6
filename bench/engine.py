"""`python -m bench.engine [--json] [--only NAME …] [--quick]`: how fast the engine is, beside plain Celery.

Everything runs on this machine in one go, so that the ratios hold although the machine is noisy. Rates are
taken from a backlog: the worker is held still (SIGSTOP) while intents are stored, and timed from the moment
it goes on."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from celery import Celery
from redis.exceptions import NoScriptError
from rich.console import Console
from rich.table import Table
from tests.blocking import finish

from bench.stack import Stack, Worker, stack, wait_until
from onelane import ContactQueue, ContactSync, LeadCapture, ProductSignUp
from onelane.keys import Keys
from onelane.workspace import open_calls, opened
from onelane_worker.lanes.store import WORKER_SCRIPTS, LaneStore, Script, script
from onelane_worker.lanes.types import Ended, LaneSettings, Step
from onelane_worker.settings import Settings

Figures = dict[str, float]
T = TypeVar("T")
console = Console(stderr=True)


def sync(n: int, name: str) -> ContactSync:
    return ContactSync(email=f"p{n}@example.test", external_id=f"x{n}", name=name)


def sign_up(n: int, prefix: str = "p", name: str = "Ann") -> ProductSignUp:
    external_id = f"x{n}" if prefix == "p" else f"{prefix}{n}"
    return ProductSignUp(email=f"{prefix}{n}@example.test", external_id=external_id, name=name)


class Run:
    """A worker and a queue, and what is measured of them."""

    def __init__(self, at: Stack, worker: Worker) -> None:
        self.at, self.worker = at, worker
        self.queue = ContactQueue.from_url(at.redis_url)

    def warm_up(self) -> None:
        self.queue.wait(self.queue.enqueue(LeadCapture(email="warm.up@example.test")).id, timeout=90)

    def backlog(self, intents: Sequence[Any]) -> tuple[float, float]:
        """Serve them from a backlog; returns seconds and CPU seconds of the worker."""
        self.worker.hold()
        self.queue.enqueue_many(intents)
        cpu_s, began = self.worker.cpu_s(), time.monotonic()
        self.worker.go()
        wait_until(lambda: self.at.redis.hget(Keys().key("counters"), "pending") == "0", 180, pause_s=0.01)
        return time.monotonic() - began, self.worker.cpu_s() - cpu_s

    def settle(self, ids: Sequence[str], timeout_s: float = 180.0) -> None:
        """Wait for the end of all."""
        left = list(ids)
        until = time.monotonic() + timeout_s
        while left:
            if self.queue.status(left[-1]).state in ("done", "dead"):
                left.pop()
            elif time.monotonic() > until:
                raise TimeoutError(f"{len(left)} intents have not ended: {self.queue.status(left[-1])}")
            else:
                time.sleep(0.01)


@contextmanager
def running(**settings: object) -> Any:
    with stack() as at, at.onelane(**settings) as worker:
        run = Run(at, worker)
        run.warm_up()
        yield run


def rates(size: int) -> Figures:
    """Updates, newcomers and no-ops from a backlog, one process, no folding; plain Celery beside it."""
    found: Figures = {}
    with running() as run:
        took, cpu = run.backlog([sign_up(n) for n in range(size)])
        found |= {"newcomers/s": size / took, "newcomer cpu ms": cpu / size * 1000}
        took, cpu = run.backlog([sync(n, "Bea") for n in range(size)])
        found |= {"updates/s": size / took, "update cpu ms": cpu / size * 1000}
        took, cpu = run.backlog([sync(n, "Bea") for n in range(size)])
        found |= {"no-ops/s": size / took, "no-op cpu ms": cpu / size * 1000}
        people = size // 4
        fold = [sync(n, f"Name {k}") for k in range(10) for n in range(people)]
        took, cpu = run.backlog(fold)
        found |= {"folded/s": len(fold) / took, "folded cpu ms": cpu / len(fold) * 1000}
    return found | plain(size)


def plain(size: int) -> Figures:
    """The same calls by plain Celery; the better of two pools of threads."""
    found: Figures = {}
    for threads in (32, 64):
        with stack() as at, at.plain("threads", threads) as worker, Celery(broker=at.redis_url) as app:
            task = partial(app.send_task, queue="plain", ignore_result=True)
            send: dict[str, Callable[[int], object]] = {
                "updates": lambda n, task=task: task(
                    "bench.plain_celery.update", (f"{n:024x}", {"name": "Bea"})
                ),
                "newcomers": lambda n, task=task: task(
                    "bench.plain_celery.newcomer", (f"p{n}@example.test", {"name": "Ann"})
                ),
            }
            send["updates"](0)
            wait_until(lambda: at.calls() > 0, 60)
            for name, calls in (("updates", 1), ("newcomers", 2)):
                worker.hold()
                for n in range(size):
                    send[name](n)
                before, cpu_s, began = at.calls(), worker.cpu_s(), time.monotonic()
                worker.go()
                wait_until(lambda: at.calls() >= before + calls * size)  # noqa: B023
                rate = size / (time.monotonic() - began)
                if rate > found.get(f"plain {name}/s", 0):
                    found[f"plain {name}/s"] = rate
                    found[f"plain {name} cpu ms"] = (worker.cpu_s() - cpu_s) / size * 1000
    return found


def hot(size: int) -> Figures:
    """One address with `size` intents that may not fold; and again with 300 cold addresses behind them."""

    def heat(name: str) -> list[Any]:
        return [
            ContactSync(email="h0@example.test", external_id="h0", name=f"{name} {n}") for n in range(size)
        ]

    with running(fold_max=1) as run:
        run.backlog([sign_up(n) for n in range(300)])
        run.backlog([sign_up(0, "h")])
        run.at.log(True)
        run.backlog(heat("Name"))
        calls = [at for at, what, body in run.at.logged() if '"Name ' in body]
        run.worker.hold()
        run.queue.enqueue_many(heat("Again"))
        cold = run.queue.enqueue_many([sync(n, "Bea") for n in range(300)])
        went = time.time()
        run.worker.go()
        run.settle([receipt.id for receipt in cold])
        ends = [run.queue.status(receipt.id).finished_at.timestamp() - went for receipt in cold]
    return {
        "hot address/s": (len(calls) - 1) / (max(calls) - min(calls)),
        "cold behind hot p99 ms": quantile(ends, 0.99) * 1000,
    }


def paced(seconds: int, rate: int = 100) -> Figures:
    """At a steady pace, newcomers (two calls) and then updates of the same people (one call): from the return
    of `enqueue` to the first call, and to the end."""
    found: Figures = {}
    kinds: dict[str, tuple[Callable[[int], Any], re.Pattern[str]]] = {
        "newcomers": (sign_up, re.compile(r"p(\d+)@example\.test")),
        "updates": (lambda n: sync(n, f"Bea {n}."), re.compile(r"Bea (\d+)\.")),
    }
    with running() as run:
        for kind, (make, named) in kinds.items():
            run.at.log(True)
            returned, ids = [], []
            began = time.monotonic()
            for n in range(rate * seconds):
                time.sleep(max(0.0, began + n / rate - time.monotonic()))
                ids.append(run.queue.enqueue(make(n)).id)
                returned.append(time.time())
            run.settle(ids)
            first: dict[int, float] = {}
            for at, _, body in run.at.logged():
                if who := named.search(body):
                    first.setdefault(int(who[1]), at)
            starts = [first[n] - at for n, at in enumerate(returned)]
            ends = [run.queue.status(ids[n]).finished_at.timestamp() - at for n, at in enumerate(returned)]
            found |= {
                f"paced {kind}: start p50 ms": quantile(starts, 0.5) * 1000,
                f"paced {kind}: start p99 ms": quantile(starts, 0.99) * 1000,
                f"paced {kind}: done p99 ms": quantile(ends, 0.99) * 1000,
            }
    return found


def idle(seconds: int) -> Figures:
    """A worker with nothing to do."""
    with running() as run:
        time.sleep(12)  # what a start leaves to be done
        commands = lambda: run.at.redis.info("stats")["total_commands_processed"]  # noqa: E731
        cpu_s, count, began = run.worker.cpu_s(), commands(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        return {
            "idle cpu %": (run.worker.cpu_s() - cpu_s) / took * 100,
            "idle redis commands/s": (commands() - count) / took,
            "memory mb": run.worker.memory_mb(),
        }


def killed(lanes: int = 64) -> Figures:
    """kill -9 of the only worker with all slots at work; another one starts at once."""
    with stack(latency_ms=400.0) as at:
        queue = ContactQueue.from_url(at.redis_url)
        with at.onelane(write_tail_s=2, http_timeout_s=3) as worker:
            run = Run(at, worker)
            run.warm_up()
            receipts = queue.enqueue_many([sign_up(n) for n in range(2 * lanes)])
            wait_until(lambda: at.calls() > lanes // 2)
            worker.kill()
            died = time.time()
        with at.onelane(write_tail_s=2, http_timeout_s=3) as worker:
            Run(at, worker).settle([receipt.id for receipt in receipts])
            ends = sorted(queue.status(receipt.id).finished_at.timestamp() - died for receipt in receipts)
        return {"killed: half done s": statistics.median(ends), "killed: all done s": ends[-1]}


def memory(size: int) -> Figures:
    """Redis bytes of a waiting intent beyond its payload, without a worker."""
    found: Figures = {}
    for name, per_lane, named in (("alone", 1, False), ("ten a lane", 10, False), ("external id", 1, True)):
        with stack() as at:
            queue = ContactQueue.from_url(at.redis_url)
            queue.enqueue(LeadCapture(email="first@example.test"))
            before = at.redis.info("memory")["used_memory"]
            intents = [
                ContactSync(
                    email=f"p{n // per_lane}@example.test",
                    external_id=f"x{n}" if named else None,
                    name="N" * 60,
                )
                for n in range(size)
            ]
            queue.enqueue_many(intents)
            payload = sum(len(intent.to_json()) for intent in intents)
            used = at.redis.info("memory")["used_memory"] - before
            found[f"bytes {name}"] = (used - payload) / size
    return found


def round_trips(times: int = 10) -> Figures:
    """Scripts that the worker calls for one intent, on an idle system; `tick` and `reserve` apart."""
    with running() as run:
        names = {script(name, SCRIPT_SETTINGS).sha: name for name in WORKER_SCRIPTS}
        kinds: dict[str, Callable[[int], Any]] = {
            "newcomer": lambda n: sign_up(n),
            "update": lambda n: sync(n, "Bea"),
            "no-op": lambda n: sync(n, "Bea"),
        }
        found: Figures = {}
        for kind, make in kinds.items():
            with run.at.redis.monitor() as monitor:
                for n in range(times):
                    run.queue.wait(run.queue.enqueue(make(n)).id, timeout=30)
                run.at.redis.echo("the end")
                seen = Counter(_called(line, names) for line in _until_end(monitor))
            for apart in ("tick", "reserve", None):
                seen.pop(apart, None)
            found[f"round trips {kind}"] = seen.total() / times
        return found


SCRIPT_SETTINGS = LaneSettings.of(Settings(requests_per_10s=1_000_000, new_redis=True), new_redis=True)
"""Those of `Stack.onelane`: scripts are known by the digest of their text, which holds the settings."""


def _until_end(monitor: Any) -> Iterator[str]:
    for seen in monitor.listen():
        if "the end" in seen["command"]:
            return
        if seen["client_type"] != "lua":
            yield seen["command"]


def _called(command: str, names: Mapping[str, str]) -> str | None:
    word, _, rest = command.partition(" ")
    return names.get(rest.split(" ", 1)[0].lower()) if word.upper() == "EVALSHA" else None


def scale(sizes: Sequence[int]) -> Figures:
    """Microseconds of one enqueue, claim and settle while so many intents wait, each in its lane: the best
    fifth, because other work of the machine only adds."""
    found: Figures = {}
    with stack() as at:
        queue = ContactQueue.from_url(at.redis_url, pending_max=2 * max(sizes))
        queue.enqueue(LeadCapture(email="first@example.test"))
        workspace = opened("main", [at.redis.execute_command(*call) for call in open_calls(Keys("main"))])
        store = LaneStore(_Blocking(at.redis), workspace, SCRIPT_SETTINGS)
        waiting = number = 0
        for size in sizes:
            for start in range(waiting, size, 10_000):
                people = range(start, min(start + 10_000, size))
                queue.enqueue_many([LeadCapture(email=f"w{n}@example.test", name="Ann") for n in people])
            waiting = size
            wait_until(lambda: not at.redis.info("persistence")["aof_rewrite_in_progress"], 120)
            took: dict[str, list[float]] = {"enqueue": [], "claim of 16": [], "settle": []}
            for n in range(100):
                for k in range(16):
                    intent = LeadCapture(email=f"e{size}.{n}.{k}@example.test", name="Ann")
                    _timed(took["enqueue"], lambda: queue.enqueue(intent))  # noqa: B023
                number += 1
                claimed = _timed(
                    took["claim of 16"],
                    lambda: finish(store.claim("bench", number, 16, suspects=(0, 0), wakes=0, in_hand=0)),  # noqa: B023
                )
                for grant in claimed.grants:
                    step = Step(grant.lane, grant.token, grant.fence, 1)
                    ends = [Ended(grant.head.id, '{"result":"created"}')]
                    _timed(took["settle"], lambda: finish(store.settle(step, ends, registry=None)))  # noqa: B023
            for what, values in took.items():
                found[f"{what} µs, {size:,} waiting"] = quantile(values, 0.2) * 1e6
        for what in took:
            first, last = (found[f"{what} µs, {size:,} waiting"] for size in (sizes[0], sizes[-1]))
            found[f"{what}: most ÷ fewest waiting"] = last / first
    return found


class _Blocking:
    """The lanes' client over a blocking connection."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def run(self, script: Script, key: str, args: Sequence[str | int]) -> Any:
        try:
            return self._redis.evalsha(script.sha, 1, key, *args)
        except NoScriptError:
            return self._redis.eval(script.text, 1, key, *args)

    async def read(self, *command: str | int) -> Any:
        return self._redis.execute_command(*command)


def _timed(took: list[float], call: Callable[[], T]) -> T:
    began = time.perf_counter()
    answer = call()
    took.append(time.perf_counter() - began)
    return answer


def quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


MEASURES: dict[str, Callable[[bool], Figures]] = {
    "rates": lambda quick: rates(500 if quick else 3000),
    "hot": lambda quick: hot(200),
    "paced": lambda quick: paced(5 if quick else 20),
    "idle": lambda quick: idle(5 if quick else 30),
    "killed": lambda quick: killed(),
    "round-trips": lambda quick: round_trips(),
    "scale": lambda quick: scale((1_000, 20_000) if quick else (1_000, 30_000, 1_000_000)),
    "memory": lambda quick: memory(2000 if quick else 20_000),
}


AT_LEAST, AT_MOST = "≥", "≤"
TARGETS: dict[str, tuple[str, float, float]] = {
    "updates ÷ plain": (AT_LEAST, 1.0, 1.5),
    "newcomers ÷ plain": (AT_LEAST, 1.0, 1.3),
    "no-ops/s": (AT_LEAST, 1500, 3000),
    "folded/s": (AT_LEAST, 2500, 4000),
    "update cpu ms": (AT_MOST, 1.5, 1.0),
    "newcomer cpu ms": (AT_MOST, 2.2, 1.5),
    "no-op cpu ms": (AT_MOST, 0.6, 0.3),
    "hot address/s": (AT_LEAST, 44, 46),
    "cold behind hot p99 ms": (AT_MOST, 500, 250),
    "paced newcomers: start p50 ms": (AT_MOST, 4, 3),
    "paced newcomers: start p99 ms": (AT_MOST, 10, 8),
    "paced updates: start p50 ms": (AT_MOST, 4, 3),
    "paced updates: start p99 ms": (AT_MOST, 10, 8),
    "paced updates: done p99 ms": (AT_MOST, 33, 28),
    "round trips newcomer": (AT_MOST, 4, 3),
    "round trips update": (AT_MOST, 3, 2),
    "round trips no-op": (AT_MOST, 2, 2),
    "idle cpu %": (AT_MOST, 0.7, 0.7),
    "idle redis commands/s": (AT_MOST, 20, 8),
    "memory mb": (AT_MOST, 70, 70),
    "enqueue: most ÷ fewest waiting": (AT_MOST, 1.25, 1.25),
    "claim of 16: most ÷ fewest waiting": (AT_MOST, 1.25, 1.25),
    "settle: most ÷ fewest waiting": (AT_MOST, 1.25, 1.25),
    "bytes alone": (AT_MOST, 1050, 850),
    "bytes ten a lane": (AT_MOST, 550, 450),
    "bytes external id": (AT_MOST, 1150, 950),
}
"""What must hold and what is aimed at. Figures depend on the machine and the hour: nothing fails."""


def shown(found: Figures) -> Table:
    """Each figure beside what must hold and what is aimed at."""
    table = Table("what", box=None, header_style="bold")
    for heading in ("measured", "must", "aim"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for what, value in found.items():
        if what not in TARGETS:
            table.add_row(what, f"{value:,.2f}")
            continue
        way, must, aim = TARGETS[what]
        met = [value >= bound if way == AT_LEAST else value <= bound for bound in (must, aim)]
        word = "[green]as aimed[/]" if met[1] else "met" if met[0] else "[red]missed[/]"
        table.add_row(what, f"{value:,.2f}", f"{way} {must:,}", f"{way} {aim:,}", word)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--only", action="append", choices=MEASURES, help="may be given several times")
    asked = parser.parse_args()
    found: Figures = {}
    for number, name in enumerate(names := asked.only or list(MEASURES), 1):
        console.print(f"measuring {name} ({number} of {len(names)}) …", style="dim")
        found |= MEASURES[name](asked.quick)
        if name == "rates":
            for kind in ("updates", "newcomers"):
                found[f"{kind} ÷ plain"] = found[f"{kind}/s"] / found[f"plain {kind}/s"]
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(shown(found))


if __name__ == "__main__":
    sys.exit(main())
