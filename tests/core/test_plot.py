"""Charts are tables with a Vega-Lite specification; their numbers are those of scikit-learn."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker import Api, Table, plot
from tracker.core.plot import Chart
from tracker.core.plot.classes import MAX_CURVE_POINTS, pr_points, roc_points

QUIET = {"silent": True}
RANDOM = np.random.default_rng(5)


def rows(chart: Chart) -> list[dict[str, Any]]:
    """Answer the data of a chart."""
    assert chart.table is not None, repr(chart)
    return [dict(zip(chart.table.columns, row, strict=True)) for _, row in chart.table.iterrows()]


def predictions(samples: int, classes: int, seed: int, digits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Answer the truth, and scores that know something of it; few digits make many equal scores."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, samples)
    scores = random.random((samples, classes)) + 0.5 * np.eye(classes)[truth]
    return truth, (scores / scores.sum(axis=1, keepdims=True)).round(digits)


@pytest.mark.parametrize("digits", [1, 2, 8])
@pytest.mark.parametrize("classes", [2, 5])
def test_roc_is_that_of_scikit_learn(classes: int, digits: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, scores = predictions(300, classes, digits, digits)

    found = rows(plot.roc_curve(truth, scores, labels=[f"class {n}" for n in range(classes)]))

    for number in range(classes):
        fpr, tpr, _ = metrics.roc_curve(truth == number, scores[:, number])
        curve = [row for row in found if row["class"] == f"class {number}"]
        assert [row["fpr"] for row in curve] == pytest.approx(fpr.tolist())
        assert [row["tpr"] for row in curve] == pytest.approx(tpr.tolist())
        assert [row["point"] for row in curve] == list(range(len(curve)))


@pytest.mark.parametrize("digits", [1, 2, 8])
def test_precision_and_recall_are_those_of_scikit_learn(digits: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, scores = predictions(300, 3, digits, digits)

    found = rows(plot.pr_curve(truth, scores, interp_size=11))

    for number in range(3):
        precision, recall, _ = metrics.precision_recall_curve(truth == number, scores[:, number])
        ours = pr_points(truth == number, scores[:, number])
        assert ours[0].tolist() == pytest.approx(precision.tolist())
        assert ours[1].tolist() == pytest.approx(recall.tolist())
        curve = [row for row in found if row["class"] == str(number)]
        grid = np.linspace(0, 1, 11)
        assert [row["recall"] for row in curve] == pytest.approx(grid.tolist())
        assert [row["precision"] for row in curve] == pytest.approx(
            np.interp(grid, recall[::-1], precision[::-1]).tolist()
        )


@pytest.mark.parametrize("by", ["preds", "probs", "names"])
def test_confusion_is_that_of_scikit_learn(by: str) -> None:
    """From predictions, from scores, and from names instead of numbers."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, scores = predictions(500, 4, 1)
    guessed = scores.argmax(axis=1)
    names = ["ape", "bee", "cat", "dog"]
    given: dict[str, Any] = {"preds": {"preds": guessed.tolist()}, "probs": {"probs": scores}}.get(by, {})
    if by == "names":
        given = {"preds": [names[n] for n in guessed]}
    y_true = [names[n] for n in truth] if by == "names" else truth

    found = rows(plot.confusion_matrix(y_true=y_true, class_names=names, **given))

    matrix = metrics.confusion_matrix(truth, guessed)
    assert [(row["Actual"], row["Predicted"], row["nPredictions"]) for row in found] == [
        (names[a], names[p], matrix[a, p]) for a in range(4) for p in range(4)
    ]


def test_classes_without_names_are_numbered() -> None:
    """As in W&B, also those that nobody is of."""
    found = rows(plot.confusion_matrix(y_true=[0, 2], preds=[2, 2]))

    assert [row["Actual"] for row in found[::3]] == ["Class_1", "Class_2", "Class_3"]
    assert sum(row["nPredictions"] for row in found) == 2
    assert found[2] == {"Actual": "Class_1", "Predicted": "Class_3", "nPredictions": 1}


def test_many_classes_have_only_the_cells_that_count() -> None:
    truth = list(range(500))

    found = rows(plot.confusion_matrix(y_true=truth, preds=truth[::-1]))

    assert len(found) == 500
    assert {row["nPredictions"] for row in found} == {1}


