"""CatBoost's trainings, read back: by callback, by autologging, one by one and in loops, and where they fail."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, CatBoostRanker, CatBoostRegressor, Pool

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import base
from tracker.integrations.catboost import TrackerCallback, _Training

Read = Callable[[], list[ReadRun]]
One = Callable[[], ReadRun]
Script = Callable[..., Any]
Models = Callable[[ReadRun], list[Any]]

QUIET = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
PARAMS = {"depth": 2, "custom_metric": ["AUC"], **QUIET}
_RANDOM = np.random.default_rng(0)
X = _RANDOM.random((300, 4))
Y = (X[:, 0] + 0.2 * _RANDOM.random(300) > 0.6).astype(int)
NAMES = np.array(["no", "yes"])[Y]


def _train(iterations: int = 5, params: dict[str, Any] | None = None, **kwargs: Any) -> CatBoostClassifier:
    model = CatBoostClassifier(iterations=iterations, **{**PARAMS, **(params or {})})
    return model.fit(X[:200], NAMES[:200], eval_set=(X[200:], NAMES[200:]), **kwargs)


def _curve(run: ReadRun, name: str) -> list[tuple[float, float]]:
    return [(row["_step"], row[name]) for row in run.scan_history() if row.get(name) is not None]


def test_each_round_is_logged_under_the_name_of_its_data(only_run: One) -> None:
    model = _train(callbacks=[TrackerCallback()])
    tracker.finish()

    run = only_run()
    expected = model.get_evals_result()
    for data, metrics in expected.items():
        for metric, values in metrics.items():
            assert _curve(run, f"{data}/{metric}") == list(enumerate(values))
    assert set(expected["validation"]) == {"Logloss", "AUC"}
    assert run.state == "finished"


def test_metrics_of_some_rounds_are_not_repeated_in_the_others(only_run: One) -> None:
    model = _train(6, {"metric_period": 4}, callbacks=[TrackerCallback()])
    tracker.finish()

    values = model.get_evals_result()["validation"]["Logloss"]
    assert _curve(only_run(), "validation/Logloss") == list(zip([0, 4, 5], values, strict=True))


def test_what_was_said_is_in_the_config(only_run: One) -> None:
    _train(callbacks=[TrackerCallback()], early_stopping_rounds=3)
    tracker.finish()

    config = only_run().config
    assert {key: config["params"][key] for key in ("iterations", "depth", "od_wait", "loss_function")} == {
        "iterations": 5, "depth": 2, "od_wait": 3, "loss_function": "Logloss",
    }  # fmt: skip
    assert "callbacks" not in config["params"]
    assert config["args"] == {"function": "fit", "estimator": "CatBoostClassifier"}
    assert config["data"]["learn"] == {"rows": 200, "columns": 4}
    assert config["data"]["validation"] == {"rows": 100, "columns": 4}
    assert config["effective"]["bootstrap_type"] == "MVS"


def test_the_best_round_and_the_model_are_kept(tmp_path: Path, models: Models, only_run: One) -> None:
    model = _train(80, {"learning_rate": 0.9}, callbacks=[TrackerCallback()], early_stopping_rounds=3)
    tracker.finish()

    run = only_run()
    assert model.get_best_iteration() < 79
    assert run.summary["best_iteration"] == model.get_best_iteration()
    assert run.summary["best_score/validation/AUC"] == model.get_best_score()["validation"]["AUC"]
    assert run.summary["rounds"] == len(_curve(run, "validation/Logloss"))
    (artifact,) = models(run)
    again = CatBoostClassifier().load_model(Path(artifact.download(tmp_path)) / "model.cbm")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_importances_and_predictions_are_tables(only_run: One) -> None:
    model = _train(callbacks=[TrackerCallback()])
    tracker.finish()

    run = only_run()
    rows = run.table("importance/features").rows()
    expected = dict(zip("0123", model.feature_importances_, strict=True))
    assert {row["feature"]: row["PredictionValuesChange"] for row in rows} == pytest.approx(expected)
    rows = run.table("validation/predictions").rows()
    assert len(rows) == base.EVAL_ROWS
    assert [row["label"] for row in rows] == NAMES[200:].tolist()
    assert [row["prediction"] for row in rows] == model.predict(X[200:]).tolist()
    assert rows[0]["3"] == pytest.approx(X[200, 3])
    wrong = [row["loss"] for row in rows if row["label"] != row["prediction"]]
    assert wrong
    assert min(wrong) > np.log(2)


def test_several_evaluation_sets_are_told_apart(only_run: One) -> None:
    sets = [(X[:50], X[:50, 0]), (X[50:90], X[50:90, 0])]
    CatBoostRegressor(iterations=3, **QUIET).fit(X, X[:, 0], eval_set=sets, callbacks=[TrackerCallback()])
    tracker.finish()

    run = only_run()
    assert len(_curve(run, "validation_0/RMSE")) == len(_curve(run, "validation_1/RMSE")) == 3
    rows = run.table("validation_1/predictions").rows()
    assert len(rows) == 40
    assert rows[0]["error"] == pytest.approx(rows[0]["prediction"] - rows[0]["label"])


@pytest.mark.parametrize("kind", ["classes", "categories", "ranking"])
def test_trainings_of_every_kind(only_run: One, kind: str) -> None:
    callbacks = [TrackerCallback()]
    if kind == "classes":
        labels = Y + (X[:, 1] > 0.5)
        CatBoostClassifier(iterations=2, **QUIET).fit(X, labels, eval_set=(X, labels), callbacks=callbacks)
        expected = {"label", "prediction", "probability", "loss", *"0123"}
    elif kind == "categories":
        frame = pd.DataFrame({"colour": np.where(X[:, 1] > 0.5, "red", "blue"), "size": X[:, 0]})
        pool = Pool(frame, Y, cat_features=["colour"])
        CatBoostClassifier(iterations=2, **QUIET).fit(pool, eval_set=pool, callbacks=callbacks)
        expected = {"label", "prediction", "probability", "loss"}
    else:
        pool = Pool(X, Y, group_id=np.arange(300) // 50)
        CatBoostRanker(iterations=2, **QUIET).fit(pool, eval_set=pool, callbacks=callbacks)
        expected = {"label", "score"}
    tracker.finish()

    table = only_run().table("validation/predictions")
    assert set(table.columns) == {"step", "row"} | expected
    assert len(table) == 100


class _Stop:
    def after_iteration(self, info: Any) -> bool:
        return bool(info.iteration < 3)


def test_the_training_goes_on_until_somebody_else_stops_it(only_run: One) -> None:
    """True means "go on" to CatBoost: the opposite of XGBoost's."""
    callbacks = [_Stop(), TrackerCallback()]
    _train(10, callbacks=callbacks)
    tracker.finish()

    assert [step for step, _ in _curve(only_run(), "validation/AUC")] == [0, 1, 2]
    assert len(callbacks) == 2  # the user's list is as it was


