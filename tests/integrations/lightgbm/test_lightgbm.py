"""LightGBM's trainings, read back: by callback, by autologging, one by one and in loops, and where they fail."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import base
from tracker.integrations.lightgbm import TrackerCallback

Read = Callable[[], list[ReadRun]]
One = Callable[[], ReadRun]
Script = Callable[..., Any]
Models = Callable[[ReadRun], list[Any]]

PARAMS = {"objective": "binary", "metric": ["auc", "binary_logloss"], "num_threads": 1, "verbosity": -1, "max_depth": 2}
_RANDOM = np.random.default_rng(0)
X = _RANDOM.random((300, 4))
Y = (X[:, 0] + 0.2 * _RANDOM.random(300) > 0.6).astype(int)


def _train(rounds: int = 5, params: dict[str, Any] | None = None, **kwargs: Any) -> lgb.Booster:
    train = lgb.Dataset(X[:200], Y[:200], feature_name=["a", "b", "c", "d"])
    sets = [train, lgb.Dataset(X[200:], Y[200:], reference=train)]
    return lgb.train(params or PARAMS, train, rounds, valid_sets=sets, valid_names=["train", "validation"], **kwargs)


def _curve(run: ReadRun, name: str) -> list[tuple[float, float]]:
    return [(row["_step"], row[name]) for row in run.scan_history() if row.get(name) is not None]


def test_each_round_is_logged_under_the_name_of_its_data(only_run: One) -> None:
    expected: dict[str, Any] = {}
    _train(callbacks=[TrackerCallback(), lgb.record_evaluation(expected)])
    tracker.finish()

    run = only_run()
    for data, metrics in expected.items():
        for metric, values in metrics.items():
            assert _curve(run, f"{data}/{metric}") == list(enumerate(values))
    assert set(expected) == {"train", "validation"}
    assert run.state == "finished"


def test_what_was_said_is_in_the_config(only_run: One) -> None:
    _train(callbacks=[TrackerCallback()])
    tracker.finish()

    config = only_run().config
    assert config["params"] == PARAMS
    assert config["args"] == {"num_boost_round": 5, "function": "train"}
    assert config["data"]["train"] == {"rows": 200, "columns": 4}
    assert config["data"]["validation"] == {"rows": 100, "columns": 4}
    assert config["data"]["features"] == ["a", "b", "c", "d"]


def test_the_best_round_comes_from_the_booster(tmp_path: Path, models: Models, only_run: One) -> None:
    """Early stopping is an exception that a callback raises; the last round is kept all the same."""
    booster = _train(60, callbacks=[lgb.early_stopping(2, verbose=False), TrackerCallback()])
    tracker.finish()

    run = only_run()
    assert 0 < booster.best_iteration < 60
    assert run.summary["best_iteration"] == booster.best_iteration - 1
    assert run.summary["rounds"] == booster.best_iteration + 2 == len(_curve(run, "validation/auc"))
    assert run.summary["best_score/validation/auc"] == booster.best_score["validation"]["auc"]
    assert run.summary["validation/auc.best"] >= run.summary["validation/auc"]
    (artifact,) = models(run)
    again = lgb.Booster(model_file=str(Path(artifact.download(tmp_path)) / "model.txt"))
    np.testing.assert_allclose(again.predict(X), booster.predict(X))


def _stop(env: Any) -> None:
    if env.iteration == 2:
        raise lgb.callback.EarlyStopException(1, env.evaluation_result_list)


def test_the_round_in_which_another_callback_stops_is_not_lost(only_run: One) -> None:
    _train(callbacks=[_stop, TrackerCallback()])
    tracker.finish()

    assert [step for step, _ in _curve(only_run(), "validation/auc")] == [0, 1, 2]
    assert only_run().summary["best_iteration"] == 1


@pytest.mark.parametrize(
    "entries",
    [
        [("valid", "auc", 0.5, True)],
        [("cv_agg", "valid auc", 0.5, True, 0.25)],
        [("valid", "auc", 0.5, True, 0.25)],
    ],
    ids=["of-four", "of-five-before-4.7", "of-five"],
)
def test_results_of_older_versions_are_understood(only_run: One, entries: list[Any]) -> None:
    """8.1 #26: LightGBM's callback breaks on each new version. These are the shapes it has had."""

    class Older:  # passes results on as an older version would
        def __init__(self, callback: Any) -> None:
            self.callback = callback

        def __call__(self, env: Any) -> None:
            names = ("model", "params", "iteration", "begin_iteration", "end_iteration")
            self.callback(
                SimpleNamespace(**{name: getattr(env, name) for name in names}, evaluation_result_list=entries)
            )

    callback = TrackerCallback()
    _train(2, callbacks=[Older(callback)])
    callback._training.finish({})
    tracker.finish()

    run = only_run()
    assert _curve(run, "valid/auc") == [(0, 0.5), (1, 0.5)]
    assert _curve(run, "valid/auc.std") == ([(0, 0.25), (1, 0.25)] if len(entries[0]) == 5 else [])


