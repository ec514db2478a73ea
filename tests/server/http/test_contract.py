"""The routes of `docs/architecture.md`, asked as clients ask them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tracker.core.journal import Block, scan
from tracker.core.paths import RunPath
from tracker.core.record import Kind
from tracker.server import models
from tracker.server.paths import encode_path

from .helpers import Server, Writer, frames_of, until, write_run


def test_health_says_version_and_mode(ui: Server, team: Server) -> None:
    assert ui.get("/health")["mode"] == "ui"
    assert team.get("/health") == {"status": "ok", "version": ui.get("/health")["version"], "mode": "server"}


def test_projects_count_runs_by_state(ui: Server) -> None:
    (project,) = ui.get("/projects")["projects"]
    models.Project.model_validate(project)

    assert (project["entity"], project["project"], project["runs"], project["states"]) == (
        "local",
        "demo",
        1,
        {"finished": 1},
    )


def test_metrics_of_a_project(ui: Server) -> None:
    expected = [{"key": "loss", "runs": 1, "points": 10, "numeric": True, "last_step": 9, "x": None, "hidden": False}]

    assert ui.get("/projects/local/demo/metrics")["metrics"] == expected
    assert ui.get("/projects/local/none/metrics")["metrics"] == []


def test_a_run_and_lists_of_runs_are_as_the_contract_says(ui: Server) -> None:
    page = ui.get("/runs", params={"entity": "local", "project": "demo", "order": "-created_ns", "limit": 10})
    models.Runs.model_validate(page)
    (run,) = page["runs"]
    detail = ui.get(f"/runs/{run['path']}")
    models.RunDetail.model_validate(detail)

    assert page["total"] == 1
    assert set(run) == set(models.Run.model_fields)
    assert set(detail) == set(models.RunDetail.model_fields)
    assert {key: detail[key] for key in run} == run
    assert run["path"] == "local/demo/one"
    assert (run["state"], run["config"], run["summary"], run["last_step"], run["points"]) == (
        "finished",
        {"lr": 0.1},
        {"loss": 0.1},
        9,
        10,
    )
    assert detail["exit"]["exit_code"] == 0
    assert [stream["acked"] for stream in detail["streams"]] == [13]


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ({"filter": json.dumps({"summary.loss": {"$lt": 0.5}})}, 1),
        ({"filter": json.dumps({"config.lr": 7})}, 0),
        ({"filter": json.dumps({"summary.loss": {"$float": "nan"}})}, 0),
        ({"project": "other"}, 0),
        ({"entity": "../x"}, 0),
        ({"trash": "true"}, 0),
    ],
)
def test_lists_are_filtered(ui: Server, query: dict[str, str], total: int) -> None:
    assert ui.get("/runs", params=query)["total"] == total


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "{"},
        {"filter": "[]"},
        {"filter": "[" * 5000},
        {"filter": '{"a":' * 100 + "1" + "}" * 100},
        {"filter": '{"$where": "1"}'},
        {"filter": '{"name": "\\ud800"}'},
        {"limit": "-1"},
        {"limit": "1e9"},
        {"offset": "99999999999999999999999"},
        {"order": "drop table runs; --"},
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(ui: Server, query: dict[str, str]) -> None:
    answer = ui.client.get("/api/v1/runs", params=query)

    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_what_is_not_there_is_404(ui: Server) -> None:
    for path in ("/runs/local/demo/none", "/runs/local/demo/none/history", "/runs/a/b", "/nothing", "/runs/a/b/c%3Fd"):
        answer = ui.client.get(f"/api/v1{path}")
        assert (answer.status_code, type(answer.json()["detail"])) == (404, str)


def unpack(content: bytes) -> list[dict[str, object]]:
    """Read a series answer as the dashboard does."""
    (length,) = struct.unpack_from("<I", content)
    assert (4 + length) % 8 == 0
    found = []
    for line in json.loads(content[4 : 4 + length])["series"]:
        columns = {}
        for place, name in enumerate(line["columns"]):
            start = 4 + length + 8 * (line["offset"] + place * line["n"])
            columns[name] = np.frombuffer(content, "<f8", line["n"], start)
        found.append({**line, **columns})
    return found


def test_series_are_packed_arrays(ui: Server) -> None:
    body = {"runs": ["local/demo/one", "local/demo/none"], "keys": ["loss", "nothing"], "buckets": 100}
    answer = ui.client.post("/api/v1/series", json=body)
    lines = unpack(answer.content)

    assert answer.headers["content-type"] == "application/x-tracker-series"
    assert [(line["run"], line["key"], line["n"]) for line in lines] == [
        ("local/demo/one", "loss", 10),
        ("local/demo/one", "nothing", 0),
        ("local/demo/none", "loss", 0),
        ("local/demo/none", "nothing", 0),
    ]
    assert lines[0]["columns"] == [
        "x", "x_last", "first", "last", "min", "max", "mean", "count", "nan", "posinf", "neginf",
    ]  # fmt: skip
    assert (lines[0]["exact"], lines[0]["min_x"], lines[0]["max_x"]) == (True, 0.0, 9.0)
    assert lines[0]["x"].tolist() == list(range(10))  # type: ignore[attr-defined]
    assert lines[0]["last"].tolist() == [1 / (step + 1) for step in range(10)]  # type: ignore[attr-defined]


def test_series_of_a_range(ui: Server) -> None:
    body = {"runs": ["local/demo/one"], "keys": ["loss"], "range": [2, 4], "x": "_step"}
    (line,) = unpack(ui.client.post("/api/v1/series", json=body).content)

    assert line["points"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"runs": ["local/demo"]},
        {"runs": ["local/%2e%2e%2fdemo/x/y"]},
        {"runs": []},
        {"buckets": 0},
        {"buckets": 10**9},
        {"keys": [f"k{i}" for i in range(6000)]},
        {"range": [0]},
        {"unknown": 1},
        {"x": None},
    ],
)
def test_series_that_make_no_sense_are_refused(ui: Server, change: dict[str, object]) -> None:
    body = {"runs": ["local/demo/one"], "keys": ["loss"], **change}

    assert ui.client.post("/api/v1/series", json=body).status_code == 422


def test_history_is_all_rows_as_blocks(ui: Server) -> None:
    answer = ui.client.get("/api/v1/runs/local/demo/one/history", params={"keys": "loss", "min_step": 3})
    rows = [row for frame in scan(answer.content) for row in Block.from_frame(frame).rows()]

    assert answer.headers["content-type"] == "application/x-tracker-frames"
    assert [(step, values) for step, _, values in rows] == [(step, {"loss": 1 / (step + 1)}) for step in range(3, 10)]


def test_numbers_that_json_has_not_travel_as_objects(start: Callable[..., Server], tmp_path: Path) -> None:
    path = RunPath("local", "demo", "odd")
    writer = Writer(tmp_path / "runs", path)
    writer.record(Kind.CONFIG, {"set": {"nan": float("nan"), "deep": [{"inf": float("inf")}]}, "remove": []})
    writer.log(0, loss=float("-inf"), big=2**80, text="<b>&\u2028")
    writer.end()
    server = start("ui", root=tmp_path / "runs")
    run = until(lambda: server.get("/runs")["runs"])[0]

    assert run["config"] == {"nan": {"$float": "nan"}, "deep": [{"inf": {"$float": "inf"}}]}
    assert run["summary"] == {"loss": {"$float": "-inf"}, "big": {"$int": str(2**80)}, "text": "<b>&\u2028"}


def test_an_edit_is_kept_in_the_runs_own_journal(start: Callable[..., Server], tmp_path: Path) -> None:
    """An edit survives the index: a server with a new one shows it all the same."""
    root = tmp_path / "runs"
    path = write_run(root)
    server = start("ui", root=root)
    until(lambda: server.get("/runs")["total"])
    patch = {
        "name": "né <b>",
        "tags": ["a", "b"],
        "notes": None,
        "config": {"n": {"m": 1}},
        "summary": {"best": {"$float": "nan"}},
    }
    changed = server.client.patch(f"/api/v1/runs/{encode_path(path)}", json=patch).json()
    other = start("ui", root=root, cache=tmp_path / "another")
    found = until(lambda: other.get("/runs")["runs"])[0]

    for run in (changed, found):
        assert (run["name"], run["tags"], run["notes"]) == ("né <b>", ["a", "b"], None)
        assert run["config"] == {"lr": 0.1, "n": {"m": 1}}
        assert run["summary"]["best"] == {"$float": "nan"}
        assert run["state"] == "finished"


@pytest.mark.parametrize(
    "body", [{"name": 1}, {"state": "finished"}, {"tags": "a"}, {"name": "\ud800"}, [], {"config": 3}]
)
def test_an_edit_that_makes_no_sense_changes_nothing(ui: Server, body: object) -> None:
    content = json.dumps(body).encode()
    answer = ui.client.patch(
        "/api/v1/runs/local/demo/one", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert ui.get("/runs/local/demo/one")["name"] == "name of one"


def test_trash_and_back_on_a_server(team: Server, tmp_path: Path) -> None:
    path = write_run(tmp_path, "thrown")
    stream, body, last = frames_of(path.folder(tmp_path))
    assert team.send(path, stream, body).json() == {"acked": last}
    url = f"/api/v1/runs/{encode_path(path)}"
    thrown = team.client.delete(url).json()
    listed = [run["id"] for run in team.get("/runs", params={"trash": True})["runs"]]
    unlisted = [run["id"] for run in team.get("/runs")["runs"]]
    restored = team.client.post(thrown["restore"]).json()

    assert "thrown" in listed
    assert "thrown" not in unlisted
    assert restored["id"] == "thrown"
    assert "thrown" in [run["id"] for run in team.get("/runs")["runs"]]


def test_edits_on_a_server_need_no_folder(team: Server, tmp_path: Path) -> None:
    path = write_run(tmp_path, "edited")
    stream, body, _ = frames_of(path.folder(tmp_path))
    team.send(path, stream, body)
    run = team.client.patch(f"/api/v1/runs/{encode_path(path)}", json={"name": "new", "group": "g"}).json()

    assert (run["name"], run["group"], run["state"]) == ("new", "g", "finished")
