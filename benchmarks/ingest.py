"""Points per second that a server has stored, over loopback, and its CPU time for each."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Server, Skipped, free_port, serving, tracker_server

METRICS = 10
TOKEN = "benchmark"


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found = []
    for clients in (1, 4):
        ours, theirs = None, {}
        for name, measure in (("tracker", _tracker), ("trackio", _trackio), ("mlflow", _mlflow)):
            try:
                rate = measure(bench, clients)
            except Skipped as reason:
                bench.tell(f"{name}: {reason}")
                continue
            if name == "tracker":
                ours = rate
            else:
                theirs[name] = rate
        many = f"{clients} client{'s' * (clients > 1)}"
        rates = {name: rate for name, (rate, _) in theirs.items()}
        target = 3 * rates["trackio"] if "trackio" in rates else None
        found.append(
            Figure(
                f"ingest over loopback, points/s stored, {many}",
                ours and ours[0],
                rates,
                target,
                is_more_better=True,
                note="target: 3 × trackio in this run; clients, on the same cores, send finished runs",
            )
        )
        found.append(
            Figure(f"server CPU per point, µs, {many}", ours and ours[1], {k: c for k, (_, c) in theirs.items()}, 1.2)
        )
    return [*found, *_live(bench)]


def _live(bench: Bench) -> list[Figure]:
    rates: dict[str, float] = {}
    costs: dict[str, float] = {}
    for tool in ("tracker", "trackio"):
        rows = bench.pick(200_000, 40_000) // (1 if tool == "tracker" else 5)
        try:
            with tracker_server(bench) if tool == "tracker" else _trackio_server(bench) as server:
                before = server.cpu_seconds()
                child = bench.start(tool, "ingest", "log_to_server", tool=tool, url=server.url, count=rows)
                rates[tool], costs[tool] = _rate([child], rows * METRICS, server.cpu_seconds, before)
        except Skipped as reason:
            bench.tell(f"{tool}: {reason}")
    peers = {name: {k: v for k, v in found.items() if k != "tracker"} for name, found in (("r", rates), ("c", costs))}
    return [
        Figure(
            "logged online flat out, points/s until all is stored",
            rates.get("tracker"),
            peers["r"],
            is_more_better=True,
            note="from the first `log()` to the return of `finish()`",
        ),
        Figure("the same, server CPU per point, µs", costs.get("tracker"), peers["c"], 1.2),
    ]


def _tracker(bench: Bench, clients: int) -> tuple[float, float]:
    rows = bench.pick(200_000, 50_000) // clients
    rooms = [bench.room() for _ in range(clients)]
    for number, room in enumerate(rooms):
        bench.call("tracker", "ingest", "write", room, count=rows, seed=number)
    with tracker_server(bench) as server:
        before = server.cpu_seconds()
        children = [bench.start("tracker", "ingest", "sync", room, url=server.url) for room in rooms]
        answer = _rate(children, rows * clients * METRICS, server.cpu_seconds, before)
        stored = bench.call("tracker", "ingest", "points_at", url=server.url)
        if stored != rows * clients * METRICS:
            raise Skipped(f"the server has {stored:,} points of {rows * clients * METRICS:,}")
        return answer


def _trackio(bench: Bench, clients: int) -> tuple[float, float]:
    rows = bench.pick(40_000, 10_000) // clients
    with _trackio_server(bench) as server:
        before = server.cpu_seconds()
        children = [
            bench.start("trackio", "ingest", "send_trackio", url=server.url + "/", count=rows, seed=number)
            for number in range(clients)
        ]
        return _rate(children, rows * clients * METRICS, server.cpu_seconds, before)


def _trackio_server(bench: Bench) -> AbstractContextManager[Server]:
    port, room = free_port(), bench.room()
    serve = (
        f"import os; os.environ['TRACKIO_WRITE_TOKEN'] = {TOKEN!r}; import trackio; "
        f"trackio.show(open_browser=False, block_thread=True, host='127.0.0.1', server_port={port})"
    )
    return serving([bench.interpreter("trackio"), "-c", serve], room, port, "/version")


def _mlflow(bench: Bench, clients: int) -> tuple[float, float]:
    rows = bench.pick(2_000, 500) // clients
    port, room = free_port(), bench.room()
    command = [bench.interpreter("mlflow"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{room}/mlflow.db"]
    with serving(command, room, port, "/health") as server:
        before = server.cpu_seconds()
        children = [
            bench.start("mlflow", "ingest", "send_mlflow", url=server.url, count=rows, seed=number)
            for number in range(clients)
        ]
        return _rate(children, rows * clients * METRICS, server.cpu_seconds, before)


def _rate(children: list[Any], points: int, cpu: Any, before: float) -> tuple[float, float]:
    spans = [child.answer("ingest") for child in children]
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    used = cpu()
    while True:  # what a server puts off until later is work as well
        time.sleep(1)
        if cpu() - used < 0.02:
            break
        used = cpu()
    return points / seconds, (used - before) / points * 1e6


def write(count: int, seed: int) -> None:
    """Write one run offline."""
    one = tools.Tracker()
    log = one.open(Path.cwd())
    for row in tools.rows(count, METRICS, seed):
        log(row)
    one.close()


def sync(url: str) -> tuple[float, float]:
    """Deliver what lies in the room, as `tracker sync` does; the time of the import is not counted."""
    import requests  # noqa: F401 - loaded before the clock starts

    from tracker.core.cli import main
    from tracker.core.cli import sync as _  # noqa: F401

    sys.argv = ["tracker", "sync", str(Path.cwd() / "runs"), "--url", url]
    start = time.time()
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    return start, time.time()


def log_to_server(tool: str, url: str, count: int) -> tuple[float, float]:
    """Log as fast as it goes, with the server at the other end."""
    rows = tools.rows(2000, METRICS)
    if tool == "tracker":
        import tracker

        run = tracker.init(project="bench", mode="online", settings={"base_url": url, "silent": True})
        log, finish = run.log, run.finish
    else:
        import trackio

        trackio.init(project="bench", server_url=f"{url}/?write_token={TOKEN}", embed=False)
        log, finish = trackio.log, trackio.finish
    start = time.time()
    for number in range(count):
        log(rows[number % 2000])
    finish()
    return start, time.time()


def points_at(url: str) -> int:
    """Answer how many points the server has, as read back."""
    import tracker

    runs = tracker.Api(base_url=url).runs("bench")
    return sum(len(run.history(pandas=False)) * METRICS for run in runs)


def send_trackio(url: str, count: int, seed: int) -> tuple[float, float]:
    """Deliver as trackio's own sender does: batches of rows through its HTTP client."""
    import uuid

    from trackio.remote_client import RemoteClient

    client = RemoteClient(url, write_token=TOKEN)
    run = uuid.uuid4().hex
    entries = [
        {"project": "bench", "run": run, "run_id": run, "metrics": row, "step": step, "log_id": uuid.uuid4().hex}
        for step, row in enumerate(tools.rows(count, METRICS, seed))
    ]
    start = time.time()
    for at in range(0, count, 1000):
        client.predict(api_name="/bulk_log", logs=entries[at : at + 1000], hf_token=None)
    return start, time.time()


def send_mlflow(url: str, count: int, seed: int) -> tuple[float, float]:
    """Deliver by `log_batch`, 1,000 metrics at a time, which is its limit."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(url)
    run = client.create_run("0").info.run_id
    metrics = [
        Metric(key, value, 0, step)
        for step, row in enumerate(tools.rows(count, METRICS, seed))
        for key, value in row.items()
    ]
    start = time.time()
    for at in range(0, len(metrics), 1000):
        client.log_batch(run, metrics=metrics[at : at + 1000])
    return start, time.time()