def test_the_cross_validation_has_means_and_deviations(only_run: One) -> None:
    """8.1 #26: the callback fails in cv, where the model is a pack of folds."""
    result = lgb.cv(
        PARAMS, lgb.Dataset(X, Y), 60, nfold=3, callbacks=[TrackerCallback(), lgb.early_stopping(2, verbose=False)]
    )
    tracker.finish()

    run = only_run()
    best = len(result["valid auc-mean"])
    assert [value for _, value in _curve(run, "valid/auc")][:best] == result["valid auc-mean"]
    assert [value for _, value in _curve(run, "valid/auc.std")][:best] == result["valid auc-stdv"]
    assert run.summary["best_iteration"] == best - 1
    assert run.config["args"]["function"] == "cv"
    assert run.config["data"]["training"] == {"rows": 300, "columns": 4}


def test_importances_and_predictions_are_tables(only_run: One) -> None:
    booster = _train(callbacks=[TrackerCallback()])
    tracker.finish()

    run = only_run()
    gains = dict(zip("abcd", booster.feature_importance("gain"), strict=True))
    assert {row["feature"]: row["gain"] for row in run.table("importance/features").rows()} == pytest.approx(gains)
    assert run.summary["importance/gain"]["kind"] == "bar"
    rows = run.table("validation/predictions").rows()
    outputs = booster.predict(X[200:])
    assert len(rows) == base.EVAL_ROWS
    assert [row["label"] for row in rows] == Y[200:].tolist()
    assert [row["prediction"] for row in rows] == (outputs > 0.5).astype(int).tolist()
    assert rows[0]["a"] == X[200, 0]


@pytest.mark.parametrize(
    ("params", "labels", "columns"),
    [
        ({"objective": "regression"}, X[:, 0], {"label", "prediction", "error"}),
        ({"objective": "multiclass", "num_class": 3}, Y + (X[:, 1] > 0.5), {"label", "prediction", "probability", "loss"}),
        ({"objective": "lambdarank"}, Y, {"label", "score"}),
    ],
    ids=["regression", "classes", "ranking"],
)  # fmt: skip
def test_predictions_of_every_kind(only_run: One, params: dict[str, Any], labels: Any, columns: set[str]) -> None:
    group = [50] * 6 if params["objective"] == "lambdarank" else None
    train, valid = (lgb.Dataset(pd.DataFrame(X, columns=list("abcd")), labels, group=group) for _ in range(2))
    lgb.train(
        {**params, "num_threads": 1, "verbosity": -1}, train, 2, valid_sets=[valid], callbacks=[TrackerCallback()]
    )
    tracker.finish()

    table = only_run().table("valid_0/predictions")
    assert len(table) == 100
    assert set(table.columns) == {"step", "row", *"abcd"} | columns


@pytest.mark.filterwarnings("ignore:.*eval_set.*")
def test_scores_after_fit_go_into_the_same_run(only_run: One) -> None:
    """8.5 #4473: the estimators are a gap."""
    frame, names = pd.DataFrame(X, columns=list("abcd")), np.array(["no", "yes"])[Y]
    train, test = frame[:200], frame[200:]
    model = lgb.LGBMClassifier(n_estimators=3, n_jobs=1, verbosity=-1)
    model.fit(train, names[:200], eval_set=[(test, names[200:])], callbacks=[TrackerCallback()])
    on_train, on_test = model.score(train, names[:200]), model.score(test, names[200:])
    tracker.finish()

    run = only_run()
    assert run.summary["training/score"] == on_train
    assert run.summary["valid_0/score"] == on_test
    assert run.config["args"]["estimator"] == "LGBMClassifier"
    assert {row["label"] for row in run.table("valid_0/predictions").rows()} == {"no", "yes"}


def test_a_search_has_the_run_of_its_refit_alone(only_run: One) -> None:
    """8.5 #4382: child runs explode in GridSearchCV."""
    tracker.autolog("lightgbm")
    model = lgb.LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1)
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, n_jobs=1).fit(X, Y)
    tracker.finish()

    assert only_run().config["params"]["max_depth"] == search.best_params_["max_depth"]


