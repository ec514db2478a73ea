"""Samples of the machine stand among the rows, and are seen by those who ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker import Api
from tracker.core.journal import Block
from tracker.core.record import Kind
from tracker.core.run import Run
from tracker.core.samples import logged_steps, without_samples
from tracker.core.values import encode
from tracker.testing import read_runs

from .conftest import serving, wait_for


def sample(run: Run, **values: float) -> None:
    """Write a sample as the sampler does: at the step of the last row, or at 0."""
    body = {f"system/{key.replace('_', '.')}": value for key, value in values.items()}
    run._journal.append(Kind.ROW, encode((max(run._top, 0), run._clock.now_ns(), body)))


def train(root: Path, **options: object) -> Run:
    """Log twenty rows, one of them empty, and thirty-one samples, most of them at one step."""
    run = tracker.init(project="p", id="r", dir=root, settings={"silent": True}, **options)  # type: ignore[arg-type]
    sample(run, cpu_percent=0.5)
    for step in range(20):
        run.log({"loss": 1 / (step + 1)} if step != 7 else {})
        sample(run, cpu_percent=float(step))
    for number in range(10):
        sample(run, cpu_percent=100.0 + number, gpu_0=float(number))
    return run


@pytest.fixture(params=["folder", "server"])
def api(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Iterator[Api]:
    """The runs of a folder, read directly and through a server."""
    train(tmp_path).finish()
    if request.param == "folder":
        with Api(dir=tmp_path) as api:
            yield api
        return
    with serving(tmp_path, home / "served") as url, Api(base_url=url) as api:
        wait_for(lambda: len(api.runs(filters={"state": "finished"})) == 1)
        yield api


def test_the_history_is_what_was_logged(api: Api) -> None:
    """Neither `history` nor `scan_history` has samples, or rows that are nothing else; an empty row is still one."""
    run = api.run("p/r")

    rows = run.history(pandas=False)

    assert [row["_step"] for row in rows] == list(range(20))
    assert {key for row in rows for key in row} == {"_step", "_timestamp", "_runtime", "loss"}
    assert rows == list(run.scan_history())
    assert (run.last_step, run.points) == (19, 19)
    assert run.summary_metrics == {"loss": 1 / 20}


def test_the_system_stream_has_every_sample(api: Api) -> None:
    """Samples of one step are not joined: they come by time, each for itself."""
    run = api.run("p/r")

    rows = run.history(stream="system", pandas=False)

    assert [row["system/cpu.percent"] for row in rows] == [0.5, *range(20), *range(100, 110)]
    assert [row["_timestamp"] for row in rows] == sorted(row["_timestamp"] for row in rows)
    assert all(key.startswith(("_", "system/")) for row in rows for key in row)
    assert run.system_metrics == {"system/cpu.percent": 109.0, "system/gpu.0": 9.0}


def test_samples_are_there_by_name(api: Api) -> None:
    """Named in `keys` they come with either stream, and with the default one beside what was logged."""
    run = api.run("p/r")

    narrowed = run.history(stream="system", keys=["system/gpu.0"], pandas=False)
    beside = run.history(keys=["loss", "system/cpu.percent"], pandas=False)

    assert [row["system/gpu.0"] for row in narrowed] == list(range(10))
    assert {key for row in narrowed for key in row} == {"_step", "_timestamp", "_runtime", "system/gpu.0"}
    assert beside[3]["loss"] == 1 / 4
    assert beside[3]["system/cpu.percent"] == 3.0
    with pytest.raises(tracker.UsageError, match="'default' or 'system'"):
        run.history(stream="events")


def test_the_metrics_of_a_project_are_those_of_its_runs(api: Api) -> None:
    """Automatic charts are made of this list; that of samples is another one."""
    source = api._source

    logged = source.metrics("local", "p")
    samples = source.metrics("local", "p", "system")

    assert [metric["key"] for metric in logged] == ["loss"]
    assert [(metric["key"], metric["points"]) for metric in samples] == [
        ("system/cpu.percent", 31),
        ("system/gpu.0", 10),
    ]


def test_journals_are_read_the_same_way(tmp_path: Path) -> None:
    """What `tracker.testing` reads, and the live summary, have no samples either."""
    run = train(tmp_path)
    live = dict(run.summary)
    run.finish()

    (found,) = read_runs(tmp_path)

    assert live == found["summary"] == {"loss": 1 / 20}
    assert [row["_step"] for row in found["history"]] == list(range(20))


def test_a_run_goes_on_behind_its_own_rows(tmp_path: Path) -> None:
    """Samples move no step: a run that had none but samples begins at 0."""
    with tracker.init(project="p", id="r", dir=tmp_path, settings={"silent": True}) as run:
        sample(run, cpu_percent=1.0)
    with tracker.init(project="p", id="r", dir=tmp_path, resume="must", settings={"silent": True}) as run:
        first = run.step
        run.log({"loss": 1.0})
        sample(run, cpu_percent=1.0)
    with tracker.init(project="p", id="r", dir=tmp_path, resume="must", settings={"silent": True}) as run:
        second = run.step

    assert (first, second) == (0, 1)


def test_a_fork_leaves_the_samples(tmp_path: Path) -> None:
    """They tell of the machine that the other run had."""
    train(tmp_path).finish()
    with tracker.init(project="p", id="f", dir=tmp_path, fork_from="r?_step=5", settings={"silent": True}):
        pass

    with Api(dir=tmp_path) as api:
        fork = api.run("p/f")

        assert fork.history(stream="system", pandas=False) == []
        assert [row["_step"] for row in fork.history(pandas=False)] == [0, 1, 2, 3, 4, 5]


def test_a_live_index_and_a_new_one_agree(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points and last step are the same whether rows came in small batches or all at once."""
    run = train(tmp_path)
    with Api(dir=tmp_path) as api:
        early = api.run("p/r")
        before = (early.points, early.last_step)
    sample(run, cpu_percent=7.0)
    run.log({"loss": 0.0, "system/mixed": 1.0})
    run.finish()
    found = []
    for cache in ("cache", "another"):
        monkeypatch.setenv("TRACKER_CACHE_DIR", str(home / cache))
        with Api(dir=tmp_path) as api:
            late = api.run("p/r")
            found.append((late.points, late.last_step, late.history(pandas=False)))

    assert before == (19, 19)
    assert found[0] == found[1]
    assert found[0][:2] == (20, 20)


