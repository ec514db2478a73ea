"""XGBoost's trainings, read back: by callback, by autologging, one by one and in loops, and where they fail."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import base, patching
from tracker.integrations.xgboost import TrackerCallback

Read = Callable[[], list[ReadRun]]
One = Callable[[], ReadRun]
Script = Callable[..., Any]
Models = Callable[[ReadRun], list[Any]]

PARAMS = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "max_depth": 2, "nthread": 1}
_RANDOM = np.random.default_rng(0)
X = _RANDOM.random((300, 4))
Y = (X[:, 0] + 0.2 * _RANDOM.random(300) > 0.6).astype(int)
QUIET = {"verbose_eval": False}


def _data(rows: slice = slice(None), **kwargs: Any) -> xgb.DMatrix:
    return xgb.DMatrix(X[rows], Y[rows], feature_names=["a", "b", "c", "d"], **kwargs)


def _train(rounds: int = 5, params: dict[str, Any] | None = None, **kwargs: Any) -> xgb.Booster:
    evals = [(_data(slice(200)), "train"), (_data(slice(200, None)), "validation")]
    return xgb.train(params or PARAMS, evals[0][0], rounds, evals=evals, **QUIET, **kwargs)


def _curve(run: ReadRun, name: str) -> list[tuple[float, float]]:
    return [(row["_step"], row[name]) for row in run.scan_history() if row.get(name) is not None]


# --- what is kept ------------------------------------------------------------------------------


def test_each_round_is_logged_under_the_name_of_its_data(only_run: One) -> None:
    expected: dict[str, Any] = {}
    _train(callbacks=[TrackerCallback()], evals_result=expected)
    tracker.finish()

    run = only_run()
    for data, metrics in expected.items():
        for metric, values in metrics.items():
            assert _curve(run, f"{data}/{metric}") == list(enumerate(values))
    assert set(expected) == {"train", "validation"}
    assert run.state == "finished"


def test_what_was_said_is_in_the_config(only_run: One) -> None:
    _train(callbacks=[TrackerCallback(config={"note": "mine"})], early_stopping_rounds=3)
    tracker.finish()

    config = only_run().config
    assert config["params"] == PARAMS
    assert config["args"] == {"num_boost_round": 5, "early_stopping_rounds": 3, "function": "train"}
    assert config["data"]["train"] == {"rows": 200, "columns": 4}
    assert config["data"]["validation"] == {"rows": 100, "columns": 4}
    assert config["data"]["features"] == ["a", "b", "c", "d"]
    assert config["effective"]["gradient_booster"]["tree_train_param"]["max_depth"] == 2
    assert config["note"] == "mine"


def test_the_summary_tells_the_best_round_not_the_last(only_run: One) -> None:
    """8.1 #25 (of Keras, and here as well): the summary shows last, not best."""
    booster = _train(40, callbacks=[TrackerCallback()], early_stopping_rounds=2)
    tracker.finish()

    summary = only_run().summary
    assert booster.best_iteration < 39
    assert summary["best_iteration"] == booster.best_iteration
    assert summary["best_score"] == pytest.approx(booster.best_score)
    assert summary["rounds"] == booster.num_boosted_rounds()
    assert summary["validation/logloss.best"] == pytest.approx(booster.best_score)
    assert summary["validation/auc.best"] >= summary["validation/auc"]


def test_importances_are_a_table_and_a_chart(only_run: One) -> None:
    booster = _train(callbacks=[TrackerCallback(importance_type="weight")])
    tracker.finish()

    run = only_run()
    rows = run.table("importance/features").rows()
    weights = booster.get_score(importance_type="weight")
    assert {row["feature"]: row["weight"] for row in rows} == weights
    assert {row["feature"]: row["gain"] for row in rows} == pytest.approx(booster.get_score(importance_type="gain"))
    assert rows[0]["weight"] == max(weights.values())
    assert run.summary["importance/weight"]["kind"] == "bar"


