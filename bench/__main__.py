"""`python -m bench [--json]`: memory, latency and throughput, measured one after the other."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from bench import latency, memory, throughput
from bench.stage import stage


def main() -> None:
    results = {"memory": memory.measure()}
    with stage() as running:
        results["memory"] |= memory.measure_unchanged(running)
        results["latency"] = latency.measure(running)
        results["throughput"] = throughput.measure(running)
    if "--json" in sys.argv:
        print(json.dumps(results, indent=2))
        return
    table = Table("what", "measured", "value", box=None)
    for what, values in results.items():
        for n, (name, value) in enumerate(values.items()):
            table.add_row(what if n == 0 else "", name, f"{value:,.2f}".rstrip("0").rstrip("."))
    Console().print(table)


if __name__ == "__main__":
    main()
