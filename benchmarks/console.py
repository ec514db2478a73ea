"""What it costs to print while the console is captured: a million lines into a pipe."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import BinaryIO

from .harness import PEERS, Bench, Figure, Skipped, environment, median

LINE = "epoch 12: step 3456 loss 0.123456 accuracy 0.789012"
# Time is taken in the program itself, from the first line to the return of what ends the run.
PROGRAM = """
import sys, time
begin, count, line, mark = {begin!r}, {count}, {line!r}, {mark!r}
names = {{}}
exec(begin, names)
start = time.perf_counter()
for _ in range(count):
    print(line)
sys.stdout.flush()
printed = time.perf_counter() - start
names["end"]()
with open(mark, "w") as file:
    file.write(f"{{printed}} {{time.perf_counter() - start}}")
"""
BEGINNINGS = {
    "raw": "def end(): pass",
    "tracker": "import tracker; run = tracker.init(project='bench', mode='offline'); end = run.finish",
    "wandb": "import wandb; run = wandb.init(project='bench', mode='offline'); end = run.finish",
}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    count = bench.pick(1_000_000, 200_000)
    counts = {tool: count // 50 if tool in PEERS else count for tool in BEGINNINGS}  # theirs would take minutes
    found = bench.each(list(BEGINNINGS), bench.pick(5, 3), lambda tool: _measure(bench, tool, counts[tool]))
    bare = median([printed for printed, _ in found["raw"]])
    rows = []
    for index, (name, target) in enumerate((("printing", 1.3), ("the same, until the run has ended", None))):
        ratios = {
            tool: median([one[index] for one in values]) / counts[tool] / (bare / count)
            for tool, values in found.items()
        }
        rows.append(
            Figure(
                f"{count:,} printed lines into a pipe, {name}, ÷ without",
                ratios.get("tracker"),
                {tool: ratios[tool] for tool in PEERS if tool in ratios},
                target,
                note=f"without: {bare:.2f} s; wandb by a fiftieth of the lines" if not index else "",
            )
        )
    return rows


def _measure(bench: Bench, tool: str, count: int) -> tuple[float, float]:
    room = bench.room()
    mark = room / "seconds"
    code = PROGRAM.format(begin=BEGINNINGS[tool], count=count, line=LINE, mark=str(mark))
    process = subprocess.Popen(
        [bench.interpreter(tool), "-c", code],
        cwd=room,
        env=environment(room),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    lines = [0]
    reader = threading.Thread(target=_read, args=(process.stdout, lines))
    reader.start()
    process.wait(600)
    reader.join(600)
    if process.returncode or not mark.exists():
        raise Skipped(f"printing ended with {process.returncode}")
    if lines[0] < count:
        raise Skipped(f"of {count:,} printed lines {lines[0]:,} arrived")
    printed, whole = mark.read_text().split()
    return float(printed), float(whole)


def _read(pipe: BinaryIO, lines: list[int]) -> None:
    while data := os.read(pipe.fileno(), 1 << 20):
        lines[0] += data.count(b"\n")
