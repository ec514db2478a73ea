"""What one `log()` costs the training thread, in units of `json.dumps` + `file.write` of the same row."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import tools
from .harness import PEERS, Bench, Figure, median

TARGETS = {1: 0.8, 10: 0.4, 100: 0.2}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found = []
    for metrics, target in TARGETS.items():
        names = ["tracker", "tracker write(2)", *PEERS]
        seconds = bench.pick(20, 5) / 10
        values = bench.each(
            names,
            bench.pick(5, 3),
            lambda tool, n=metrics, s=seconds: bench.call(tool, "log_cost", "measure", tool=tool, metrics=n, seconds=s),
        )

        def ratio(tool: str, values: dict[str, list[Any]] = values) -> float:
            return median([one["p50"] / one["raw"] for one in values[tool]])

        plural = "metric" if metrics == 1 else "metrics"
        peers = {tool: ratio(tool) for tool in PEERS if tool in values}
        ours = ratio("tracker") if "tracker" in values else None
        one = values.get("tracker", [{}])
        note = (
            f"{median([x['p50'] for x in one]) / 1e3:.1f} µs; the unit {median([x['raw'] for x in one]) / 1e3:.1f} µs"
            if ours
            else ""
        )
        found.append(Figure(f"`log()` p50, {metrics} {plural}, ÷ json+write", ours, peers, target, note=note))
        if "tracker write(2)" in values:
            found.append(Figure(f"the same, {metrics} {plural}, by `write(2)`", ratio("tracker write(2)"), {}, 2.0))
        if metrics == 10 and ours is not None:
            tails = {tool: median([x["p99"] / x["p50"] for x in many]) for tool, many in values.items()}
            stalls = {tool: median([x["longest"] / 1e6 for x in many]) for tool, many in values.items()}
            raw = median([x["raw_longest"] / 1e6 for x in one])
            found.append(
                Figure("`log()` p99 ÷ own p50", tails["tracker"], {k: v for k, v in tails.items() if k in PEERS}, 4.0)
            )
            found.append(
                Figure(
                    "longest `log()` flat out, ms",
                    stalls["tracker"],
                    {k: v for k, v in stalls.items() if k in PEERS},
                    5.0,
                    note=f"json+write in the same processes: {raw:.1f} ms, which is the machine's part",
                )
            )
    return found


def measure(tool: str, metrics: int, seconds: float) -> dict[str, float]:
    """Time each call; in the tool's interpreter. The unit is timed in the same process before and after."""
    rows = tools.rows(512, metrics)
    timer = _timer()
    before = _times_of_raw(rows, seconds / 4)
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    _times(log, rows, 0.2, 200)
    times = _times(log, rows, seconds, 40_000)
    one.close()
    after = _times_of_raw(rows, seconds / 4)
    raw = min(_at(before, 0.5), _at(after, 0.5))
    return {
        "p50": max(_at(times, 0.5) - timer, 1),
        "p99": max(_at(times, 0.99) - timer, 1),
        "longest": times[-1],
        "raw": max(raw - timer, 1),
        "raw_longest": max(before[-1], after[-1]),
        "calls": len(times),
    }


def _times_of_raw(rows: list[tools.Row], seconds: float) -> list[int]:
    raw = tools.Raw()
    try:
        return _times(raw.open(Path.cwd()), rows, seconds, 40_000)
    finally:
        raw.close()


def _times(log: Callable[[tools.Row], object], rows: list[tools.Row], seconds: float, most: int) -> list[int]:
    clock = time.perf_counter_ns
    times: list[int] = []
    end = clock() + int(seconds * 1e9)
    while len(times) < most and clock() < end:
        for row in rows:
            start = clock()
            log(row)
            times.append(clock() - start)
            if times[-1] > 50_000_000 and clock() > end:  # a slow tool need not see all rows
                break
    return sorted(times)


def _timer() -> float:
    clock = time.perf_counter_ns
    times = []
    for _ in range(2000):
        start = clock()
        times.append(clock() - start)
    return median(times)


def _at(ordered: list[int], part: float) -> float:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