def test_scores_after_fit_go_into_the_same_run(only_run: One) -> None:
    model = CatBoostClassifier(iterations=3, **QUIET)
    model.fit(X, NAMES, eval_set=(X[:50], NAMES[:50]), callbacks=[TrackerCallback()])
    on_train, on_other = model.score(X, NAMES), model.score(X[100:], NAMES[100:])
    tracker.finish()

    assert only_run().summary["learn/score"] == on_train
    assert only_run().summary["eval/score"] == on_other


def test_a_gpu_that_takes_no_callbacks_takes_the_training(only_run: One) -> None:
    """On a GPU, CatBoost refuses every training with a callback; without one only the missing GPU stops it here."""
    with pytest.raises(catboost.CatBoostError) as raised:
        _train(params={"task_type": "GPU", "custom_metric": None}, callbacks=[TrackerCallback()])

    assert "User defined callbacks" not in str(raised.value)
    assert only_run().state == "failed"
    assert only_run().config["params"]["task_type"] == "GPU"


def test_what_could_not_be_followed_is_logged_at_the_end(only_run: One) -> None:
    """That is the way of a training on a GPU; here with the history of one that has none."""
    model = _train(6, {"metric_period": 4})
    training = _Training(TrackerCallback())
    training.begin({}, {}, 0)
    training.log_all(model.get_evals_result(), 4, 6)
    training.finish(model, [Pool(X[200:], NAMES[200:])])
    tracker.finish()

    run = only_run()
    values = model.get_evals_result()["validation"]["Logloss"]
    assert _curve(run, "validation/Logloss") == list(zip([0, 4, 5], values, strict=True))
    assert run.summary["best_iteration"] == model.get_best_iteration()


