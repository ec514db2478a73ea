"""Bytes on disk for one point of a 10-metric row: in the open segment, once closed, and in the store."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from . import tools
from .harness import PEERS, Bench, Figure, Skipped, folder_bytes

METRICS = 10
ROWS = {"tracker": 100_000, "wandb": 20_000, "trackio": 20_000, "tensorboardX": 5_000, "mlflow": 300}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found: dict[str, float] = {}
    for tool, rows in ROWS.items():
        count = bench.pick(rows, max(rows // 4, 100))
        try:
            found[tool] = bench.call(tool, "bytes_per_point", "measure", tool=tool, count=count)
        except Skipped as reason:
            bench.tell(f"{tool}: {reason}")
    peers = {tool: value for tool, value in found.items() if tool in PEERS}
    return [
        Figure("bytes per point, open segment", _open(bench), peers, 24, note="peers: after `finish()`, all files"),
        Figure(
            "bytes per point, run finished", found.get("tracker"), peers, 4, note="values with noise in all 24 bits"
        ),
        Figure("bytes per point, in the store", _store(bench), {}, 4, note="metadata and indexes included"),
    ]


def _open(bench: Bench) -> float | None:
    # Few enough rows to lie in the first segment; the process ends without a word, so nothing is packed.
    room, count = bench.room(), 3000
    bench.start("tracker", "bytes_per_point", "measure_open", room, count=count).process.wait()
    segments = [path.read_bytes().rstrip(b"\0") for path in (room / "runs").rglob("*.seg")]
    return sum(len(one) for one in segments) / (count * METRICS) if segments else None


def _store(bench: Bench) -> float | None:
    room, count = bench.room(), bench.pick(ROWS["tracker"], 25_000)
    try:
        bench.call("tracker", "bytes_per_point", "measure", room, tool="tracker", count=count)
        bench.call("tracker", "bytes_per_point", "measure_store", room)
    except Skipped as reason:
        bench.tell(f"tracker: {reason}")
        return None
    return folder_bytes(room / "cache") / (count * METRICS)


def measure(tool: str, count: int) -> float:
    """Log and finish; answer all bytes written, by point; in the tool's interpreter."""
    before = folder_bytes(Path.cwd())
    rows = tools.rows(count, METRICS)
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    written = folder_bytes(Path.cwd()) if tool == "mlflow" else before  # its empty database is no cost of points
    for row in rows:
        log(row)
    one.close()
    return (folder_bytes(Path.cwd()) - written) / (count * METRICS)


def measure_open(count: int) -> None:
    """Log, and vanish."""
    log = tools.Tracker().open(Path.cwd())
    for row in tools.rows(count, METRICS):
        log(row)
    os.kill(os.getpid(), signal.SIGKILL)


def measure_store() -> int:
    """Have the local index take the runs in."""
    import tracker

    with tracker.Api(dir=str(Path.cwd() / "runs")) as api:
        return len(api.runs("bench"))
