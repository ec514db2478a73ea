"""`TrackerCallback`, in scikit-learn's own idiom; from 1.9 on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.callback")  # of an older version

from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.sklearn import TrackerCallback

from .conftest import Data

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


def values(run: ReadRun, key: str) -> list[Any]:
    """Read a metric back, in order."""
    return [row[key] for row in run.scan_history(keys=[key])]


def test_a_fit_is_logged_as_by_itself(data: Data, only_run: OnlyRun, tmp_path: Path) -> None:
    x, y = data
    model = LogisticRegression(C=0.3).set_callbacks(TrackerCallback(project="mine", training_score=True))
    model.fit(x, y)
    tracker.finish()
    run = only_run()

    assert (run.project, run.state) == ("mine", "finished")
    assert run.config["params"]["C"] == 0.3
    assert run.config["data"]["samples"] == 80
    assert run.summary["train/score"] == model.score(x, y)
    (artifact,) = run.logged_artifacts()
    assert artifact.metadata["class"] == "sklearn.linear_model.LogisticRegression"
    (file,) = Path(artifact.download(tmp_path)).iterdir()
    loaded = pytest.importorskip("skops.io").load(file)
    assert np.array_equal(loaded.coef_, model.coef_)
    assert not hasattr(loaded, "_skl_callbacks")  # who loads it need not have tracker


def test_a_score_at_each_iteration(data: Data, only_run: OnlyRun) -> None:
    model = LogisticRegression().set_callbacks(TrackerCallback(scoring="neg_log_loss", log_model=False))
    model.fit(*data)
    run = only_run()
    losses = values(run, "train/neg_log_loss")

    assert len(losses) >= model.n_iter_[0]
    assert values(run, "iteration") == list(range(len(losses)))
    assert losses[-1] > losses[0]


def test_it_goes_with_autologging(data: Data, only_run: OnlyRun) -> None:
    """Both are asked for: one run, and nothing twice."""
    tracker.autolog("sklearn", log_models=False)
    model = LogisticRegression().set_callbacks(TrackerCallback(project="mine"))
    model.fit(*data)
    model.score(*data)
    tracker.finish()
    run = only_run()

    assert run.project == "mine"
    assert len(values(run, "fit_seconds")) == 1
    assert values(run, "train/score") == [model.score(*data)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_on_a_search(n_jobs: int, data: Data, read: Read) -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2, n_jobs=n_jobs)
    search.set_callbacks(TrackerCallback(child_runs=2, log_model=False))
    search.fit(*data)
    (parent,) = [run for run in read() if run.job_type == "search"]

    assert len(parent.table("cv_results")) == 3
    assert len(read()) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_below_a_search_nothing_is_logged(n_jobs: int, data: Data, read: Read) -> None:
    """4382: not a run for each candidate and split."""
    model = LogisticRegression().set_callbacks(TrackerCallback())
    GridSearchCV(model, {"C": [0.1, 1.0]}, cv=2, n_jobs=n_jobs).fit(*data)
    cross_val_score(model, *data, cv=2, n_jobs=n_jobs)

    assert read() == []


def test_in_a_pipeline_its_estimator_is_logged(data: Data, only_run: OnlyRun) -> None:
    model = LogisticRegression().set_callbacks(TrackerCallback(log_model=False))
    make_pipeline(StandardScaler(), model).fit(*data)

    assert only_run().config["model"]["class"] == "sklearn.linear_model.LogisticRegression"


def test_the_users_run_is_left_open(data: Data, only_run: OnlyRun) -> None:
    with tracker.init() as own:
        callback = TrackerCallback(own, log_model=False)
        for strength in (0.1, 1.0):
            LogisticRegression(C=strength).set_callbacks(callback).fit(*data)
            assert own.state == "running"

    assert len(values(only_run(), "fit_seconds")) == 2


def test_a_fit_that_fails_is_a_failed_run(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    with pytest.raises(ValueError, match="NaN"):
        make_pipeline(StandardScaler(), SVC()).set_callbacks(TrackerCallback()).fit(np.full_like(x, np.nan), y)
    run = only_run()

    assert run.state == "failed"
    assert "NaN" in run.details["exit"]["reason"]


def test_a_fit_within_the_handling_of_an_error_is_a_good_one(data: Data, only_run: OnlyRun) -> None:
    try:
        raise KeyError("of the user's own")
    except KeyError:
        LogisticRegression().set_callbacks(TrackerCallback(log_model=False)).fit(*data)
    tracker.finish()

    assert only_run().state == "finished"


def test_copies_and_pickles(data: Data, read: Read) -> None:
    callback = TrackerCallback(scoring="accuracy", log_model=False)
    model = LogisticRegression().set_callbacks(callback)
    copies = [clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for one in copies:
        one.fit(*data)

    assert [len(values(run, "train/accuracy")) > 1 for run in read()] == [True] * 3


def test_estimators_without_callbacks_say_so_themselves() -> None:
    assert not hasattr(SVC(), "set_callbacks")
