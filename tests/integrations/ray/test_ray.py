"""Ray: real experiments of Tune and trainings of Train, on a small cluster of this machine's own."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import train, tune
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.ray import TrackerCallback, TrackerTrainCallback, TrialError

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Ray, with room for three workers."""
    quiet = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def experiment(tmp_path: Path, *callbacks: Any, **more: Any) -> tune.RunConfig:
    return tune.RunConfig(
        name="search", storage_path=str(tmp_path / "st"), callbacks=list(callbacks), verbose=0, **more
    )


def test_each_trial_is_a_run_that_ends_as_the_trial_does(read: Read, runs: Path, tmp_path: Path) -> None:
    """8.1 #14, #27: values of trials do not pile up in one run, and a trial that raises is a failed one."""

    def fit(config: dict[str, Any]) -> None:
        for step in range(3):
            if config["rate"] == 2 and step == 2:
                raise ValueError("the trial is on fire")
            tune.report({"score": config["rate"] * step, "nested": {"depth": step}})

    space = {"rate": tune.grid_search([1, 2, 3]), "layers": [8, 8]}
    tune.Tuner(
        fit, param_space=space, run_config=experiment(tmp_path, TrackerCallback(project="ray", tags=["t"]))
    ).fit()
    found = sorted(read(), key=lambda run: run.config["rate"])

    assert [run.state for run in found] == ["finished", "failed", "finished"]
    assert {(run.project, run.group, tuple(run.tags)) for run in found} == {("ray", "search", ("t",))}
    assert all(run.name == f"fit_{run.id}" for run in found)
    assert found[0].config == {"rate": 1, "layers": [8, 8]}
    assert [rows(run, "score") for run in found] == [{1: 0, 2: 1, 3: 2}, {1: 0, 2: 2}, {1: 0, 2: 3, 3: 6}]
    assert rows(found[0], "nested.depth") == {1: 0, 2: 1, 3: 2}
    assert "the trial is on fire" in found[1].details["exit"]["reason"]
    assert not {"pid", "hostname", "date", "trial_id", "config.rate"} & set(found[0].summary)
    assert tracker.run is None


def test_the_environment_alone_makes_it_log(
    read: Read, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own way: the class is named in a variable, and made without arguments."""

    def fit(config: dict[str, Any]) -> dict[str, Any]:
        return {"score": config["rate"]}

    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "tracker.integrations.ray.TrackerCallback")
    tune.Tuner(fit, param_space={"rate": tune.grid_search([1, 2])}, run_config=experiment(tmp_path)).fit()

    assert sorted(run.summary["score"] for run in read()) == [1, 2]


def test_what_a_trial_logs_itself_is_in_its_run(read: Read, runs: Path, tmp_path: Path) -> None:
    """8.1 #9, #28: the driver and the trial's process write to one run, and no other is made."""

    def fit(config: dict[str, Any]) -> None:
        import tracker
        from tracker.integrations.base import Session
        from tracker.integrations.ray import setup_tracker

        run = setup_tracker(config, project="ray", dir=config["dir"])
        for step in range(1, 3):
            run.log({"inside": step * 10}, step=step)
            tune.report({"score": step})
        Session("some").begin()  # a framework that logs by itself
        tracker.log({"of_a_framework": 1}, step=3)

    space = {"rate": tune.grid_search([1, 2]), "dir": str(runs)}
    tune.Tuner(fit, param_space=space, run_config=experiment(tmp_path, TrackerCallback(project="ray"))).fit()
    found = read()

    assert [run.state for run in found] == ["finished", "finished"]
    for run in found:
        assert rows(run, "score") == {1: 1, 2: 2}
        assert rows(run, "inside") == {1: 10, 2: 20}
        assert rows(run, "of_a_framework") == {3: 1}


def test_a_trial_that_is_restored_goes_on_with_its_run(read: Read, runs: Path, tmp_path: Path) -> None:
    """8.1 #10: no second run, and a curve without a gap or a doubled step."""
    flag = tmp_path / "healed"

    def fit(config: dict[str, Any]) -> None:
        import tempfile
        from pathlib import Path

        checkpoint = tune.get_checkpoint()
        begin = int((Path(checkpoint.path) / "step").read_text()) + 1 if checkpoint else 1
        for step in range(begin, 5):
            if step == 3 and not Path(config["flag"]).exists():
                raise ValueError("not yet")
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "step").write_text(str(step))
                tune.report({"score": step}, checkpoint=tune.Checkpoint.from_directory(folder))

    space = {"flag": str(flag)}
    tune.Tuner(fit, param_space=space, run_config=experiment(tmp_path, TrackerCallback(project="ray"))).fit()
    (failed,) = read()
    flag.touch()
    tune.Tuner.restore(str(tmp_path / "st" / "search"), trainable=fit, resume_errored=True).fit()
    (healed,) = read()
    versions = {version.metadata["step"]: version for version in healed.logged_artifacts()}

    assert failed.state == "failed"
    assert (healed.id, healed.state) == (failed.id, "finished")
    assert rows(healed, "score") == {1: 1, 2: 2, 3: 3, 4: 4}
    assert (Path(versions[4].download()) / "step").read_text() == "4"


