"""Everything that runs: Valkey, the sandbox, their proxies, workers, producers.

The lanes and the broker are in one Valkey and have a proxy each: what is done to one need not meet the other.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis

from onelane.keys import Keys
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli._local_stack import Program, is_ready

from .processes import POLL_S, Valkey, python, wait_until
from .proxy import Proxy
from .scale import LOST_LANE_REPLIES, SETTINGS, Scale
from .worklist import ATTRIBUTES, Writer

START_S = 90.0
"""Patience with a process that starts: 1 s on a quiet machine, 12 s have been seen on a crowded one."""
FOR_EVER = 10**9
_LANE_SCRIPTS = (Keys().prefix.encode(),)
"""What stands in every call of a script."""
_SANDBOX = (
    "from onelane_sandbox.serve import run; "
    "run(port=0, index_lag={lag}, seed={seed}, rate_per_minute=10_000_000, "
    "on_ready=lambda url: print('serving', url, flush=True))"
)
_WORKER = ("-m", "celery", "-A", "onelane_worker.app", "worker", "-l", "INFO")


class Fleet:
    """A context manager: inside, everything runs except the producers, which `enqueue` starts.

    `settings`: of the workers, beside those that always hold.
    """

    def __init__(
        self, scale: Scale, seed: int, folder: Path, appendfsync: str, settings: Mapping[str, object]
    ) -> None:
        self.scale = scale
        self._settings = settings
        self.folder = folder
        self.valkey = Valkey(folder / "valkey", appendfsync)
        self.workers: list[Program] = []
        self.producers: list[Program] = []
        self.began = 0.0
        self._pace = folder / "pace"
        self._seed = seed
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def _start(self, stack: ExitStack) -> None:
        stack.callback(self.valkey.stop)
        self.valkey.start()
        self.direct = stack.enter_context(Redis.from_url(self.valkey.url, decode_responses=True))
        self.lanes_proxy = stack.enter_context(Proxy("127.0.0.1", self.valkey.port, self._seed))
        self.broker_proxy = stack.enter_context(Proxy("127.0.0.1", self.valkey.port, self._seed + 1))
        self.redis_url = f"redis://127.0.0.1:{self.lanes_proxy.port}/0"
        self.broker_url = f"redis://127.0.0.1:{self.broker_proxy.port}/0"
        sandbox_url = self._start_sandbox(stack)
        self.control = SandboxControl(sandbox_url)
        self._furnish()
        self.intercom_proxy = stack.enter_context(
            Proxy("127.0.0.1", int(sandbox_url.rpartition(":")[2]), self._seed)
        )
        for number in range(self.scale.workers):
            self.workers.append(self._worker(number))
            stack.callback(self.workers[-1].stop)
            self.workers[-1].start()
        for worker in self.workers:
            self.await_ready(worker)

    def _start_sandbox(self, stack: ExitStack) -> str:
        code = _SANDBOX.format(lag=self.scale.windows.index_lag_s, seed=self._seed)
        sandbox = python("sandbox", ["-c", code], {}, self.folder / "sandbox.log")
        stack.callback(sandbox.stop)
        sandbox.start()
        wait_until(lambda: "serving" in sandbox.text, START_S, "the sandbox serves")
        [url] = re.findall(r"serving (\S+)", sandbox.text)
        return str(url)

    def _furnish(self) -> None:
        """Attributes must exist before a contact may have them; these calls are not judged."""
        for name, data_type in ATTRIBUTES.items():
            body = {"name": name, "model": "contact", "data_type": data_type}
            status, answer = self.control.call("POST", "/data_attributes", body)
            if status != 200:
                raise RuntimeError(f"no attribute {name}: {answer}")
        self.control.clear_requests()

    def _worker(self, number: int) -> Program:
        settings = {
            **SETTINGS,
            **self.scale.windows.settings,
            "REDIS_URL": self.redis_url,
            "BROKER_URL": self.broker_url,
            "INTERCOM_URL": f"http://127.0.0.1:{self.intercom_proxy.port}",
            **self._settings,
        }
        name = f"worker{number}"
        args = [*_WORKER, "-n", f"{name}@chaos"]
        return python(name, args, settings, self.folder / f"{name}.log")

    def await_ready(self, worker: Program) -> float:
        """Wait until it consumes; returns when it was seen to."""
        wait_until(lambda: is_ready(worker) or not worker.running, START_S, f"{worker.name} is ready")
        if not worker.running:
            raise RuntimeError(f"{worker.name} ended by itself, see {worker.log}")
        return time.time()

    def await_consumers(self, timeout_s: float = START_S) -> bool:
        """Wait until every worker listens to the broker: after a broken connection Celery takes its time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            listening = sum(one["cmd"] == "brpop" for one in self.direct.client_list())
            if listening >= sum(worker.running for worker in self.workers):
                return True
            time.sleep(POLL_S)
        return False

    def let_faults_loose(self) -> None:
        """The sandbox begins to fail at random."""
        for options in self.scale.faults:
            self.control.fault(str(options["fault"]), times=None, **_rest(options))
        self.lanes_proxy.drop_replies(FOR_EVER, LOST_LANE_REPLIES, to=_LANE_SCRIPTS)

    def calm_down(self) -> None:
        """No more faults by chance."""
        self.control.clear_faults()
        self.lanes_proxy.drop_replies(0)

    def enqueue(self) -> None:
        """Start the producers on their lists."""
        self.began = time.time()
        worklists = Writer(self.scale, self._seed, datetime.now(UTC)).worklists()
        for number, items in enumerate(worklists):
            worklist, journal = self.worklist(number), self.journal(number)
            worklist.write_text("".join(json.dumps(asdict(item)) + "\n" for item in items))
            where = [str(path) for path in (worklist, journal, self._pace)]
            limits = [str(self.began), str(self.scale.pending_max)]
            args = ["-m", "tests.chaos.producer", *where, *limits]
            name, urls = f"producer{number}", {"REDIS_URL": self.redis_url, "BROKER_URL": self.broker_url}
            program = python(name, args, urls, self.folder / f"{name}.log")
            self._stack.callback(program.stop)
            program.start()
            self.producers.append(program)

    def let_producers_go_to(self, at_s: float) -> None:
        """They send what is planned up to then (seconds after the start), and wait."""
        told = self._pace.with_suffix(".new")
        told.write_text(str(at_s))
        told.replace(self._pace)  # at no moment is there half a number

    def stages(self) -> list[list[int]]:
        """The processes that a wake-up passes through; it passes our own in a proxy."""
        return [[one.pid for one in self.workers if one.pid], [self.valkey.pid], [os.getpid()]]

    def worklist(self, number: int) -> Path:
        """What a producer was told to do."""
        return self.folder / f"worklist{number}.jsonl"

    def journal(self, number: int) -> Path:
        """What a producer has done."""
        return self.folder / f"journal{number}.jsonl"

    def pending(self) -> int:
        """Intents accepted and not ended."""
        return int(self.direct.hget(Keys().key("counters"), "pending") or 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _rest(options: object) -> dict[str, object]:
    assert isinstance(options, dict)
    return {name: value for name, value in options.items() if name != "fault"}
