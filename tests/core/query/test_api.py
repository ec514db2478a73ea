"""`Api` answers the same of the folder and of a server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker import Api
from tracker.core.query import Run
from tracker.testing import read_runs

from .conftest import QUIET, wait_for


def told(run: Run) -> dict[str, Any]:
    """Answer what a run tells, but its address."""
    names = (
        "id",
        "path",
        "entity",
        "project",
        "name",
        "state",
        "config",
        "summary",
        "tags",
        "notes",
        "group",
        "job_type",
    )
    more = ("created_at", "heartbeat_at", "duration", "last_step", "points", "host", "metadata")
    return {name: getattr(run, name) for name in (*names, *more)}


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answer rows with NaN in a form that equals itself."""
    return [{k: "nan" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def test_runs_come_in_pages_and_in_order(reading: Api) -> None:
    """A list knows its length, is sliced and walked, and fetches what it needs."""
    runs = reading.runs("digits", per_page=2)

    assert len(runs) == 5
    assert [run.id for run in runs] == ["run0", "run1", "run2", "run3", "run4"]
    assert [run.id for run in runs[3:]] == ["run3", "run4"]
    assert runs[-1].id == "run4"
    assert reading.runs("local/digits", order="-summary_metrics.loss")[0].id == "run0"
    assert [run.id for run in reading.runs("digits", order="-config.lr")] == ["run4", "run3", "run2", "run1", "run0"]
    with pytest.raises(IndexError):
        runs[5]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"config.lr": {"$gt": 0.15, "$lte": 0.31}}, ["run2", "run3"]),
        ({"$or": [{"display_name": "name-1"}, {"config.lr": 0.4}]}, ["run1", "run4"]),
        ({"tags": {"$in": ["even"]}, "state": "finished"}, ["run0", "run2", "run4"]),
        ({"summary_metrics.best.step": {"$gte": 4}}, ["run4"]),
        ({"config.optim.name": {"$regex": "^ad"}, "$not": {"tags": "even"}}, ["run1", "run3"]),
        ({"jobType": "eval"}, []),
    ],
)
def test_filters_are_mongo_style(reading: Api, filters: dict[str, Any], expected: list[str]) -> None:
    assert [run.id for run in reading.runs("digits", filters=filters)] == expected


def test_a_run_tells_what_it_is(reading: Api, shared: tuple[Path, str]) -> None:
    """Names, config, summary, and what its details are."""
    run = reading.run("digits/run3")

    assert run.path == "local/digits/run3"
    assert (run.name, run.state, run.group, run.job_type, run.notes) == ("name-3", "finished", "g", "train", "a note")
    assert run.config == {"lr": 0.1 * 3, "optim": {"name": "adam", "betas": [0.9, 0.99]}}
    assert run.summary["best.step"] == run.summary["best"]["step"] == 3
    assert run.summary["acc"]["max"] == 19
    assert run.summary.get("acc") == 19
    assert run.lastHistoryStep == 19
    assert run.details["exit"]["state"] == "finished"
    assert [alert["title"] for alert in run.details["alerts"]] == ["done"]
    assert reading.run("run3").path == reading.run("local/digits/run3").path == run.path
    assert (run.url is None) == (reading.source == str(shared[0]))


def test_the_history_is_whole(reading: Api, shared: tuple[Path, str]) -> None:
    """Rows of equal step are one, nothing is sampled, and NaN stays NaN."""
    run = reading.run("digits/run1")
    rows = run.history(pandas=False)

    (kept,) = (found for found in read_runs(shared[0]) if found["id"] == "run1")
    assert plain(rows) == plain(kept["history"])
    assert len(rows) == 20
    assert math.isnan(rows[10]["val/loss"])
    assert list(rows[0])[:3] == ["_step", "_timestamp", "_runtime"]
    assert plain(list(run.scan_history())) == plain(rows)


def test_the_history_is_narrowed(reading: Api) -> None:
    """By keys, steps, samples and another axis."""
    run = reading.run("digits/run1")

    assert [row["_step"] for row in run.history(keys=["val/loss"], pandas=False)] == [0, 5, 10, 15]
    assert len(run.history(keys=["val/loss", "loss"], pandas=False)) == 20
    assert [row["_step"] for row in run.scan_history(keys=["val/loss", "loss"])] == [0, 5, 10, 15]
    assert [row["_step"] for row in run.scan_history(min_step=3, max_step=6)] == [3, 4, 5]
    assert [row["_step"] for row in run.history(samples=3, pandas=False)] == [0, 10, 19]
    by_loss = run.history(keys=["acc"], x_axis="loss", pandas=False)
    assert [row["acc"] for row in by_loss] == list(range(19, -1, -1))
    assert run.history(keys=["nothing"], pandas=False) == []


def test_odd_values_come_back(reading: Api) -> None:
    """Float steps, big integers, None and booleans."""
    rows = reading.run("team/other/one").history(pandas=False)

    assert [row["_step"] for row in rows] == [0.5, 1.5]
    assert rows[0]["loss"] == 1.0
    assert rows[1] == {**rows[1], "loss": 2**70, "none": None, "flag": True}
    assert reading.run("one").summary["loss"] == 2**70


def test_folder_and_server_answer_the_same(shared: tuple[Path, str]) -> None:
    """Every field of every run, and every row."""
    with Api(dir=shared[0]) as local, Api(base_url=shared[1]) as remote:
        assert [told(run) for run in local.runs()] == [told(run) for run in remote.runs()]
        assert local.projects() == remote.projects()
        for one, other in zip(local.runs(), remote.runs(), strict=True):
            assert plain(one.history(pandas=False)) == plain(other.history(pandas=False))
            assert dict(one.details) == dict(other.details)