def test_each_training_of_a_loop_has_a_run_of_its_own(read: Read) -> None:
    """8.1 #20 #27: trials pile up in one run."""
    callback = TrackerCallback(project="search")
    for depth in (1, 2):
        _train(2, {**PARAMS, "max_depth": depth}, callbacks=[callback])
    tracker.finish()

    assert [run.config["params"]["max_depth"] for run in read()] == [1, 2]
    assert [len(_curve(run, "train/auc")) for run in read()] == [2, 2]


def test_trainings_in_a_run_of_the_users_are_told_apart(only_run: One) -> None:
    """8.1 #27, 8.5 #7947: values of several trainings pile up; one that goes on goes on with its curve."""
    with tracker.init() as mine:
        first = _train(2, callbacks=[TrackerCallback()])
        _train(3, callbacks=[TrackerCallback()], init_model=first)
        _train(4, {**PARAMS, "max_depth": 1}, callbacks=[TrackerCallback()])
        state = mine.state

    run = only_run()
    assert state == "running"
    assert [step for step, _ in _curve(run, "train/auc")] == [0, 1, 2, 3, 4]
    assert run.config["params"]["max_depth"] == 2
    assert run.config["fit3"]["params"]["max_depth"] == 1
    assert len(_curve(run, "fit3/train/auc")) == 4


def test_a_callback_can_be_copied_and_pickled(read: Read) -> None:
    callback = TrackerCallback(project="copies", log_model=False)
    for one in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        _train(2, callbacks=[one])
    tracker.finish()

    assert {run.project for run in read()} == {"copies"}
    assert len(read()) == 2


PLAIN = """
import numpy as np, lightgbm
from lightgbm import LGBMRegressor, train

X = np.random.default_rng(0).random((100, 3)); y = X[:, 0] > 0.5
params = {"objective": "binary", "num_threads": 1, "verbosity": -1}
data = lightgbm.Dataset(X, y)
train(params, data, 3, valid_sets=[data])
lightgbm.cv(params, lightgbm.Dataset(X, y), 3, nfold=2)
LGBMRegressor(n_estimators=3, n_jobs=1, verbosity=-1).fit(X, X[:, 1]).score(X, X[:, 1])
"""


def test_a_script_that_does_not_know_us_is_logged_whole(read: Read, script: Script) -> None:
    """8.5 #4296 #4473: cv and the estimators are gaps of autologging."""
    script(PLAIN, TRACKER_AUTOLOG="1")

    train, cv, regressor = read()
    assert {run.state for run in read()} == {"finished"}
    assert train.config["args"] == {"num_boost_round": 3, "function": "train"}
    assert len(_curve(train, "training/binary_logloss")) == 3
    assert len(_curve(cv, "valid/binary_logloss.std")) == 3
    assert "training/score" in regressor.summary
    assert regressor.config["args"]["estimator"] == "LGBMRegressor"


def test_nobody_is_logged_who_has_not_asked(read: Read, script: Script) -> None:
    """8.1 #22: enabled without being asked."""
    done = script(PLAIN + "import sys; print('tracker' in sys.modules)", TRACKER_AUTOLOG="xgboost")

    assert read() == []
    assert done.stdout == "False\n"


def test_a_training_that_fails_is_a_run_that_failed(only_run: One) -> None:
    def fail(env: Any) -> None:
        if env.iteration == 1:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        _train(callbacks=[fail, TrackerCallback()])

    run = only_run()
    assert run.state == "failed"
    assert len(_curve(run, "train/auc")) == 2


def test_faults_of_ours_do_not_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #7: training crashes because tracking failed."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(tracker.Run, "log", broken)
    monkeypatch.setattr(base.Session, "checkpoint", broken)
    booster = _train(callbacks=[TrackerCallback()])

    assert booster.num_trees() == 5


@pytest.mark.slow
def test_workers_of_dask_have_one_run(read: Read, script: Script) -> None:
    """8.5 #4696 #5817, 8.1 #9: N runs on N workers."""
    pytest.importorskip("distributed")
    script(
        """
        def main():
            import dask.array as da
            from distributed import Client, LocalCluster
            from lightgbm import DaskLGBMRegressor

            with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
                with Client(cluster):
                    x = da.random.random((200, 3), chunks=(50, 3))
                    DaskLGBMRegressor(n_estimators=4, verbosity=-1).fit(x, x[:, 0])

        if __name__ == "__main__":
            main()
        """,
        TRACKER_AUTOLOG="lightgbm",
    )

    (run,) = read()
    assert run.state == "finished"
    assert run.summary["rounds"] == 4
