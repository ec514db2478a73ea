"""Searches: one table, the best candidates as runs of one group, in whichever process they were fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the class known
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

import tracker
from tracker.core.query import Run as ReadRun

from .conftest import Data

Read = Callable[[], list[ReadRun]]
pytestmark = pytest.mark.usefixtures("autolog")
GRID: dict[str, Any] = {"svc__C": [0.01, 0.1, 1.0, 10.0], "svc__kernel": ["rbf", "linear"]}


def parted(runs: list[ReadRun]) -> tuple[ReadRun, list[ReadRun]]:
    """Tell the search from its candidates."""
    (parent,) = [run for run in runs if run.job_type == "search"]
    return parent, [run for run in runs if run.job_type == "candidate"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_is_one_table_and_a_few_runs(n_jobs: int, data: Data, read: Read) -> None:
    """4382: of many candidates five become runs; 4494 and the like: also when workers fit them."""
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), GRID, cv=3, n_jobs=n_jobs).fit(*data)
    search.score(*data)
    tracker.finish()
    parent, children = parted(read())
    rows = parent.table("cv_results").rows()
    ranks = [int(rank) for rank in search.cv_results_["rank_test_score"]]

    assert [(row["param_svc__C"], row["param_svc__kernel"]) for row in rows] == [
        (one["svc__C"], one["svc__kernel"]) for one in search.cv_results_["params"]
    ]
    assert [row["mean_test_score"] for row in rows] == pytest.approx(search.cv_results_["mean_test_score"])
    assert parent.summary["best_score"] == search.best_score_
    assert parent.summary["best_params/svc__C"] == search.best_params_["svc__C"]
    assert parent.summary["train/score"] == search.score(*data)
    assert len(children) == 5
    assert {run.group for run in [parent, *children]} == {parent.group}
    assert {run.state for run in [parent, *children]} == {"finished"}
    places = sorted((run.config["candidate"]["place"], run.config["candidate"]["number"]) for run in children)
    assert places[0] == (1, search.best_index_)
    assert [ranks[number] for _, number in places] == sorted(ranks)[:5]
    best = next(run for run in children if run.config["candidate"]["place"] == 1)
    assert best.config["params"]["svc__C"] == search.best_params_["svc__C"]
    assert best.summary["mean_test_score"] == search.best_score_
    splits = [row["test/score"] for row in best.scan_history(keys=["test/score"])]
    assert splits == [search.cv_results_[f"split{split}_test_score"][search.best_index_] for split in range(3)]


@pytest.mark.parametrize("count", [0, 2])
def test_how_many_become_runs_can_be_said(count: int, data: Data, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_SKLEARN_CHILD_RUNS", str(count))
    GridSearchCV(SVC(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(*data)
    parent, children = parted(read())

    assert (len(children), len(parent.table("cv_results"))) == (count, 3)


def test_a_search_over_a_model_that_has_a_length(data: Data, read: Read) -> None:
    """A forest has no truth before it is fitted: it is asked for its trees."""
    GridSearchCV(RandomForestClassifier(n_estimators=3), {"max_depth": [2, 3]}, cv=2).fit(*data)
    parent, children = parted(read())

    assert (len(children), len(parent.table("cv_results"))) == (2, 2)


def test_several_scores_and_estimators_as_values(data: Data, read: Read) -> None:
    grid = {"minmaxscaler": [MinMaxScaler(), StandardScaler(), "passthrough"], "svc__C": [1]}
    model = make_pipeline(MinMaxScaler(), SVC())
    search = GridSearchCV(model, grid, cv=2, scoring=["accuracy", "f1"], refit="f1", return_train_score=True)
    search.fit(*data)
    parent, children = parted(read())
    rows = parent.table("cv_results").rows()

    assert [row["param_minmaxscaler"] for row in rows] == [
        "sklearn.preprocessing.MinMaxScaler",
        "sklearn.preprocessing.StandardScaler",
        "passthrough",
    ]
    best = next(run for run in children if run.config["candidate"]["place"] == 1)
    assert best.config["candidate"]["number"] == search.best_index_
    assert best.summary["mean_test_f1"] == search.best_score_
    assert {"test/f1", "test/accuracy", "train/f1", "train/accuracy"} <= set(best.summary)


def test_a_halving_search_tells_its_rounds(data: Data, read: Read) -> None:
    HalvingGridSearchCV(SVC(), {"C": [0.1, 1.0, 10.0, 100.0]}, cv=2, random_state=0).fit(*data)
    parent, _ = parted(read())

    assert {row["iter"] for row in parent.table("cv_results").rows()} >= {0, 1}
    assert parent.config["params"]["factor"] == 3


def test_a_search_without_a_refit_has_no_model(data: Data, read: Read) -> None:
    RandomizedSearchCV(SVC(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, refit=False, random_state=0).fit(*data)
    parent, children = parted(read())

    assert parent.summary["candidates"] == 2
    assert len(children) == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more:UserWarning")
def test_candidates_that_fail_are_in_the_table(data: Data, read: Read) -> None:
    GridSearchCV(SVC(), {"degree": [3, -1]}, cv=2).fit(*data)
    parent, children = parted(read())
    rows = parent.table("cv_results").rows()

    assert [row["mean_test_score"] == row["mean_test_score"] for row in rows] == [True, False]
    assert len(children) == 2


def test_scores_of_our_metrics_go_to_workers(data: Data, read: Read) -> None:
    """A metric that is watched can still be pickled to the workers of a search."""
    from sklearn import metrics

    assert hasattr(metrics.f1_score, "__wrapped__")
    for metric in (metrics.f1_score, f1_score):
        scorer = make_scorer(metric, average="macro")
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, n_jobs=2, scoring=scorer).fit(*data)

    assert len([run for run in read() if run.job_type == "search"]) == 2


def test_a_search_in_the_users_run_groups_its_candidates(data: Data, read: Read) -> None:
    with tracker.init(project="mine") as own:
        GridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=2).fit(*data)
        assert tracker.run is own
    children = [run for run in read() if run.job_type == "candidate"]

    assert [(run.project, run.group) for run in children] == [("mine", own.id)] * 2
