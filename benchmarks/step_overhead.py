"""How much of a training step of 2.2 ms goes into `log()`, and how much slower the loop gets by the clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from . import tools
from .harness import PEERS, Bench, Figure, median

STEP_SECONDS = 0.0022
BLOCK = 50  # steps with logging, then as many without


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    values = bench.each(
        ["tracker", "raw", *PEERS],
        bench.pick(5, 2),
        lambda tool: bench.call(tool, "step_overhead", "measure", tool=tool, blocks=bench.pick(20, 6)),
    )

    def of(name: str) -> dict[str, float]:
        return {tool: median([one[name] for one in many]) for tool, many in values.items()}

    shares, slower, longest = of("share"), of("slower"), of("longest")
    raw = f"raw file: {shares['raw']:.2f}" if "raw" in shares else ""
    rows = [("time inside `log()` in a 2.2 ms step, 6 scalars, %", shares, 0.8, raw)]
    noise = f"raw file: {slower['raw']:.1f}, which is the noise" if "raw" in slower else ""
    rows.append(("slowdown of that loop by the clock, %", slower, None, noise))
    rows.append(("longest `log()` in that loop, ms", longest, 5.0, f"raw file: {longest.get('raw', 0):.2f}"))
    return [
        Figure(name, of.get("tracker"), {tool: of[tool] for tool in PEERS if tool in of}, target, note=note)
        for name, of, target, note in rows
    ]


def measure(tool: str, blocks: int) -> dict[str, float]:
    """Run the loop; in the tool's interpreter."""
    rows = tools.rows(512, 6)
    work = _work()
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    clock = time.perf_counter
    inside: list[float] = []
    with_log, without = [], []
    for number in range(2 * blocks):
        start = clock()
        for step in range(BLOCK):
            work()
            if number % 2 == 0:
                before = clock()
                log(rows[step])
                inside.append(clock() - before)
        (without if number % 2 else with_log).append(clock() - start)
    one.close()
    return {
        "share": 100 * sum(inside) / sum(with_log),
        "slower": 100 * (median(with_log) / median(without) - 1),
        "longest": max(inside) * 1e3,
    }


def _work() -> Any:
    """Answer a function of about 2.2 ms that, like a framework, spends them outside the interpreter."""
    import numpy

    matrix = numpy.random.default_rng(0).random((96, 96), dtype=numpy.float32)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    count = max(1, round(STEP_SECONDS / median(times)))

    def work() -> None:
        for _ in range(count):
            matrix @ matrix

    return work
