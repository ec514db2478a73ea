"""The functions with W&B's names: what they log, and that a mistake ends no script."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

import tracker as wandb
from tracker.core.query import Run as ReadRun

from .conftest import Data

OnlyRun = Callable[[], ReadRun]


def test_all_of_a_classifier(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    model = LogisticRegression().fit(x[:60], y[:60])
    guesses, chances = model.predict(x[60:]), model.predict_proba(x[60:])
    with wandb.init():
        wandb.sklearn.plot_classifier(
            model,
            x[:60],
            x[60:],
            y[:60],
            y[60:],
            guesses,
            chances,
            ["low", "high"],
            model_name="Line",
            feature_names=list("abcd"),
            log_learning_curve=True,
        )
    run = only_run()
    matrix = {(row["Actual"], row["Predicted"]): row["nPredictions"] for row in run.table("confusion_matrix").rows()}
    summary = {row["metric_name"]: row["metric_value"] for row in run.table("summary_metrics").rows()}

    assert run.config["model_name"] == "Line"
    assert set(run.summary) == {
        "feature_importances", "confusion_matrix", "summary_metrics", "class_proportions", "roc", "precision_recall",
        "calibration_curve", "learning_curve", "summary/accuracy_score", "summary/precision", "summary/recall",
        "summary/f1_score",
    }  # fmt: skip
    expected = metrics.confusion_matrix(y[60:], guesses)
    assert [matrix["low", "low"], matrix["low", "high"], matrix["high", "low"], matrix["high", "high"]] == list(
        expected.ravel()
    )
    assert summary["accuracy_score"] == metrics.accuracy_score(y[60:], guesses)
    assert run.summary["summary/f1_score"] == metrics.f1_score(y[60:], guesses, average="weighted")
    assert {row["feature"] for row in run.table("feature_importances").rows()} == set("abcd")
    counts = {(row["class"], row["set"]): row["count"] for row in run.table("class_proportions").rows()}
    assert counts["low", "train"] == int((y[:60] == 0).sum())
    assert {row["class"] for row in run.table("roc").rows()} == {"low", "high"}
    curve = run.table("learning_curve").rows()
    assert {row["set"] for row in curve} == {"train", "test"}
    assert max(row["samples"] for row in curve) == 48
    calibration = run.table("calibration_curve").rows()
    assert all(0 <= row["fraction_of_positives"] <= 1 for row in calibration)


def test_each_by_itself(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    model = LogisticRegression().fit(x, y)
    names = np.where(y == 1, "yes", "no")
    with wandb.init():
        wandb.sklearn.plot_roc(y, model.predict_proba(x), ["no", "yes"])
        wandb.sklearn.plot_precision_recall(y, model.predict_proba(x))
        wandb.sklearn.plot_confusion_matrix(names, names, ["NO", "YES"])
        wandb.sklearn.plot_feature_importances(model, max_num_features=2)
        wandb.sklearn.plot_calibration_curve(model, x, y)
        wandb.sklearn.plot_class_proportions(y, y)
        wandb.sklearn.plot_summary_metrics(model, x, y)
        wandb.sklearn.plot_learning_curve(model, x, y, cv=2, train_sizes=[0.5, 1.0])
    run = only_run()

    diagonal = {
        row["Actual"]: row["nPredictions"]
        for row in run.table("confusion_matrix").rows()
        if row["Actual"] == row["Predicted"]
    }
    assert diagonal == {"NO": int((y == 0).sum()), "YES": int((y == 1).sum())}
    assert len(run.table("feature_importances")) == 2
    assert len(run.table("learning_curve")) == 4
    assert {"roc", "precision_recall", "calibration_curve", "class_proportions", "summary_metrics"} <= set(run.summary)


def test_all_of_a_regressor(data: Data, only_run: OnlyRun) -> None:
    x, _ = data
    target = x @ np.array([1.0, -2.0, 0.0, 0.5]) + np.random.default_rng(1).normal(scale=0.1, size=80)
    target[5] += 10  # does not belong there
    model = LinearRegression().fit(x[:60], target[:60])
    with wandb.init():
        wandb.sklearn.plot_regressor(model, x[:60], x[60:], target[:60], target[60:], "Plane")
        wandb.sklearn.plot_residuals(model, x, target)
    run = only_run()
    distances = {row["sample"]: row for row in run.table("outlier_candidates").rows()}

    assert run.summary["summary/r2_score"] == pytest.approx(model.score(x[60:], target[60:]))
    assert max(distances, key=lambda sample: distances[sample]["distance"]) == 5
    assert distances[5]["kind"] == "influential"
    wrong = {round(row["residual"], 6) for row in run.table("residuals").rows()}
    assert wrong == {round(value, 6) for value in target - model.predict(x)}


def test_cooks_distance_is_the_textbooks(only_run: OnlyRun) -> None:
    """Computed by leaving each sample out, which is how it is defined."""
    noise = np.random.default_rng(2)
    x, y = noise.normal(size=(12, 2)), noise.normal(size=12)
    model = LinearRegression(fit_intercept=False).fit(x, y)
    with wandb.init():
        wandb.sklearn.plot_outlier_candidates(model, x, y)
    found = [row["distance"] for row in only_run().table("outlier_candidates").rows()]
    residual = y - model.predict(x)
    variance = residual @ residual / (12 - 2)
    expected = []
    for row in range(12):
        rest = np.delete(np.arange(12), row)
        without = LinearRegression(fit_intercept=False).fit(x[rest], y[rest])
        moved = model.predict(x) - without.predict(x)
        expected.append(moved @ moved / (2 * variance))

    assert found == pytest.approx(expected)


def test_all_of_a_clusterer(only_run: OnlyRun) -> None:
    noise = np.random.default_rng(0)
    x = np.concatenate([noise.normal(size=(30, 2)), noise.normal(size=(30, 2)) + 8])
    model = KMeans(2, n_init=1, random_state=0)
    clusters = model.fit_predict(x)
    with wandb.init():
        wandb.sklearn.plot_clusterer(model, x, clusters, ["left", "right"], "K")
        wandb.sklearn.plot_elbow_curve(model, x, cluster_ranges=[1, 2, 3])
    run = only_run()
    elbow = [(row["clusters"], row["error"]) for row in run.table("elbow_curve").rows()]

    assert run.summary["silhouette_score"] == pytest.approx(metrics.silhouette_score(x, clusters))
    assert {row["cluster"] for row in run.table("silhouette_plot").rows()} == {"left", "right"}
    assert [count for count, _ in elbow] == [1, 2, 3]
    assert elbow[0][1] > elbow[1][1] > elbow[2][1]
    assert model.n_clusters == 2


def test_autologging_takes_no_notice_of_them(data: Data, only_run: OnlyRun, autolog: None) -> None:
    x, y = data
    model = LogisticRegression().fit(x, y)
    wandb.sklearn.plot_learning_curve(model, x, y, cv=2, train_sizes=[1.0])
    wandb.sklearn.plot_summary_metrics(model, x, y)
    run = only_run()

    assert "learning_curve" in run.summary
    assert not {"train/score", "test/score", "train/accuracy_score"} & set(run.summary)


def test_a_mistake_is_said_and_ends_no_script(
    data: Data, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACKER_STRICT", "0")
    x, y = data
    with wandb.init():
        wandb.sklearn.plot_summary_metrics(LogisticRegression(), x, y)  # not fitted
        wandb.sklearn.plot_feature_importances(StandardScaler().fit(x))
        wandb.sklearn.plot_roc(y, None)
        wandb.log({"after": 1})

    assert dict(only_run().summary) == {"after": 1}
    assert "NotFittedError" in caplog.text
    assert "neither feature_importances_ nor coef_" in caplog.text


def test_without_a_run_it_says_how_to_get_one(data: Data) -> None:
    with pytest.raises(wandb.UsageError, match="plot_roc needs a run"):
        wandb.sklearn.plot_roc(data[1], data[1])