def test_each_training_of_a_loop_has_a_run_of_its_own(read: Read) -> None:
    """8.1 #20 #27: trials pile up in one run."""
    callback = TrackerCallback(project="search")
    for depth in (1, 2):
        _train(2, {"depth": depth}, callbacks=[callback])
    tracker.finish()

    assert [run.config["params"]["depth"] for run in read()] == [1, 2]
    assert [len(_curve(run, "learn/Logloss")) for run in read()] == [2, 2]


def test_trainings_in_a_run_of_the_users_are_told_apart(only_run: One) -> None:
    """8.1 #27, 8.5 #7947: values of several trainings pile up; one that goes on goes on with its curve."""
    with tracker.init():
        first = _train(2, {"use_best_model": False}, callbacks=[TrackerCallback()])
        _train(3, callbacks=[TrackerCallback()], init_model=first)
        _train(4, {"depth": 1}, callbacks=[TrackerCallback()])

    run = only_run()
    assert [step for step, _ in _curve(run, "learn/Logloss")] == [0, 1, 2, 3, 4]
    assert run.config["fit3"]["params"]["depth"] == 1
    assert len(_curve(run, "fit3/learn/Logloss")) == 4


def test_a_callback_can_be_copied_and_pickled(read: Read) -> None:
    callback = TrackerCallback(project="copies", log_model=False)
    for one in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        _train(2, callbacks=[one])
    tracker.finish()

    assert {run.project for run in read()} == {"copies"}
    assert len(read()) == 2


PLAIN = """
import numpy as np
from catboost import CatBoostClassifier, Pool, cv

X = np.random.default_rng(0).random((100, 3)); y = (X[:, 0] > 0.5).astype(int)
quiet = {"allow_writing_files": False, "thread_count": 1, "logging_level": "Silent"}
model = CatBoostClassifier(iterations=3, **quiet)
model.fit(X, y, eval_set=(X[:50], y[:50]))
model.score(X, y)
cv(Pool(X, y), {"iterations": 3, "loss_function": "Logloss", **quiet}, fold_count=2)
"""


def test_a_script_that_does_not_know_us_is_logged_whole(read: Read, script: Script) -> None:
    """8.5 #4296 #4473: cv and scores are gaps of autologging."""
    script(PLAIN, TRACKER_AUTOLOG="1")

    fit, cv = read()
    assert {run.state for run in read()} == {"finished"}
    assert len(_curve(fit, "validation/Logloss")) == 3
    assert "learn/score" in fit.summary
    assert [step for step, _ in _curve(cv, "test/Logloss.std")] == [0, 1, 2]
    assert cv.config["args"] == {"fold_count": 2, "function": "cv"}


def test_nobody_is_logged_who_has_not_asked(read: Read, script: Script) -> None:
    """8.1 #22: enabled without being asked."""
    done = script(PLAIN + "import sys; print('tracker' in sys.modules)", TRACKER_AUTOLOG="xgboost")

    assert read() == []
    assert done.stdout == "False\n"


def test_a_training_that_fails_is_a_run_that_failed(only_run: One) -> None:
    class Fail:
        def after_iteration(self, info: Any) -> bool:
            if info.iteration == 2:
                raise ValueError("no")
            return True

    # CatBoost 1.2 has only a SystemError to say.
    with pytest.raises(Exception, match=r"(?m)^(ValueError: )?no$|with an exception set"):
        _train(callbacks=[Fail(), TrackerCallback()])

    assert only_run().state == "failed"
    assert len(_curve(only_run(), "learn/Logloss")) == 2


def test_faults_of_ours_do_not_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #7: training crashes because tracking failed."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(tracker.Run, "log", broken)
    monkeypatch.setattr(base.Session, "checkpoint", broken)
    model = _train(callbacks=[TrackerCallback()])

    assert model.is_fitted()