def test_a_sample_of_predictions_stands_beside_labels_and_features(only_run: One) -> None:
    booster = _train(callbacks=[TrackerCallback()])
    tracker.finish()

    rows = only_run().table("validation/predictions").rows()
    outputs = booster.predict(_data(slice(200, None)))
    assert len(rows) == base.EVAL_ROWS
    for place, row in enumerate(rows):
        assert row["label"] == Y[200 + place]
        assert row["prediction"] == int(outputs[place] > 0.5)
        share = outputs[place] if row["label"] else 1 - outputs[place]
        assert row["loss"] == pytest.approx(-np.log(share), rel=1e-4)
        assert [row[name] for name in "abcd"] == pytest.approx(X[200 + place].tolist())


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_the_model_that_was_kept_predicts_as_the_one_at_hand(
    tmp_path: Path, models: Models, only_run: One, form: str
) -> None:
    booster = _train(callbacks=[TrackerCallback(model_format=form)])
    tracker.finish()

    (artifact,) = models(only_run())
    again = xgb.Booster(model_file=Path(artifact.download(tmp_path)) / f"model.{form}")
    assert artifact.type == "model"
    assert artifact.metadata["framework"] == "xgboost"
    np.testing.assert_array_equal(again.predict(_data()), booster.predict(_data()))


def test_the_model_is_the_one_that_early_stopping_hands_back(tmp_path: Path, models: Models, only_run: One) -> None:
    """Our callback is called before those that cut the model; what is kept is what the user gets."""
    stopping = xgb.callback.EarlyStopping(rounds=2, save_best=True)
    booster = _train(40, callbacks=[TrackerCallback(), stopping])
    tracker.finish()

    (artifact,) = models(only_run())
    again = xgb.Booster(model_file=Path(artifact.download(tmp_path)) / "model.ubj")
    assert again.num_boosted_rounds() == booster.num_boosted_rounds() == booster.best_iteration + 1


class _Stop(xgb.callback.TrainingCallback):
    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return bool(epoch == 2)


def test_the_round_in_which_another_callback_stops_is_not_lost(only_run: One) -> None:
    """XGBoost does not call the callbacks behind the one that stops."""
    _train(callbacks=[_Stop(), TrackerCallback()])
    tracker.finish()

    assert [step for step, _ in _curve(only_run(), "validation/auc")] == [0, 1, 2]


def test_the_cross_validation_has_means_and_deviations(models: Models, only_run: One) -> None:
    """8.1 #26: the callback fails in cv, where the model is a pack of folds."""
    result = xgb.cv(
        PARAMS, _data(), 30, nfold=3, seed=1, early_stopping_rounds=2, callbacks=[TrackerCallback()], as_pandas=False
    )
    tracker.finish()

    run = only_run()
    best = len(result["test-auc-mean"])
    assert [value for _, value in _curve(run, "test/logloss")][:best] == result["test-logloss-mean"]
    assert [value for _, value in _curve(run, "test/logloss.std")][:best] == result["test-logloss-std"]
    assert run.summary["best_iteration"] == best - 1
    assert run.config["args"]["nfold"] == 3
    assert run.config["args"]["function"] == "cv"
    assert models(run) == []


