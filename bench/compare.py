"""`python -m bench.compare [--people N] [--seconds S] [--only NAME …] [--json]`: what each way of writing
contacts costs, on the same stories, with the same faults, each on a sandbox of its own.

Time runs twenty times as fast as in life: the index lags 3 s for 60, a lock that is held for a minute is held
for 3 s, a cool-down of three minutes is 9 s. Calls and pauses between tries are scaled, too. Ends with 1 if
Onelane breaks a promise."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.mix import Event, Mix, Person, make_mix
from bench.policies import POLICIES, Policy
from bench.policies.setting import TOKEN, Setting
from onelane_sandbox.client import JsonObject, SandboxControl
from onelane_worker.cli import _local_stack as local
from onelane_worker.cli._local_stack import LocalStack

SCALE = 1 / 20
LAG_S = 60.0
"""Real seconds that the index lags."""
SETTLE_WINDOW_S = 600.0
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"name": "lose_response", "probability": 0.03, "method": "POST", "path": "^/contacts$"},
    {"name": "lose_response", "probability": 0.02, "method": "PUT"},
    {"name": "status_503", "probability": 0.02},
    {"name": "slow", "probability": 0.1, "seconds": 0.2},
)
WORKER = {"HTTP_TIMEOUT_S": 2, "WRITE_TAIL_S": 1, "SEND_GRACE_S": 0.5, "NEW_REDIS": "true"}
console = Console(stderr=True)


@dataclass(frozen=True)
class Score:
    """What a policy came to."""

    policy: str
    intents: int
    duplicate_leads: int
    duplicate_users: int
    lost_updates: int
    wrong_consent: int
    given_up: int
    calls_per_intent: float
    p50_s: float
    p99_s: float
    """Until the write of what an intent says, or of what was said later, has been answered; real seconds."""
    never: int
    """Intents whose words were never written, nor later ones."""

    @property
    def is_clean(self) -> bool:
        """Nobody is doubled, and nothing is lost."""
        wrong = self.duplicate_leads + self.duplicate_users + self.lost_updates + self.wrong_consent
        return not wrong and not self.given_up


# ── the run ───────────────────────────────────────────────────────────────────────────────────────────────


def play(name: str, mix: Mix, setting: Setting, sandbox: SandboxControl) -> Score:
    """All stories by one policy, in an empty workspace."""
    sandbox.reset()
    sandbox.lag(LAG_S * setting.scale)
    policy = POLICIES[name](Setting(setting.intercom_url, setting.redis_url, setting.scale))
    for fault in FAULTS:
        options = {**fault, "times": None}
        sandbox.fault(options.pop("name"), **options)
    sandbox.clear_requests()
    began = time.time()
    given_up = _tell(policy, mix, sandbox, began)
    policy.close()
    return judge(name, mix, began, given_up, sandbox.contacts(), sandbox.requests())


def _tell(policy: Policy, mix: Mix, sandbox: SandboxControl, began: float) -> int:
    """Every event at its time. Returns how many intents were given up."""
    browser = threading.Thread(target=_browse, args=(mix, sandbox, began), name="bench-browser")
    browser.start()
    with ThreadPoolExecutor(128) as threads:
        told: list[Future[None]] = []
        for event in mix.events:
            time.sleep(max(0.0, began + event.at_s - time.time()))
            told.append(threads.submit(policy.apply, event.service, event.intent))
        errors = [one.exception() for one in told]
    browser.join()
    return sum(error is not None for error in errors)


def _browse(mix: Mix, sandbox: SandboxControl, began: float) -> None:
    """What the browser SDK does; it does not give up."""
    for one in sorted(mix.browser, key=lambda act: act.at_s):
        time.sleep(max(0.0, began + one.at_s - time.time()))
        body = {"role": "user", "email": one.email, "external_id": one.external_id, "name": BROWSER}
        while True:
            try:
                status, _ = sandbox.call("POST", "/contacts", body)
            except (OSError, ValueError):
                continue
            if status in (200, 409):
                break


BROWSER = "made by the browser"


# ── the verdict ───────────────────────────────────────────────────────────────────────────────────────────


def judge(
    name: str,
    mix: Mix,
    began: float,
    given_up: int,
    contacts: Sequence[JsonObject],
    log: Sequence[JsonObject],
) -> Score:
    """The true state, and the log."""
    live = [one for one in contacts if not (one["archived"] or one["deleted"] or one["merged_into"])]
    found = {person.email: [one for one in live if one["email"] == person.email] for person in mix.people}
    wrong: Counter[str] = Counter()
    for person in mix.people:
        wrong.update(_wrong(person, found[person.email]))
    ours = [one for one in log if (one["body"] or {}).get("name") != BROWSER]
    waits, never = _waits(mix, began, contacts, ours)
    return Score(
        policy=name,
        intents=len(mix.events),
        duplicate_leads=wrong["lead"],
        duplicate_users=wrong["user"],
        lost_updates=wrong["lost"],
        wrong_consent=wrong["consent"],
        given_up=given_up,
        calls_per_intent=len(ours) / len(mix.events),
        p50_s=_quantile(waits, 0.5) / SCALE,
        p99_s=_quantile(waits, 0.99) / SCALE,
        never=never,
    )


def _wrong(person: Person, mine: Sequence[JsonObject]) -> Counter[str]:
    users = sum(one["role"] == "user" for one in mine)
    leads = len(mine) - users
    values = [[name for name, value in person.holds.items() if one.get(name) != value] for one in mine]
    lost = min(values, key=len, default=list(person.holds))
    said = person.unsubscribed
    consent = said is not None and (not mine or any(one["unsubscribed_from_emails"] != said for one in mine))
    return Counter(
        user=max(0, users - 1),
        lead=leads if users else max(0, leads - 1),
        lost=len(lost),
        consent=int(consent),
    )


def _waits(
    mix: Mix, began: float, contacts: Sequence[JsonObject], log: Sequence[JsonObject]
) -> tuple[list[float], int]:
    """From each event until its value, or a later one of that person and field, was written."""
    address = {one["id"]: one["email"] for one in contacts}
    written: dict[tuple[str, str, Any], float] = {}
    for entry in log:
        if not entry["committed"] or entry["method"] not in ("POST", "PUT"):
            continue
        body = entry["body"] or {}
        who = body.get("email") or address.get(entry["path"].rpartition("/")[2])
        for field in ("name", "phone"):
            if field in body and who is not None:
                at = entry["at"] + (entry["duration_ms"] or 0) / 1000
                written.setdefault((who.lower(), field, body[field]), at)
    waits, never = [], 0
    for event in mix.events:
        if event.shows is None:
            continue
        moments = [
            written.get((event.intent.email, *later.shows))
            for later in _at_or_after(event, mix.events)
            if later.shows is not None
        ]
        seen = [moment for moment in moments if moment is not None]
        if seen:
            waits.append(max(0.0, min(seen) - began - event.at_s))
        else:
            never += 1
    return waits, never


def _at_or_after(event: Event, events: Sequence[Event]) -> Iterator[Event]:
    """What says something of the same field of the same person, not earlier."""
    assert event.shows is not None
    for one in events:
        same = one.shows is not None and one.shows[0] == event.shows[0]
        if same and one.intent.email == event.intent.email and one.at_s >= event.at_s:
            yield one


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def stage(directory: Path) -> Iterator[tuple[SandboxControl, Setting]]:
    """A sandbox, a Redis and a worker."""
    with LocalStack(directory) as stack:
        redis_url = local.start_valkey(stack, local.free_port(), directory, local.IN_MEMORY)
        port = local.free_port()
        sandbox = local.start_sandbox(stack, port, str(LAG_S * SCALE))
        url = local.http_url(port)
        stack.wait_until(lambda: local.sandbox_answers(url), sandbox)
        settings = {
            **WORKER,
            "REDIS_URL": redis_url,
            "INTERCOM_URL": url,
            "INTERCOM_TOKEN": TOKEN,
            "SETTLE_WINDOW_S": SETTLE_WINDOW_S * SCALE,
        }
        worker = local.start_worker(stack, local.environment(**settings))
        stack.wait_until(lambda: local.is_ready(worker), worker)
        yield SandboxControl(url, TOKEN), Setting(url, redis_url, SCALE)


def compare(names: Sequence[str], mix: Mix, tell: Callable[[str], None]) -> list[Score]:
    """Each policy in turn."""
    scores = []
    with (
        tempfile.TemporaryDirectory(prefix="onelane-bench-") as directory,
        stage(Path(directory)) as (sandbox, setting),
    ):
        for number, name in enumerate(names, 1):
            tell(f"{name} ({number} of {len(names)}) …")
            scores.append(play(name, mix, setting, sandbox))
    return scores


def shown(scores: Sequence[Score]) -> Table:
    """The table."""
    table = Table(box=None, header_style="bold")
    table.add_column("policy", no_wrap=True)
    heads = (
        "dupl. leads",
        "dupl. users",
        "lost",
        "consent",
        "given up",
        "calls each",
        "p50 s",
        "p99 s",
        "never",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for one in scores:
        wrong = (one.duplicate_leads, one.duplicate_users, one.lost_updates, one.wrong_consent, one.given_up)
        cells = [f"[red]{count}[/]" if count else "0" for count in wrong]
        cells += [f"{one.calls_per_intent:.2f}", f"{one.p50_s:.1f}", f"{one.p99_s:.1f}", str(one.never)]
        table.add_row(one.policy, *cells)
    return table


HEADS = (
    "policy", "duplicate leads", "duplicate users", "lost updates", "wrong consent", "given up",
    "calls an intent", "p50, s", "p99, s", "never",
)  # fmt: skip
ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "comparison.md")
BEGIN, END = "<!-- policies -->\n", "<!-- /policies -->"


def as_markdown(scores: Sequence[Score], mix: Mix) -> str:
    """The table for a page, with what it was measured on."""
    rows = ["| " + " | ".join(HEADS) + " |", "| --- |" + " ---: |" * (len(HEADS) - 1)]
    for one in scores:
        name = f"**{one.policy}**" if one.policy == "Onelane" else one.policy
        counts = (one.duplicate_leads, one.duplicate_users, one.lost_updates, one.wrong_consent, one.given_up)
        times = (f"{one.calls_per_intent:.2f}", f"{one.p50_s:.1f}", f"{one.p99_s:.0f}", str(one.never))
        rows.append("| " + " | ".join((name, *map(str, counts), *times)) + " |")
    said = (
        f"{len(mix.people)} people, {len(mix.events)} intents, {date.today()}, {os.cpu_count()} processors."
    )
    return "\n".join([*rows, "", said, ""])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--people", type=int, default=210)
    parser.add_argument("--seconds", type=float, default=15.0, help="in which their stories begin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=POLICIES, help="may be given several times")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--write", action="store_true", help="put the table into README and docs/comparison.md"
    )
    asked = parser.parse_args()
    mix = make_mix(asked.people, asked.seconds, asked.seed)
    scores = compare(asked.only or list(POLICIES), mix, lambda text: console.print(text, style="dim"))
    if asked.write:
        for page in PAGES:
            before, _, rest = page.read_text("utf-8").partition(BEGIN)
            page.write_text(before + BEGIN + as_markdown(scores, mix) + END + rest.partition(END)[2], "utf-8")
    if asked.json:
        print(json.dumps([asdict(one) for one in scores], indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(shown(scores))
    return int(any(one.policy == "Onelane" and not one.is_clean for one in scores))


if __name__ == "__main__":
    sys.exit(main())
