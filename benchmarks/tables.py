"""Tables: a question over a million rows, and what rows that are added cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .harness import Bench, Figure, Skipped, tracker_server

COLUMNS = ("id", "truth", "guess", "score", "loss", "ok", "epoch", "text")
ADDED = 1000


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    count = bench.pick(1_000_000, 100_000)
    ours: dict[str, Any] = {}
    asked: dict[str, float] = {}
    peers: dict[str, dict[str, Any]] = {}
    try:
        room = bench.room()
        ours = bench.call("tracker", "tables", "write", room, count=count)
        with tracker_server(bench, "ui", room) as server:
            asked = bench.call("tracker", "tables", "ask", url=server.url, count=count)
    except Skipped as reason:
        bench.tell(f"tracker: {reason}")
    try:
        peers["wandb"] = bench.call("wandb", "tables", "write_wandb", count=count)
    except Skipped as reason:
        bench.tell(f"wandb: {reason}")

    def of_peers(key: str) -> dict[str, float]:
        return {tool: one[key] for tool, one in peers.items()}

    size = f"table of {count:,} rows × {len(COLUMNS)} columns"
    return [
        Figure(f"{size}: filter + group, s", asked.get("group"), {}, 1.0, note="over HTTP, the best of five"),
        Figure(f"{size}: join of two on a key, s", asked.get("join"), {}, note="over HTTP"),
        Figure(f"{size}: a page of 100, sorted by a column, s", asked.get("page"), {}, note="over HTTP"),
        Figure(f"{size}: log() holds the caller, ms", ours.get("held"), of_peers("held"), note="INCREMENTAL"),
        Figure(f"{size}: logged until stored, s", ours.get("stored"), of_peers("stored")),
        Figure(f"{size}: stored, MB", ours.get("megabytes"), of_peers("megabytes")),
        Figure(
            f"{ADDED:,} rows more, logged again: bytes added per row",
            ours.get("added"),
            of_peers("added"),
            ours.get("whole", 0) * 2 or None,
            note="target: twice what a row of the whole table takes",
        ),
        Figure("add_data of a row of 8 values, µs", ours.get("add"), of_peers("add")),
    ]


def columns(count: int, seed: int) -> dict[str, list[Any]]:
    """Answer the columns of a table, as lists."""
    import random

    source = random.Random(seed)
    names = [f"class {number}" for number in range(10)]
    return {
        "id": list(range(count)),
        "truth": source.choices(names, k=count),
        "guess": source.choices(names, k=count),
        "score": [source.random() for _ in range(count)],
        "loss": [source.gauss(0, 1) for _ in range(count)],
        "ok": [source.random() < 0.5 for _ in range(count)],
        "epoch": [number % 10 for number in range(count)],
        "text": [f"sample number {source.randrange(10**9)}" for _ in range(count)],
    }


def write(count: int) -> dict[str, float]:
    """Log a large table, and some rows more."""
    import tracker

    given = columns(count, 1)
    table = tracker.Table(columns=list(COLUMNS), log_mode="INCREMENTAL")
    rows = list(zip(*given.values(), strict=True))
    start = time.perf_counter()
    for row in rows:
        table.add_data(*row)
    add = time.perf_counter() - start
    run = tracker.init(project="tables", id="one", dir=Path.cwd() / "runs", mode="offline")
    found = _logged(run, table, rows[:ADDED], run.flush, Path.cwd() / "runs")
    other = tracker.Table(columns=list(COLUMNS), data=list(zip(*columns(count, 2).values(), strict=True)))
    run.log({"other": other})
    run.finish()
    return {**found, "add": add / count * 1e6}


def write_wandb(count: int) -> dict[str, float]:
    """Do the same with wandb, offline."""
    import wandb

    os.environ["WANDB_MODE"] = "offline"
    wandb.Table.MAX_ROWS = wandb.Table.MAX_ARTIFACT_ROWS = 10 * count
    given = columns(count, 1)
    table = wandb.Table(columns=list(COLUMNS), log_mode="INCREMENTAL")
    rows = list(zip(*given.values(), strict=True))
    start = time.perf_counter()
    for row in rows:
        table.add_data(*row)
    add = time.perf_counter() - start
    run = wandb.init(project="tables", dir=str(Path.cwd()))
    found = _logged(run, table, rows[:ADDED], lambda: time.sleep(5), Path.cwd())  # it has no flush
    found["stored"] = found["held"] / 1000  # all of it while the caller waits
    run.finish()
    return {**found, "add": add / count * 1e6}


def _logged(run: Any, table: Any, more: list[Any], flush: Callable[[], object], folder: Path) -> dict[str, float]:
    flush()
    before = _bytes(folder)
    start = time.perf_counter()
    run.log({"t": table})
    held = time.perf_counter() - start
    flush()
    stored = time.perf_counter() - start
    whole = _bytes(folder) - before
    count = len(table.get_index())
    for row in more:
        table.add_data(*row)
    run.log({"t": table})
    flush()
    return {
        "held": held * 1e3,
        "stored": stored,
        "megabytes": whole / 1e6,
        "whole": whole / count,
        "added": (_bytes(folder) - before - whole) / len(more),
    }


def _bytes(folder: Path) -> int:
    """Answer the bytes of all files but journals, which are allocated ahead."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix not in (".seg", ".blk")
    )


def ask(url: str, count: int) -> dict[str, float]:
    """Ask over HTTP, through `tracker.Api`."""
    import tracker

    api = tracker.Api(base_url=url)
    until = time.monotonic() + 60
    while len(api.runs("tables", filters={"state": "finished"})) != 1:
        if time.monotonic() > until:
            raise RuntimeError("the server does not see the run")
        time.sleep(0.05)
    run = api.runs("tables")[0]

    def group() -> None:
        chosen = run.table("t").filter({"guess": {"$ne": {"$column": "truth"}}, "score": {"$gt": 0.1}})
        groups = chosen.group("truth", {"n": "count", "score": ("mean", "score"), "loss": ("std", "loss")}).rows()
        assert len(groups) == 10
        assert sum(group["n"] for group in groups) > 0.7 * count

    def join() -> None:
        both = run.table("t").join(run.table("other"), "id")
        assert sum(group["n"] for group in both.group("_diff", {"n": "count"})) == count + ADDED

    def page() -> None:
        assert len(run.table("t").sort("-score").rows(100)) == 100

    return {"group": _best(group), "join": _best(join), "page": _best(page)}


def _best(ask: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    return min(times)