@pytest.mark.parametrize(
    ("params", "labels", "columns"),
    [
        ({"objective": "reg:squarederror"}, X[:, 0], {"label", "prediction", "error"}),
        ({"objective": "multi:softprob", "num_class": 3}, Y + (X[:, 1] > 0.5), {"label", "prediction", "probability", "loss"}),
        ({"objective": "multi:softmax", "num_class": 3}, Y + (X[:, 1] > 0.5), {"label", "prediction"}),
        ({"objective": "rank:pairwise"}, Y, {"label", "score"}),
        ({"booster": "gblinear"}, X[:, 0], {"label", "prediction", "error"}),
        ({"objective": "reg:squarederror"}, X[:, :2], {"label", "prediction"}),
    ],
    ids=["regression", "classes", "only-classes", "ranking", "linear", "two-targets"],
)  # fmt: skip
def test_predictions_of_every_kind(only_run: One, params: dict[str, Any], labels: Any, columns: set[str]) -> None:
    data = xgb.DMatrix(X, labels, qid=np.arange(300) // 50 if "rank" in str(params) else None)
    xgb.train({**params, "nthread": 1}, data, 2, evals=[(data, "all")], callbacks=[TrackerCallback()], **QUIET)
    tracker.finish()

    table = only_run().table("all/predictions")
    assert len(table) == 100
    assert set(table.columns) == {"step", "row", "f0", "f1", "f2", "f3"} | columns
    assert only_run().summary["importance/features"]["rows"] > 0


@pytest.mark.parametrize("kind", ["quantized", "sparse", "missing", "frame", "no-label"])
def test_data_of_every_kind(only_run: One, kind: str) -> None:
    from scipy.sparse import csr_matrix

    holes = np.where(X > 0.9, np.nan, X)
    data = {
        "quantized": lambda: xgb.QuantileDMatrix(X, Y),
        "sparse": lambda: xgb.DMatrix(csr_matrix(np.where(X > 0.5, X, 0)), Y),
        "missing": lambda: xgb.DMatrix(holes, Y),
        "frame": lambda: xgb.DMatrix(pd.DataFrame(X, columns=["step", "row", "label", "x"]), Y),
        "no-label": lambda: xgb.DMatrix(X, Y),
    }[kind]()
    evals = data if kind != "no-label" else xgb.DMatrix(X)
    params = {**PARAMS, "disable_default_eval_metric": 1, "eval_metric": []} if kind == "no-label" else PARAMS
    xgb.train(params, data, 2, evals=[(evals, "all")], callbacks=[TrackerCallback()], **QUIET)
    tracker.finish()

    rows = only_run().table("all/predictions").rows()
    assert len(rows) == 100
    assert (rows[0]["label"] is None) == (kind == "no-label")
    if kind == "missing":
        expected = [None if value != value else value for value in holes[0].tolist()]
        assert [rows[0][f"f{place}"] for place in range(4)] == pytest.approx(expected)
    if kind == "frame":
        assert rows[0]["feature label"] == pytest.approx(X[0, 2])


def test_many_features_are_counted_and_not_all_named(only_run: One) -> None:
    """8.5 #3032: what grows with the data must not break what is kept of it."""
    wide = xgb.DMatrix(_RANDOM.random((50, 2000)), Y[:50], feature_names=[f"feature {n}" for n in range(2000)])
    xgb.train(PARAMS, wide, 2, evals=[(wide, "all")], callbacks=[TrackerCallback()], **QUIET)
    tracker.finish()

    run = only_run()
    assert run.config["data"]["train"] == {"rows": 50, "columns": 2000}
    assert len(run.config["data"]["features"]) == 100
    assert "feature 0" not in run.table("all/predictions").columns


def test_a_training_without_evaluation_keeps_its_model(models: Models, only_run: One) -> None:
    xgb.train(PARAMS, _data(), 3, callbacks=[TrackerCallback()])
    tracker.finish()

    run = only_run()
    assert run.summary["rounds"] == 3
    assert len(models(run)) == 1


def test_what_is_not_wanted_is_not_kept(models: Models, only_run: One) -> None:
    """8.5 #3663: models are logged by default, and that is slow."""
    _train(callbacks=[TrackerCallback(log_model=False, log_feature_importance=False, log_predictions=False)])
    tracker.finish()

    run = only_run()
    assert models(run) == []
    assert not [name for name in run.summary if "importance" in name or "predictions" in name]


def test_a_parameter_too_long_or_of_no_plain_kind_costs_nothing_else(only_run: One) -> None:
    """8.5 #10512 #10549 #13575, 8.1 #19: one over-long parameter disables everything; numpy's numbers become texts."""

    def distance(predictions: Any, data: Any) -> tuple[str, float]:
        return "distance", float(np.abs(predictions - data.get_label()).mean())

    params = {**PARAMS, "eta": np.float32(0.5), "max_depth": np.int64(3), "monotone_constraints": "(0,0,0,0)"}
    params["interaction_constraints"] = str([[0, 1, 2, 3]] * 4000)
    _train(params=params, callbacks=[TrackerCallback()], custom_metric=distance)
    tracker.finish()

    run = only_run()
    assert run.config["params"]["eta"] == 0.5
    assert run.config["params"]["max_depth"] == 3
    assert run.config["params"]["interaction_constraints"].startswith("[[0, 1, 2, 3], ")
    assert run.config["args"]["custom_metric"].endswith("distance")
    assert len(_curve(run, "validation/distance")) == 5


# --- estimators --------------------------------------------------------------------------------


def test_scores_after_fit_go_into_the_same_run(only_run: One) -> None:
    """8.5 #4473: the estimators are a gap; 8.2 #35074: what is evaluated after training goes to a new run."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    train, test = frame[:200], frame[200:]
    model = xgb.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[TrackerCallback()], early_stopping_rounds=2)
    model.fit(train, Y[:200], eval_set=[(test, Y[200:])], verbose=False)
    on_train, on_test, on_other = model.score(train, Y[:200]), model.score(test, Y[200:]), model.score(frame, Y)
    tracker.finish()

    run = only_run()
    assert run.summary["train/score"] == on_train
    assert run.summary["validation_0/score"] == on_test
    assert run.summary["eval/score"] == on_other
    assert run.config["args"]["estimator"] == "XGBClassifier"
    assert run.config["params"]["n_jobs"] == 1
    assert None not in run.config["params"].values()
    assert set("abcd") <= set(run.table("validation_0/predictions").columns)


def test_a_search_has_the_run_of_its_refit_alone(only_run: One) -> None:
    """8.5 #4382: child runs explode in GridSearchCV. The estimator's callback is copied for each of them."""
    model = xgb.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[TrackerCallback()])
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, n_jobs=1).fit(X, Y)
    tracker.finish()

    run = only_run()
    assert run.config["params"]["max_depth"] == search.best_params_["max_depth"]
    assert run.config["data"]["train"]["rows"] == 300