def test_edits_are_kept(api: Api, root: Path) -> None:
    """They go to the journal, so every reader sees them."""
    run = api.run("digits/run2")
    run.name = "renamed"
    run.tags.append("best")
    run.config["optim"]["name"] = "sgd"
    run.config["new"] = float("inf")
    run.update()

    assert (run.name, run.tags, run.config["optim"]["name"]) == ("renamed", ["even", "best"], "sgd")
    (kept,) = (found for found in read_runs(root) if found["id"] == "run2")
    assert (kept["name"], kept["tags"], kept["config"]["new"]) == ("renamed", ["even", "best"], math.inf)
    assert kept["config"]["optim"] == {"name": "sgd", "betas": [0.9, 0.99]}
    assert kept["status"] == run.state == "finished"


def test_a_summary_is_kept_as_in_wandb(api: Api) -> None:
    """`update` keeps what was changed, with arguments or without."""
    run = api.run("digits/run2")
    run.summary["score"] = 1.5
    run.summary.update()
    run.summary.update({"other": "x"})

    again = api.run("digits/run2")
    assert (again.summary["score"], again.summary["other"]) == (1.5, "x")


@pytest.mark.parametrize(
    "filters", [{"$foo": 1}, {"config.lr": {"$near": 1}}, {"nothing": 1}, {"created_at": "yesterday"}]
)
def test_a_wrong_filter_is_said(reading: Api, filters: dict[str, Any]) -> None:
    with pytest.raises(tracker.UsageError):
        len(reading.runs("digits", filters=filters))


def test_a_running_run_is_not_thrown_away(api: Api, root: Path) -> None:
    run = tracker.init(project="live", dir=root, id="now", settings=QUIET)
    run.log({"loss": 1.0})
    wait_for(lambda: len(api.runs(filters={"id": "now"})) == 1)

    with pytest.raises(tracker.UsageError, match="still running"):
        api.run("live/now").delete()
    run.finish()


def test_the_trash_gives_back(api: Api) -> None:
    """A deleted run is listed no more, and comes back whole."""
    api.run("digits/run2").delete()
    gone = [run.id for run in api.runs("digits")]
    (trashed,) = api.runs("digits", trash=True)
    trashed.restore()

    assert "run2" not in gone
    assert trashed.id == "run2"
    wait_for(lambda: len(api.runs("digits")) == 5)
    assert len(api.run("digits/run2").history(pandas=False)) == 20


@pytest.mark.parametrize(
    ("path", "hint"),
    [("digits/rum3", "local/digits/run3"), ("digis/run3", "local/digits"), ("name-33", "name-3"), ("a/b/c/d/e", "id")],
)
def test_what_is_not_there_is_named(reading: Api, path: str, hint: str) -> None:
    with pytest.raises(tracker.UsageError) as caught:
        reading.run(path)

    assert hint in str(caught.value)


def test_an_unknown_project_is_named(reading: Api) -> None:
    with pytest.raises(tracker.UsageError, match="digits"):
        reading.runs("digts")


def test_a_live_run_is_followed(api: Api, root: Path) -> None:
    """What a training process logs is seen at the next question, and its end too."""
    run = tracker.init(project="live", dir=root, id="now", settings=QUIET)
    run.log({"loss": 1.0})
    wait_for(lambda: any(project.name == "live" for project in api.projects()))
    found = api.run("live/now")
    wait_for(lambda: len(found.history(pandas=False)) == 1)

    assert found.state == "running"
    run.log({"loss": 0.5})
    wait_for(lambda: len(found.history(pandas=False)) == 2)
    run.finish()
    assert found.wait_until_finished(timeout=20).state == "finished"


def test_a_killed_run_is_crashed(root: Path) -> None:
    """Its process is gone, so nobody waits 45 seconds."""
    import subprocess
    import sys

    code = (
        "import os, tracker; run = tracker.init(project='killed', id='k', settings={'silent': True}); "
        "run.log({'a': 1}); os.kill(os.getpid(), 9)"
    )
    import os

    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TRACKER_DIR": str(root)}, check=False)
    with Api(dir=root) as api:
        run = api.run("killed/k")

    assert run.state == "crashed"
    assert [found["status"] for found in read_runs(root) if found["id"] == "k"] == ["crashed"]


def test_a_removed_index_is_made_anew(root: Path, home: Path) -> None:
    with Api(dir=root) as api:
        before = [told(run) for run in api.runs()]
    import shutil

    shutil.rmtree(home / "cache")
    with Api(dir=root) as api:
        assert [told(run) for run in api.runs()] == before


def test_a_cache_that_cannot_be_written_costs_only_time(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("no folder")
    monkeypatch.setenv("TRACKER_CACHE_DIR", str(home / "file"))
    with Api(dir=root) as api:
        assert len(api.runs()) == 6


def test_what_was_removed_is_gone(root: Path) -> None:
    """Also for an `Api` that begins anew, and finds it in the index."""
    import shutil

    with Api(dir=root) as api:
        assert len(api.runs("digits")) == 5
        shutil.rmtree(root / "local" / "digits" / "run0")
        wait_for(lambda: len(api.runs("digits")) == 4)
        shutil.rmtree(root / "local" / "digits" / "run1")
    with Api(dir=root) as api:
        with pytest.raises(tracker.UsageError):
            api.run("digits/run1")
        assert len(api.runs("digits")) == 3


def test_many_threads_may_ask(root: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Api(dir=root) as api, ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: len(api.run("digits/run1").history(pandas=False)), range(40)))

    assert counts == [20] * 40


def test_no_server_is_said(home: Path) -> None:
    with Api(base_url="http://127.0.0.1:9") as api, pytest.raises(tracker.TransportError, match=r"127\.0\.0\.1:9"):
        api.projects()
