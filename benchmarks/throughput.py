"""Points per second from one process, from the first `log()` to the return of `finish()`."""

from __future__ import annotations

import time
from pathlib import Path

from . import tools
from .harness import PEERS, Bench, Figure, median

# Rows of 10 metrics: as many as a tool takes in some seconds.
ROWS = {"tracker": 200_000, "raw": 200_000, "trackio": 40_000, "wandb": 20_000, "tensorboardX": 5_000, "mlflow": 300}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    values = bench.each(
        list(ROWS),
        bench.pick(5, 2),
        lambda tool: bench.call(
            tool, "throughput", "measure", tool=tool, count=bench.pick(ROWS[tool], max(ROWS[tool] // 5, 100))
        ),
    )
    rates = {tool: median(many) for tool, many in values.items()}
    note = f"raw file: {rates['raw']:,.0f}" if "raw" in rates else ""
    return [
        Figure(
            "points/s from one process incl. `finish()`, 10 metrics a row",
            rates.get("tracker"),
            {tool: rate for tool, rate in rates.items() if tool in PEERS},
            1_000_000,
            is_more_better=True,
            note=note,
        )
    ]


def measure(tool: str, count: int) -> float:
    """Answer points per second; in the tool's interpreter."""
    rows = tools.rows(2000, 10)
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    start = time.perf_counter()
    for number in range(count):
        log(rows[number % 2000])
    one.close()
    return count * 10 / (time.perf_counter() - start)