def test_a_search_in_other_processes_has_the_run_of_its_refit_alone(read: Read, script: Script) -> None:
    """8.5 #4382: also where joblib's workers, with autologging in their environment, fit the candidates."""
    script(
        """
        import numpy as np, xgboost as xgb
        from sklearn.model_selection import GridSearchCV
        from tracker.integrations.xgboost import TrackerCallback

        X = np.random.default_rng(0).random((100, 3))
        model = xgb.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[TrackerCallback()])
        GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, n_jobs=2).fit(X, X[:, 0] > 0.5)
        """,
        TRACKER_AUTOLOG="xgboost",
    )

    assert [run.state for run in read()] == ["finished"]


def test_cross_val_score_opens_no_runs(read: Read) -> None:
    """8.5 #4590: a run for each fold of cross_val_score."""
    tracker.autolog("xgboost")
    scores = cross_val_score(xgb.XGBClassifier(n_estimators=2, n_jobs=1), X, Y, cv=2)

    assert len(scores) == 2
    assert read() == []


def test_members_of_an_ensemble_have_no_runs_unless_asked_for(read: Read) -> None:
    """8.5 #8405: spurious runs of models that are parts of others."""
    tracker.autolog("xgboost")
    OneVsRestClassifier(xgb.XGBClassifier(n_estimators=2, n_jobs=1)).fit(X, Y + (X[:, 1] > 0.5))
    without = read()
    make_pipeline(StandardScaler(), xgb.XGBClassifier(n_estimators=2, n_jobs=1)).fit(X, Y)
    tracker.finish()

    assert without == []
    assert [run.config["args"]["estimator"] for run in read()] == ["XGBClassifier"]


# --- several trainings -------------------------------------------------------------------------


def test_each_training_of_a_loop_has_a_run_of_its_own(read: Read) -> None:
    """8.1 #20 #27: the second training in a script goes on with the first one's run; trials pile up in one run."""
    for depth in (1, 2, 3):
        _train(2, {**PARAMS, "max_depth": depth}, callbacks=[TrackerCallback(project="search", group="depths")])
    tracker.finish()

    runs = read()
    assert [run.config["params"]["max_depth"] for run in runs] == [1, 2, 3]
    assert [len(_curve(run, "train/auc")) for run in runs] == [2, 2, 2]
    assert {run.state for run in runs} == {"finished"}
    assert {(run.project, run.group) for run in runs} == {("search", "depths")}


