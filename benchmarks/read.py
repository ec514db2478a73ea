"""Reading back: one series, a list of runs, and a chart of millions of points."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Skipped, median, tracker_server


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found = []
    points, runs = 100_000, bench.pick(1000, 200)
    ours: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    try:
        room = bench.room()
        bench.call("tracker", "read", "write_series", room, count=points)
        bench.call("tracker", "read", "write_runs", room, count=runs)
        with tracker_server(bench, "ui", room) as server:
            ours = bench.call("tracker", "read", "measure", url=server.url, points=points, runs=runs)
    except Skipped as reason:
        bench.tell(f"tracker: {reason}")
    for tool, function in (("trackio", "measure_trackio"), ("mlflow", "measure_mlflow")):
        try:
            count = points if tool == "trackio" else bench.pick(2000, 500)
            peers[tool] = bench.call(
                tool, "read", function, points=count, runs=bench.pick(1000, 100) if tool == "mlflow" else runs
            )
        except Skipped as reason:
            bench.tell(f"{tool}: {reason}")
    series = {name: one["series"] * points / one.get("points", points) for name, one in peers.items()}
    lists = {name: one["list"] for name, one in peers.items()}
    note = f"over HTTP as an Arrow table; as a list of dicts {ours['rows']:.3f}" if ours else ""
    found.append(Figure("read one series of 100 k points, s", ours.get("series"), series, 0.03, note=note))
    found.append(Figure(f"list {runs:,} runs with summaries, s", ours.get("list"), lists, 0.1, note="over HTTP"))
    found += _chart(bench)
    return found


def _chart(bench: Bench) -> list[Figure]:
    millions = bench.pick(10, 1)
    room = bench.room()
    times: dict[str, float] = {}
    try:
        bench.call("tracker", "read", "write_series", room, count=millions * 1_000_000)
        with tracker_server(bench, "ui", room) as server:
            times = bench.call("tracker", "read", "measure_chart", url=server.url, points=millions * 1_000_000)
    except Skipped as reason:
        bench.tell(f"tracker: {reason}")
    name = f"chart of a series of {millions} M points"
    return [
        Figure(f"{name}, full view, ms", times.get("full"), {}, 300),
        Figure(f"{name}, zoomed to 1 %, ms", times.get("zoom"), {}, 150),
    ]


def write_series(count: int) -> None:
    """Write one run of one metric."""
    one = tools.Tracker()
    log = one.open(Path.cwd())
    rows = tools.rows(10_000, 1)
    for number in range(count):
        log(rows[number % 10_000])
    one.close()


def write_runs(count: int) -> None:
    """Write many small runs."""
    import tracker

    for number, row in enumerate(tools.rows(count, 10)):
        with tracker.init(project="many", dir=Path.cwd() / "runs", mode="offline", config={"seed": number}) as run:
            run.log(row)


def measure(url: str, points: int, runs: int) -> dict[str, float]:
    """Read over HTTP, through `tracker.Api`."""
    import tracker

    api = tracker.Api(base_url=url)
    _until(lambda: len(api.runs("many")) == runs and sum(run.points for run in api.runs("bench")) == points)
    run = api.runs("bench")[0]
    key = "loss"

    def arrow() -> None:
        assert run.history_arrow(keys=[key]).num_rows == points

    def rows() -> None:
        assert len(run.history(keys=[key], pandas=False)) == points

    def listing() -> None:
        assert sum("loss" in one.summary for one in api.runs("many", per_page=1000)) == runs

    return {"series": _time(arrow), "rows": _time(rows), "list": _time(listing)}


def measure_chart(url: str, points: int) -> dict[str, float]:
    """Ask for a chart of 1,000 pixels as the page does."""
    import requests

    import tracker

    api = tracker.Api(base_url=url)
    _until(lambda: sum(run.points for run in api.runs("bench")) == points)
    path = api.runs("bench")[0].path
    session = requests.Session()

    def ask(span: list[float] | None) -> None:
        body = {"runs": [path], "keys": ["loss"], "x": "_step", "range": span, "buckets": 1000}
        answer = session.post(
            url + "/api/v1/series", data=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        answer.raise_for_status()
        assert len(answer.content) > 8000

    # A view is asked for once: each time another one, so that nothing is answered from memory.
    views = [points * part / 10 for part in range(1, 8)]
    full = [_once(lambda span=span: ask([0.0, points - span / 1e3])) for span in views]
    zoom = [_once(lambda span=span: ask([span, span + points / 100])) for span in views]
    ask(None)
    return {"full": 1e3 * median(full), "zoom": 1e3 * median(zoom)}


def measure_trackio(points: int, runs: int) -> dict[str, float]:
    """Read with what its dashboard reads with, in process: no HTTP in it."""
    from trackio.sqlite_storage import SQLiteStorage

    one = tools.rows(10_000, 1)
    for at in range(0, points, 10_000):
        SQLiteStorage.bulk_log("one", "run", one, steps=list(range(at, at + 10_000)), run_id="run")
    for number, row in enumerate(tools.rows(runs, 10)):
        SQLiteStorage.bulk_log("many", f"run-{number}", [row], steps=[0], run_id=f"run-{number}")

    def series() -> None:
        assert len(SQLiteStorage.get_logs("one", "run", run_id="run")) == points

    def listing() -> None:
        # It has no summaries: the last value of each run is read from its rows.
        records = SQLiteStorage.get_run_records("many")
        assert len(records) == runs
        for record in records:
            SQLiteStorage.get_logs("many", record["name"], run_id=record.get("id"))

    return {"series": _time(series), "list": _time(listing)}


def measure_mlflow(points: int, runs: int) -> dict[str, float]:
    """Read with its client from its SQLite store, in process."""
    import mlflow
    from mlflow.entities import Metric

    client = mlflow.MlflowClient()
    run = client.create_run("0").info.run_id
    metrics = [Metric("m", row["loss"], 0, step) for step, row in enumerate(tools.rows(points, 1))]
    for at in range(0, points, 1000):
        client.log_batch(run, metrics=metrics[at : at + 1000])
    other = client.create_experiment("many")
    for row in tools.rows(runs, 10):
        client.log_batch(client.create_run(other).info.run_id, metrics=[Metric(k, v, 0, 0) for k, v in row.items()])

    def series() -> None:
        assert len(client.get_metric_history(run, "m")) == points

    def listing() -> None:
        assert len(client.search_runs([other], max_results=max(runs, 1000))) == runs

    return {"series": _time(series), "list": _time(listing), "points": points}


def _time(work: Callable[[], None]) -> float:
    return median([_once(work) for _ in range(5)])


def _once(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _until(is_so: Callable[[], bool], timeout: float = 300) -> None:
    until = time.monotonic() + timeout
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"the server has not taken the runs in after {timeout:.0f} s")
        time.sleep(0.1)