def test_a_training_of_several_workers_is_one_run(read: Read, runs: Path, tmp_path: Path) -> None:
    """8.1 #9, #28: two workers, Ray's controller, and a framework that logs by itself on each of them: one run."""

    def loop(config: dict[str, Any]) -> None:
        import tracker
        from tracker.integrations.base import Session
        from tracker.integrations.ray import setup_tracker

        rank = train.get_context().get_world_rank()
        assert tracker.rank() == rank
        run = setup_tracker(config, project="ray", dir=config["dir"], rank_zero_only=config["alone"])
        for step in range(1, 4):
            run.log({f"inside_{rank}": step}, step=step)
            train.report({"loss": 1 / step, "rank": rank})
        Session("some").begin()
        tracker.log({f"framework_{rank}": 1}, step=4)

    for alone in (True, False):
        DataParallelTrainer(
            loop,
            train_loop_config={"lr": 0.1, "dir": str(runs), "alone": alone},
            scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(
                name=f"both-{alone}",
                storage_path=str(tmp_path / "st"),
                callbacks=[TrackerTrainCallback(project="ray", dir=str(runs))],
            ),
        ).fit()
    one, both = read()

    for run in (one, both):
        assert run.state == "finished"
        assert rows(run, "loss") == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}
        assert set(rows(run, "rank").values()) == {0}
        assert rows(run, "inside_0") == {1: 1, 2: 2, 3: 3}
        assert rows(run, "framework_0") == {4: 1}
        assert (run.config["lr"], run.config["ray"]["num_workers"]) == (0.1, 2)
    assert (one.name, both.name) == ("both-True", "both-False")
    assert "inside_1" not in one.summary
    assert rows(both, "inside_1") == {1: 1, 2: 2, 3: 3}


def test_a_training_that_fails_is_a_failed_run(only_run: OnlyRun, runs: Path, tmp_path: Path) -> None:
    def loop(config: dict[str, Any]) -> None:
        train.report({"loss": 1.0})
        raise ValueError("the worker is on fire")

    with pytest.raises(train.TrainingFailedError):
        DataParallelTrainer(
            loop,
            scaling_config=train.ScalingConfig(num_workers=1),
            run_config=train.RunConfig(
                storage_path=str(tmp_path / "st"), callbacks=[TrackerTrainCallback(project="ray", dir=str(runs))]
            ),
        ).fit()
    run = only_run()

    assert run.state == "failed"
    assert rows(run, "loss") == {1: 1.0}
    assert "the worker is on fire" in run.details["exit"]["reason"]


def test_a_fault_of_ours_does_not_end_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7: Tune ends the whole experiment when a callback raises."""
    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(tracker, "init", lambda **_: pickle.loads(b"no run"))

    def fit(config: dict[str, Any]) -> dict[str, Any]:
        return {"score": 1}

    (result,) = tune.Tuner(fit, run_config=experiment(tmp_path, TrackerCallback())).fit()

    assert result.metrics["score"] == 1
    assert "log_trial_start failed" in caplog.text


def test_callbacks_travel_without_their_runs() -> None:
    """The experiment's state is pickled again and again."""
    callback = TrackerCallback(project="p")
    callback._sessions["a"] = object()

    assert pickle.loads(pickle.dumps(callback))._sessions == {}
    assert pickle.loads(pickle.dumps(TrackerTrainCallback(project="p")))._arguments == {"project": "p"}
    assert str(TrialError("x")) == "x"