def test_trainings_in_a_run_of_the_users_are_told_apart(models: Models, only_run: One) -> None:
    """8.1 #27, 8.5 #7947 #7402: values of several trainings pile up; changing a parameter's value is an error."""
    callback = TrackerCallback()
    with tracker.init(config={"mine": 1}) as mine:
        for depth in (1, 2):
            _train(depth + 1, {**PARAMS, "max_depth": depth}, callbacks=[callback])
            assert mine.state == "running"
        _train(4, callbacks=[TrackerCallback(prefix="last")])
        mine.log({"after": 1})

    run = only_run()
    assert len(_curve(run, "train/auc")) == 2
    assert len(_curve(run, "fit2/train/auc")) == 3
    assert len(_curve(run, "last/train/auc")) == 4
    assert run.config["mine"] == 1
    assert run.config["params"]["max_depth"] == 1
    assert run.config["fit2"]["params"]["max_depth"] == 2
    assert {artifact.name.partition(":")[0] for artifact in models(run)} == {
        f"model-{run.id}", f"model-{run.id}-fit2", f"model-{run.id}-last",
    }  # fmt: skip
    assert "fit2/validation/predictions" in run.summary


def test_a_training_that_goes_on_goes_on_with_its_curve(only_run: One) -> None:
    with tracker.init():
        first = _train(3, callbacks=[TrackerCallback()])
        _train(2, callbacks=[TrackerCallback()], xgb_model=first)

    run = only_run()
    assert [step for step, _ in _curve(run, "validation/auc")] == [0, 1, 2, 3, 4]
    assert run.summary["rounds"] == 5


def test_steps_behind_those_of_the_user_are_kept(only_run: One) -> None:
    """8.1 #1 #2: rows at steps below the last one are dropped; given and own steps drift."""
    with tracker.init() as mine:
        for number in range(10):
            mine.log({"mine": number}, step=number * 100)
        _train(3, callbacks=[TrackerCallback()])

    assert [step for step, _ in _curve(only_run(), "train/auc")] == [0, 1, 2]
    assert len(_curve(only_run(), "mine")) == 10


