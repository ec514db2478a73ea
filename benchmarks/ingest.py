"""Points per second that a server has stored, over loopback, and its CPU time for each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Skipped, free_port, serving, tracker_server

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
                note="target: 3 × trackio in this run; clients run on the same cores",
            )
        )
        found.append(
            Figure(f"server CPU per point, µs, {many}", ours and ours[1], {k: c for k, (_, c) in theirs.items()}, 1.2)
        )
    return found


def _tracker(bench: Bench, clients: int) -> tuple[float, float]:
    rows = bench.pick(200_000, 50_000) // clients
    rooms = [bench.room() for _ in range(clients)]
    for number, room in enumerate(rooms):
        bench.call("tracker", "ingest", "write", room, count=rows, seed=number)
    with tracker_server(bench) as server:
        before = server.cpu_seconds()
        children = [bench.start("tracker", "ingest", "sync", room, url=server.url) for room in rooms]
        return _rate(children, rows * clients * METRICS, server.cpu_seconds, before)


def _trackio(bench: Bench, clients: int) -> tuple[float, float]:
    rows = bench.pick(40_000, 10_000) // clients
    port, room = free_port(), bench.room()
    serve = (
        f"import os; os.environ['TRACKIO_WRITE_TOKEN'] = {TOKEN!r}; import trackio; "
        f"trackio.show(open_browser=False, block_thread=True, host='127.0.0.1', server_port={port})"
    )
    with serving([bench.interpreter("trackio"), "-c", serve], room, port, "/version") as server:
        before = server.cpu_seconds()
        children = [
            bench.start("trackio", "ingest", "send_trackio", url=server.url + "/", count=rows, seed=number)
            for number in range(clients)
        ]
        return _rate(children, rows * clients * METRICS, server.cpu_seconds, before)


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
    return points / seconds, (cpu() - before) / points * 1e6


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