def test_a_block_tells_its_own_steps() -> None:
    """Rows that are samples alone have no say in where a run stands."""
    rows = [(0, {"system/a": 1}), (1, {}), (2, {"loss": 1, "system/a": 1}), (3, {"system/b": 1}), (4, {"loss": 2})]
    block = Block.from_rows(1, [encode((step, step, values)) for step, values in rows])

    assert list(logged_steps(block)) == [1, 2, 4]
    assert [without_samples(values) for _, values in rows] == [None, {}, {"loss": 1}, None, {"loss": 2}]


@pytest.mark.parametrize("shapes", [1, 2, 3, 40])
def test_rows_of_several_kinds_come_back_whole(shapes: int) -> None:
    """However many kinds of rows a block has, and whether they share keys or not."""
    kinds = [{f"k{shape}.{key}": 0.0 for key in range(3)} for shape in range(shapes)]
    kinds.append({"k0.1": 0.0, "more": 0.0})
    rows = [(n, n, {key: float(n) for key in kinds[n * 7 % (len(kinds) - (n < 50))]}) for n in range(100)]
    for given in (rows[:50], rows):
        block = Block.from_rows(1, [encode(row) for row in given])

        assert list(block.rows()) == given
        assert list(block.columns) == list(dict.fromkeys(key for _, _, values in given for key in values))