def test_trainings_in_two_threads_have_a_run_each(read: Read) -> None:
    """8.5 #1768 and 8.6: one active run for all threads, and values of one training in the run of another."""
    both = threading.Barrier(2)

    class Meet(xgb.callback.TrainingCallback):
        def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            both.wait(60)
            return False

    def train(depth: int) -> None:
        _train(3, {**PARAMS, "max_depth": depth}, callbacks=[TrackerCallback(), Meet()])

    threads = [threading.Thread(target=train, args=(depth,)) for depth in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while tracker.run is not None:
        tracker.finish()

    runs = read()
    assert sorted(run.config["params"]["max_depth"] for run in runs) == [1, 2]
    assert [len(_curve(run, "train/auc")) for run in runs] == [3, 3]


def test_a_callback_can_be_copied_pickled_and_used_again(models: Models, read: Read) -> None:
    """It is stateless across trainings, as estimators and workers want it."""
    callback = TrackerCallback(project="copies", log_model=False)
    _train(2, callbacks=[callback])
    for one in (callback, copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        _train(2, callbacks=[one])
    tracker.finish()

    runs = read()
    assert len(runs) == 4
    assert {run.project for run in runs} == {"copies"}
    assert all(models(run) == [] for run in runs)


def test_a_run_that_was_given_is_logged_to_and_stays_open(read: Read) -> None:
    given = tracker.init(name="given")
    tracker.init(name="other", reinit="create_new")
    _train(2, callbacks=[TrackerCallback(given)])
    state = given.state
    given.finish()
    tracker.finish()

    by_name = {run.name: run for run in read()}
    assert state == "running"
    assert len(_curve(by_name["given"], "train/auc")) == 2
    assert _curve(by_name["other"], "train/auc") == []


# --- autologging -------------------------------------------------------------------------------

PLAIN = """
import numpy as np, xgboost
from xgboost import XGBRegressor, XGBRFClassifier, train

X = np.random.default_rng(0).random((100, 3)); y = X[:, 0] > 0.5
data = xgboost.DMatrix(X, y)
train({"objective": "binary:logistic", "nthread": 1}, data, 3, evals=[(data, "train")], verbose_eval=False)
xgboost.cv({"objective": "binary:logistic", "nthread": 1}, data, 3, nfold=2)
XGBRegressor(n_estimators=3, n_jobs=1).fit(X, X[:, 1], eval_set=[(X, X[:, 1])], verbose=False).score(X, X[:, 1])
XGBRFClassifier(n_estimators=3, n_jobs=1).fit(X, y)  # which refuses callbacks
"""


def test_a_script_that_does_not_know_us_is_logged_whole(models: Models, read: Read, script: Script) -> None:
    """8.5 #4296 #4473: cv and the estimators are gaps of autologging."""
    done = script(PLAIN, TRACKER_AUTOLOG="1")

    train, cv, regressor, forest = read()
    assert {run.state for run in read()} == {"finished"}
    assert train.config["args"] == {"num_boost_round": 3, "function": "train"}
    assert len(_curve(train, "train/logloss")) == 3
    assert len(_curve(cv, "test/logloss.std")) == 3
    assert regressor.summary["train/score"] > 0
    assert regressor.summary["validation_0/rmse"] > 0
    assert forest.config["args"]["estimator"] == "XGBRFClassifier"
    assert len(models(forest)) == 1
    assert "tracker" not in done.stdout


@pytest.mark.parametrize("asked", ["", "0", "lightgbm"])
def test_nobody_is_logged_who_has_not_asked(read: Read, script: Script, asked: str) -> None:
    """8.1 #22: enabled without being asked."""
    done = script(PLAIN + "import sys; print('tracker' in sys.modules)", TRACKER_AUTOLOG=asked)

    assert read() == []
    assert done.stdout == "False\n"


def test_autologging_can_be_turned_on_late_and_off_again(models: Models, read: Read) -> None:
    before = xgb.train
    tracker.autolog("xgboost", log_models=False, log_tables=False)
    _train(2)
    tracker.autolog("xgboost", disable=True)
    _train(2)
    tracker.finish()

    (run,) = read()
    assert models(run) == []
    assert "validation/predictions" not in run.summary
    assert getattr(xgb.train, patching.MARK, None) is None or xgb.train is before


def test_ours_is_not_added_where_the_user_has_put_it(only_run: One) -> None:
    tracker.autolog("xgboost")
    _train(2, callbacks=[TrackerCallback(name="by hand")])
    tracker.finish()

    assert only_run().name == "by hand"


def test_a_training_inside_another_frameworks_is_left_alone_unless_asked_for(only_run: One) -> None:
    """8.5 #8405: spurious runs from models that other frameworks fit inside of them."""
    outer = base.Session("transformers")
    tracker.autolog("xgboost")
    outer.begin()
    outer.log({"loss": 1.0}, step=7)
    _train(2)
    _train(2, callbacks=[TrackerCallback(prefix="probe")])
    outer.end()

    run = only_run()
    assert _curve(run, "train/auc") == []
    assert len(_curve(run, "probe/train/auc")) == 2


# --- where it fails ----------------------------------------------------------------------------


class _Fail(xgb.callback.TrainingCallback):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if epoch == 1:
            raise self.error
        return False


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_training_that_fails_is_a_run_that_failed(only_run: One, error: BaseException) -> None:
    """8.1 #14: the status is wrong; the rounds before are kept."""
    with pytest.raises(type(error)):
        _train(callbacks=[TrackerCallback(), _Fail(error)])

    run = only_run()
    assert run.state in ("failed", "killed")
    assert (run.state == "failed") == isinstance(error, ValueError)
    kept = len(_curve(run, "train/auc"))
    assert kept == 2 or (kept == 1 and xgb.__version__ < "2.1")  # where callbacks are a set, in any order


KILLED = """
import os, signal, sys
import numpy as np, xgboost
from pathlib import Path

X = np.random.default_rng(0).random((100, 3))
data = xgboost.DMatrix(X, X[:, 0] > 0.5)
models = sorted(Path("models").glob("*"), key=lambda path: path.stat().st_mtime)
Path("models").mkdir(exist_ok=True)


class Kill(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        if "kill" in sys.argv and epoch == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


keep = xgboost.callback.TrainingCheckPoint("models", "model", False, 3)  # its fourth argument has had two names
begin = str(models[-1]) if models else None
done = xgboost.Booster(model_file=begin).num_boosted_rounds() if begin else 0
params = {"objective": "binary:logistic", "nthread": 1}
xgboost.train(params, data, 12 - done, evals=[(data, "train")], xgb_model=begin, callbacks=[keep, Kill()])
print("went on from", done)
"""


@pytest.mark.fault
def test_a_training_that_was_killed_goes_on_in_its_run(only_run: One, script: Script) -> None:
    """8.1 #10: resume starts a new run or loses points. No round before the kill is lost, none is there twice."""
    settings = {"TRACKER_AUTOLOG": "1", "TRACKER_RUN_ID": "killed", "TRACKER_RESUME": "allow"}
    script(KILLED, "kill", code_expected=-9, **settings)
    before = _curve(only_run(), "train/logloss")
    done = script(KILLED, **settings)

    run = only_run()
    count = 8 if xgb.__version__ >= "2.1" else len(before)  # before, callbacks are a set, in any order
    assert [step for step, _ in before] == list(range(count))
    assert count in (7, 8)
    assert int(done.stdout.split()[-1]) in (4, 7)
    curve = _curve(run, "train/logloss")
    assert [step for step, _ in curve] == list(range(12))
    assert [value for _, value in curve[:count]] == pytest.approx([value for _, value in before])
    assert run.state == "finished"
    assert run.summary["rounds"] == 12


def test_a_run_of_the_users_outlives_a_training_that_fails(only_run: One) -> None:
    with tracker.init() as mine:
        with pytest.raises(ValueError, match="no"):
            _train(callbacks=[TrackerCallback(), _Fail(ValueError("no"))])
        mine.log({"after": 1})
        _train(2, callbacks=[TrackerCallback()])

    run = only_run()
    assert run.state == "finished"
    assert run.summary["after"] == 1
    assert len(_curve(run, "fit2/train/auc")) == 2


def test_faults_of_ours_do_not_reach_the_training(monkeypatch: pytest.MonkeyPatch, only_run: One) -> None:
    """8.1 #7: training crashes because tracking failed."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(base.Session, "checkpoint", broken)
    monkeypatch.setattr(base, "sample_rows", broken)
    booster = _train(callbacks=[TrackerCallback()])
    monkeypatch.setattr(tracker.Run, "log", broken)
    _train(callbacks=[TrackerCallback()])
    tracker.finish()

    assert booster.num_boosted_rounds() == 5


def test_an_argument_that_makes_no_sense_is_said_at_once() -> None:
    with pytest.raises(tracker.UsageError, match="importance_type is 'size'"):
        TrackerCallback(importance_type="size")
    with pytest.raises(tracker.UsageError, match="model_format is 'pkl'"):
        TrackerCallback(model_format="pkl")


@pytest.mark.slow
@pytest.mark.parametrize("has_run", [False, True], ids=["none-open", "one-open"])
def test_workers_of_dask_have_one_run(models: Models, read: Read, script: Script, has_run: bool) -> None:
    """8.5 #4696 #5817, 8.1 #9 #28: N runs on N workers; several processes cannot log to one run."""
    pytest.importorskip("distributed")
    script(
        f"""
        def main():
            import dask.array as da, tracker
            from distributed import Client, LocalCluster
            from xgboost import dask as dxgb
            from tracker.integrations.xgboost import TrackerCallback

            with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
                with Client(cluster) as client:
                    x = da.random.random((200, 3), chunks=(50, 3))
                    data = dxgb.DaskDMatrix(client, x, x[:, 0] > 0.5)
                    run = tracker.init() if {has_run} else None
                    params = {{"objective": "binary:logistic", "nthread": 1}}
                    dxgb.train(client, params, data, 4, evals=[(data, "train")], callbacks=[TrackerCallback()])
                    if run:
                        run.log({{"after": 1}})
                        run.finish()

        if __name__ == "__main__":
            main()
        """,
        TRACKER_AUTOLOG="xgboost",
    )

    (run,) = read()
    assert run.state == "finished"
    assert [step for step, _ in _curve(run, "train/logloss")] == [0, 1, 2, 3]
    assert len(models(run)) == 1
    assert ("after" in run.summary) == has_run
