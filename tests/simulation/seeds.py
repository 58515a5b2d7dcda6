"""One process's share of a run: plays its seeds, and tells what it finds as lines of JSON."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable

from .histories import play_all

TELL_EVERY_S = 1.0


def work(seeds: Iterable[int], until_failure: bool) -> int:
    """Play; `{"done": n, "counts": …}` now and then, `{"seed": …, "violations": …}` for every failure."""
    logging.disable(logging.CRITICAL)
    done, counts, told_at, failed = 0, Counter[str](), time.monotonic(), 0
    for verdict in play_all(seeds):
        done += 1
        counts.update(verdict.counts)
        if verdict.violations:
            failed += 1
            print(json.dumps({"seed": verdict.seed, "violations": verdict.violations}), flush=True)
            if until_failure:
                break
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            print(json.dumps({"done": done, "counts": counts}), flush=True)
    print(json.dumps({"done": done, "counts": counts}), flush=True)
    return 1 if failed else 0