def test_curves_have_points_for_a_screen() -> None:
    """Of a million samples, the ends among them."""
    truth, scores = predictions(200_000, 2, 3)
    found = rows(plot.roc_curve(truth, scores))

    assert len(found) == 2 * MAX_CURVE_POINTS
    assert (found[0]["fpr"], found[0]["tpr"]) == (0, 0)
    assert (found[MAX_CURVE_POINTS - 1]["fpr"], found[MAX_CURVE_POINTS - 1]["tpr"]) == (1, 1)
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    curve = found[:MAX_CURVE_POINTS]
    exact = area(*reversed(roc_points(truth == 0, scores[:, 0])))
    assert area([r["tpr"] for r in curve], [r["fpr"] for r in curve]) == pytest.approx(exact, abs=1e-4)


def test_curves_of_chosen_of_two_and_of_absent_classes() -> None:
    truth, scores = predictions(100, 3, 4)
    chosen = rows(plot.roc_curve(truth, scores, ["a", "b", "c"], [2]))
    assert {row["class"] for row in chosen} == {"c"}
    binary = rows(plot.roc_curve([0, 1, 1, 0], [0.1, 0.9, 0.4, 0.3]))  # type: ignore[list-item]
    assert {row["class"] for row in binary} == {"1"}
    named = rows(plot.pr_curve(["cat", "dog"] * 5, [[0.6, 0.4]] * 10))
    assert {row["class"] for row in named} == {"cat", "dog"}
    absent = rows(plot.roc_curve([0, 2] * 5, RANDOM.random((10, 3)), ["a", "b", "c"]))
    assert {row["class"] for row in absent} == {"a", "c"}


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    truth, scores = predictions(50, 3, 6)

    ours = plot.roc_curve(torch.tensor(truth), torch.tensor(scores, requires_grad=True))
    assert rows(ours) == rows(plot.roc_curve(truth, scores))


