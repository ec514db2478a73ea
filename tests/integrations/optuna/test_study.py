"""Studies: a run with a row for each trial and a table of all; runs of trials; nothing piles up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.base import Session
from tracker.integrations.optuna import TrackerCallback

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]
optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def values(run: ReadRun, key: str) -> list[Any]:
    """Read a metric back, in order."""
    return [row[key] for row in run.scan_history(keys=[key])]


def study_of(**arguments: Any) -> optuna.Study:
    """Make one that tries the same each time."""
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), **arguments)


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -10, 10)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (x - 2) ** 2 + (kind == "b")


def parted(runs: list[ReadRun]) -> tuple[ReadRun, list[ReadRun]]:
    """Tell the study from its trials."""
    (parent,) = [run for run in runs if run.job_type == "study"]
    trials = [run for run in runs if run.job_type == "trial"]
    return parent, sorted(trials, key=lambda run: run.config["trial"]["number"])


def test_a_study_is_one_run_with_a_row_and_a_table_of_its_trials(only_run: OnlyRun) -> None:
    """8.1 #27: one value for each trial, at its number."""
    study = study_of(study_name="parabola")
    study.optimize(objective, n_trials=5, callbacks=[TrackerCallback(metric_name="loss", project="p")])
    tracker.finish()
    run = only_run()
    rows = run.table("trials").rows()

    assert (run.project, run.state, run.job_type, run.group) == ("p", "finished", "study", "parabola")
    assert run.config["study"] == {
        "name": "parabola",
        "directions": ["minimize"],
        "sampler": "RandomSampler",
        "pruner": "MedianPruner",
    }
    assert [(row["_step"], row["loss"]) for row in run.scan_history(keys=["loss"])] == [
        (trial.number, trial.value) for trial in study.trials
    ]
    assert values(run, "params/x") == [trial.params["x"] for trial in study.trials]
    assert [(row["trial"], row["state"], row["loss"], row["params/x"], row["params/kind"]) for row in rows] == [
        (trial.number, "COMPLETE", trial.value, trial.params["x"], trial.params["kind"]) for trial in study.trials
    ]
    assert run.summary["best_loss"] == study.best_value
    assert run.summary["best_trial"] == study.best_trial.number
    assert run.summary["best_params/x"] == study.best_params["x"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_trial_can_have_a_run_of_its_own(n_jobs: int, read: Read) -> None:
    """8.1 #27, #2812: what an objective logs goes into its trial's run, also where trials work in threads."""
    callback = TrackerCallback(metric_name="loss", as_multirun=True)
    study = study_of()

    def logging(trial: optuna.Trial) -> float:
        for step in range(3):
            tracker.log({"number": trial.number}, step=step)
        return objective(trial)

    study.optimize(logging, n_trials=4, n_jobs=n_jobs, callbacks=[callback])
    tracker.finish()
    parent, trials = parted(read())

    assert [run.config["trial"]["number"] for run in trials] == [0, 1, 2, 3]
    assert [values(run, "number") for run in trials] == [[number] * 3 for number in range(4)]
    assert [run.summary["loss"] for run in trials] == [trial.value for trial in study.trials]
    assert [run.config["trial"]["params"]["x"] for run in trials] == [trial.params["x"] for trial in study.trials]
    assert {run.group for run in trials} == {parent.group}
    assert parent.group is not None
    assert {run.state for run in (parent, *trials)} == {"finished"}
    assert "number" not in parent.summary
    assert sorted(values(parent, "trial")) == [0, 1, 2, 3]


def test_trials_that_are_pruned_or_fail_are_closed_as_they_ended(read: Read) -> None:
    callback = TrackerCallback(as_multirun=True)
    study = study_of(pruner=optuna.pruners.NopPruner())

    def sometimes(trial: optuna.Trial) -> float:
        trial.suggest_int("depth", 1, 9)
        trial.report(0.5, step=7)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("too deep")
        return float("nan") if trial.number == 3 else 1.0

    study.optimize(sometimes, n_trials=4, catch=(ValueError,), callbacks=[callback])
    tracker.finish()
    parent, trials = parted(read())

    assert [run.state for run in trials] == ["finished", "finished", "failed", "failed"]
    assert [run.summary["trial_state"] for run in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert [run.tags for run in trials] == [[], ["pruned"], [], []]
    assert "too deep" in trials[2].details["exit"]["reason"]
    assert [row["_step"] for row in trials[1].scan_history(keys=["intermediate/value"])] == [7]
    assert [row["state"] for row in parent.table("trials").rows()] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert values(parent, "value") == [1.0]


def test_a_study_that_is_left_by_an_exception_is_a_failed_run(read: Read) -> None:
    def broken(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise ValueError("no")
        return 1.0

    with pytest.raises(ValueError, match="no"):
        study_of().optimize(broken, n_trials=3, callbacks=[TrackerCallback(as_multirun=True)])
    parent, trials = parted(read())

    assert (parent.state, [run.state for run in trials]) == ("failed", ["finished", "failed"])
    assert [row["state"] for row in parent.table("trials").rows()] == ["COMPLETE", "FAIL"]


def test_an_interrupted_study_is_killed(read: Read) -> None:
    """SwanLab#1261: an interrupt is no success."""

    def interrupted(trial: optuna.Trial) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study_of().optimize(interrupted, n_trials=1, callbacks=[TrackerCallback(as_multirun=True)])

    assert {run.state for run in read()} == {"killed"}


def test_a_run_that_an_objective_opens_is_its_own(read: Read) -> None:
    """8.1 #20, #27: a trial's own init neither goes on in the study's run nor ends it."""

    def own(trial: optuna.Trial) -> float:
        with tracker.init(project="own", config={"x": trial.suggest_float("x", 0, 1)}) as run:
            run.log({"loss": 0.5})
        return 0.5

    study_of().optimize(own, n_trials=3, callbacks=[TrackerCallback(project="study")])
    tracker.finish()
    runs = read()

    assert sorted(run.project for run in runs) == ["own", "own", "own", "study"]
    (parent,) = [run for run in runs if run.project == "study"]
    assert values(parent, "trial") == [0, 1, 2]
    assert "loss" not in parent.summary


def test_what_is_trained_in_a_trial_has_a_run_in_the_studys_group(read: Read) -> None:
    """transformers#11944: curves of many trials are not one curve."""

    def training(trial: optuna.Trial) -> float:
        session = Session("some")  # what any framework's integration does
        session.begin({"args": {"lr": trial.suggest_float("lr", 0, 1)}, "params": {"depth": 3}})
        for step in range(3):
            session.log({"loss": 1.0 / (step + 1)}, step=step)
        session.pause()
        return 0.3

    study_of().optimize(training, n_trials=2, callbacks=[TrackerCallback()])
    tracker.finish()
    parent, trials = parted(read())

    assert [values(run, "loss") for run in trials] == [[1.0, 0.5, 1 / 3]] * 2
    assert [run.config["args"]["lr"] for run in trials] == values(parent, "params/lr")
    assert {run.group for run in trials} == {parent.group}
    assert parent.group is not None
    assert "loss" not in parent.summary


def test_the_users_own_run_takes_the_study_in(read: Read) -> None:
    with tracker.init(project="mine") as own:
        study_of().optimize(objective, n_trials=3, callbacks=[TrackerCallback(as_multirun=True)])
        assert tracker.run is own
        assert own.state == "running"
    runs = read()
    (parent,) = [run for run in runs if run.job_type is None]

    assert values(parent, "trial") == [0, 1, 2]
    assert {run.group for run in runs if run.job_type == "trial"} == {own.id}


def test_several_values_have_names(read: Read) -> None:
    def two(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, 1 - x

    for names, callback in (
        (["value_0", "value_1"], TrackerCallback()),
        (["loss", "size"], TrackerCallback(metric_name=["loss", "size"])),
    ):
        study = study_of(directions=["minimize", "maximize"])
        study.optimize(two, n_trials=2, callbacks=[callback])
        tracker.finish()
        run = read()[-1]
        assert [[row[name] for name in names] for row in run.table("trials").rows()] == [t.values for t in study.trials]
        assert run.summary["pareto_trials"] == len(study.best_trials)
        assert run.config["study"]["directions"] == ["minimize", "maximize"]


def test_wrong_names_are_said_once_and_nothing_is_lost(only_run: OnlyRun, caplog: pytest.LogCaptureFixture) -> None:
    callback = TrackerCallback(metric_name=["a", "b"])
    study_of().optimize(objective, n_trials=3, callbacks=[callback])

    assert caplog.text.count("metric_name has 2 names, and the objective answers 1 values") == 1
    assert len(values(only_run(), "value_0")) == 3


def test_w_and_bs_arguments_and_decorator(read: Read) -> None:
    callback = TrackerCallback("accuracy", {"project": "wb", "tags": ["hpo"]}, as_multirun=True)

    @callback.track_in_wandb()
    def decorated(trial: optuna.Trial) -> float:
        tracker.log({"power": 2})
        return objective(trial)

    study_of().optimize(decorated, n_trials=2, callbacks=[callback])
    tracker.finish()
    parent, trials = parted(read())

    assert {(run.project, tuple(run.tags)) for run in (parent, *trials)} == {("wb", ("hpo",))}
    assert [run.summary["power"] for run in trials] == [2, 2]
    assert decorated.__name__ == "decorated"


def test_by_itself(read: Read) -> None:
    tracker.autolog("optuna")
    study = study_of()
    study.optimize(objective, n_trials=2)
    study.optimize(objective, n_trials=1)  # goes on with the study's run
    study_of().optimize(objective, n_trials=1)
    tracker.finish()
    first, second = read()

    assert values(first, "trial") == [0, 1, 2]
    assert len(first.table("trials")) == 3
    assert values(second, "trial") == [0]


def test_by_itself_with_runs_of_trials(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_OPTUNA_TRIAL_RUNS", "1")
    tracker.autolog("optuna")
    study_of().optimize(objective, n_trials=2, n_jobs=2)
    tracker.finish()
    parent, trials = parted(read())

    assert (len(values(parent, "trial")), len(trials)) == (2, 2)


def test_asked_and_told(only_run: OnlyRun) -> None:
    tracker.autolog("optuna")
    study = study_of()
    for _ in range(3):
        trial = study.ask()
        study.tell(trial, objective(trial))
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    run = only_run()

    assert values(run, "trial_state") == ["COMPLETE"] * 3 + ["FAIL"]
    assert len(values(run, "value")) == 3


def test_inner_fits_of_scikit_learn_make_no_runs(only_run: OnlyRun) -> None:
    """8405: a hundred trials are not a hundred runs of one fit each."""
    svm = pytest.importorskip("sklearn.svm")
    tracker.autolog("optuna, sklearn")

    def fitting(trial: optuna.Trial) -> float:
        model = svm.SVC(C=trial.suggest_float("C", 0.1, 1.0)).fit([[0.0], [1.0]], [0, 1])
        return float(model.score([[0.0], [1.0]], [0, 1]))

    study_of(direction="maximize").optimize(fitting, n_trials=3)

    assert len(values(only_run(), "value")) == 3


def test_without_being_asked_nothing_is_logged(read: Read) -> None:
    """8.1 #22."""
    TrackerCallback()
    study_of().optimize(objective, n_trials=1)

    assert read() == []


def test_two_studies_in_two_threads(read: Read) -> None:
    tracker.autolog("optuna")
    both = threading.Barrier(2)

    def work(name: str) -> None:
        def waiting(trial: optuna.Trial) -> float:
            both.wait(timeout=30)
            return objective(trial)

        study_of(study_name=name).optimize(waiting, n_trials=2)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted((run.config["study"]["name"], len(values(run, "trial"))) for run in read()) == [
        ("one", 2),
        ("two", 2),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_fits_of_scikit_learn_go_into_the_runs_of_trials(
    jobs: int, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each trial has a run, what is fitted in it stands there: parameters, scores, the model."""
    datasets, svm = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.svm")
    monkeypatch.setenv("TRACKER_OPTUNA_TRIAL_RUNS", "1")
    tracker.autolog("optuna, sklearn")
    x, y = datasets.make_classification(60, random_state=0)

    def accuracy(trial: optuna.Trial) -> float:
        model = svm.SVC(C=trial.suggest_float("c", 0.1, 10)).fit(x[:40], y[:40])
        return model.score(x[40:], y[40:])

    study = study_of(direction="maximize")
    study.optimize(accuracy, n_trials=4, n_jobs=jobs)
    tracker.finish()
    parent, trials = parted(read())

    assert [run.state for run in trials] == ["finished"] * 4
    assert [run.config["params"]["C"] for run in trials] == [trial.params["c"] for trial in study.trials]
    assert [values(run, "test/score") for run in trials] == [trial.values for trial in study.trials]
    assert all([kept.type for kept in run.logged_artifacts()] == ["model"] for run in trials)
    assert "params" not in parent.config and list(parent.logged_artifacts()) == []