TABLE = Table(columns=["x", "a.b", "name"], data=[[1, 2.5, "u"], [2, 3.5, "v"]])
CHARTS: dict[str, Callable[[], Chart]] = {
    "line": lambda: plot.line(TABLE, "x", "a.b", title="Title"),
    "stroked": lambda: plot.line(TABLE, "x", "a.b", "name"),
    "scatter": lambda: plot.scatter(TABLE, "x", "a.b"),
    "bar": lambda: plot.bar(TABLE, "name", "a.b", title="Bars"),
    "histogram": lambda: plot.histogram(TABLE, "a.b"),
    "series": lambda: plot.line_series([0, 1], [[1, 2], [3.5, 4]], keys=["p", "q"], xname="epoch", title="Both"),
    "confusion": lambda: plot.confusion_matrix(y_true=[0, 1], preds=[0, 0], class_names=["a", "b"]),
    "roc": lambda: plot.roc_curve([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
    "pr": lambda: plot.pr_curve([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
    "preset": lambda: plot.plot_table("wandb/bar/v0", TABLE, {"label": "name", "value": "x"}, {"title": "T"}),
    "custom": lambda: plot.plot_table(
        {"mark": "point", "encoding": {"x": {"field": "${field:x}", "type": "quantitative"}}, "title": "${string:t}"},
        TABLE, {"x": "a.b"}, {"t": "Mine"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARTS)
def test_specifications_are_valid(name: str) -> None:
    """By the schema of Vega-Lite itself."""
    altair = pytest.importorskip("altair")
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(altair.__file__).parent / "vegalite" / "v5" / "schema" / "vega-lite-schema.json"
    if not path.exists():
        (path,) = Path(altair.__file__).parent.glob("vegalite/v*/schema/vega-lite-schema.json")

    spec = json.loads(json.dumps(CHARTS[name]().spec))
    jsonschema.Draft7Validator(json.loads(path.read_text(encoding="utf-8"))).validate(spec)
    assert spec["data"] == {"name": "table"}


def test_charts_are_logged_as_data_and_look(home: Path) -> None:
    """The reference has the specification, and the data is a table to ask."""
    with tracker.init(project="p", id="r", settings=QUIET) as run:
        run.log({name: chart() for name, chart in CHARTS.items()} | {"loss": 1.0})

    with Api(dir=home / "runs") as api:
        found = api.run("r")
        (row,) = found.history(pandas=False)
        for name, make in CHARTS.items():
            chart = make()
            reference = row[name]
            assert (reference["_type"], reference["format"]) == ("plot", "parquet")
            assert reference["spec"] == json.loads(json.dumps(chart.spec))
            assert found.table(name).rows() == rows(chart)
        assert row["line"]["kind"] == "line"
        assert row["line"]["title"] == "Title"
        assert row["line"]["fields"] == {"x": "x", "y": "a.b"}
        assert row["line"]["spec"]["encoding"]["y"]["field"] == "a\\.b"
        assert row["custom"]["spec"]["encoding"]["x"]["field"] == "a\\.b"
        assert row["custom"]["spec"]["title"] == "Mine"
        assert row["preset"]["kind"] == "bar"
        assert row["loss"] == 1.0


BROKEN: dict[str, tuple[Callable[[], Chart], str]] = {
    "no truth": (lambda: plot.confusion_matrix(preds=[1]), "needs y_true"),
    "both": (lambda: plot.confusion_matrix(probs=[[1.0]], y_true=[0], preds=[0]), "one of probs and preds"),
    "lengths": (lambda: plot.confusion_matrix(y_true=[0, 1], preds=[0]), "1 predictions for 2"),
    "negative": (lambda: plot.confusion_matrix(y_true=[-1], preds=[0]), "has a class -1"),
    "names": (lambda: plot.confusion_matrix(y_true=[3], preds=[0], class_names=["a"]), "1 class names"),
    "unknown": (lambda: plot.confusion_matrix(y_true=["x"], preds=["a"], class_names=["a"]), "has a class 'x'"),
    "fraction": (lambda: plot.confusion_matrix(y_true=[0.5], preds=[0]), "no classes: 0.5"),
    "huge": (lambda: plot.confusion_matrix(y_true=[10**9], preds=[0]), "1000000000"),
    "empty": (lambda: plot.roc_curve([], []), "shape"),
    "nan": (lambda: plot.roc_curve([0, 1], [[0.5, float("nan")], [0, 1]]), "NaN"),
    "ragged": (lambda: plot.roc_curve([0, 1], [[0.5, 0.5], [1]]), "different lengths|shape"),
    "one class": (lambda: plot.roc_curve([0, 0], [[1.0], [1.0]]), "no class to plot"),
    "more classes": (lambda: plot.pr_curve(["a", "b"], [[1.0, 2.0, 3.0]] * 2), "scores for 3 classes"),
    "column": (lambda: plot.line(TABLE, "x", "absent"), "column 'absent'"),
    "no table": (lambda: plot.bar([1, 2], "x", "y"), "no tracker.Table"),  # type: ignore[arg-type]
    "series": (lambda: plot.line_series([0, 1], [[1, 2, 3]]), "3 values at 2 places"),
    "keys": (lambda: plot.line_series([0], [[1], [2]], keys=["a"]), "1 keys"),
    "preset": (lambda: plot.plot_table("wandb/line/v0", TABLE, {"x": "x"}), "has no 'y'"),
    "json": (lambda: plot.plot_table("{", TABLE, {}), "no JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input_is_said_when_it_is_logged(home: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """And never raised into training; the rest of the row is kept."""
    make, says = BROKEN[name]
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"chart": make(), "loss": 0.5})

    with Api(dir=home / "runs") as api:
        (row,) = api.run(run.id).history(pandas=False)
    assert "chart" not in row
    assert row["loss"] == 0.5
    said = [record.getMessage() for record in caplog.records]
    assert any("chart" in text and re.search(says, text) for text in said), said


def test_arguments_are_those_of_wandb() -> None:
    """By name and order, so that calls without names work."""
    expected = {
        "confusion_matrix": "probs y_true preds class_names title split_table",
        "roc_curve": "y_true y_probas labels classes_to_plot title split_table",
        "pr_curve": "y_true y_probas labels classes_to_plot interp_size title split_table",
        "line": "table x y stroke title split_table",
        "line_series": "xs ys keys title xname split_table",
        "scatter": "table x y title split_table",
        "bar": "table label value title split_table",
        "histogram": "table value title split_table",
        "plot_table": "vega_spec_name data_table fields string_fields split_table",
    }
    assert {name: " ".join(inspect.signature(getattr(plot, name)).parameters) for name in expected} == expected
    assert tracker.plot_table is plot.plot_table
