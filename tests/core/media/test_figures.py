"""Figures of matplotlib and plotly: logged as they are, and drawn at the moment of logging."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.core.values import Unstorable

from .conftest import Logged

Pillow = pytest.importorskip("PIL.Image")
Log = Callable[..., Logged]


@pytest.fixture
def plt() -> Iterator[Any]:
    """pyplot, without windows, and without figures afterwards."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def drawn(logged: Logged, key: str) -> Any:
    """Answer the pixels of an image."""
    with Pillow.open(io.BytesIO(logged.bytes_of(logged.value(key)))) as image:
        return np.asarray(image.convert("RGB"))


def test_matplotlib_in_all_its_forms(log: Log, plt: Any) -> None:
    """The module, a figure, axes and an artist are the same picture: what matplotlib itself would save."""
    figure, axes = plt.subplots(figsize=(3, 2))
    (line,) = axes.plot([1, 3, 2], color="red")
    logged = log(
        {"module": plt, "figure": figure, "axes": axes, "image": tracker.Image(line, caption="c"), "list": [figure]}
    )

    saved = io.BytesIO()
    figure.savefig(saved, format="png", dpi=figure.dpi)
    with Pillow.open(saved) as image:
        expected = np.asarray(image.convert("RGB"))
    for key in ("module", "figure", "axes", "image"):
        assert np.array_equal(drawn(logged, key), expected), key
    assert logged.value("list")[0]["digest"] == logged.value("figure")["digest"]
    assert logged.value("image")["caption"] == "c"


def test_a_figure_may_be_closed_and_drawn_over_right_after(log: Log, plt: Any) -> None:
    """What was in it when it was logged is what is kept; its own canvas is left as it was."""
    plt.plot([1, 2, 3])
    canvas = plt.gcf().canvas
    image = tracker.Image(plt)
    assert plt.gcf().canvas is canvas
    before = drawn(log({"image": image}), "image")
    plt.clf()
    plt.bar([1, 2], [3, 4])
    after = tracker.Image(plt).image
    plt.close()

    assert before.shape == np.asarray(after.convert("RGB")).shape
    assert not np.array_equal(before, np.asarray(after.convert("RGB")))


def test_an_empty_figure_is_told(log: Log, plt: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody wants a white picture: it was closed before, as a rule."""
    logged = log({"none": plt, "loss": 1.0})

    assert "'none' is pyplot, and there is no open figure" in caplog.text
    with pytest.raises(Unstorable, match="is a figure with nothing in it"):
        tracker.Image(plt.figure()).snapshot()
    assert logged.rows == [{"_step": 0, "loss": 1.0}]


def test_figures_of_plotly(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """Kept as the JSON that the browser draws; what is none is told."""
    go = pytest.importorskip("plotly.graph_objects")
    figure = go.Figure(go.Scatter(y=[1, 3, 2]), layout={"title": {"text": "a"}})
    logged = log(
        {
            "raw": figure,
            "wrapped": tracker.Plotly(figure),
            "dict": tracker.Plotly({"data": [{"y": np.arange(3)}], "layout": {}}),
            "bad": tracker.Plotly([1, 2]),
            "worse": tracker.Plotly({"data": [object()]}),
        }
    )

    for key in ("raw", "wrapped"):
        found = json.loads(logged.bytes_of(logged.value(key)))
        assert found["layout"]["title"]["text"] == "a"
        assert found == json.loads(figure.to_json())
    assert json.loads(logged.bytes_of(logged.value("dict"))) == {"data": [{"y": [0, 1, 2]}], "layout": {}}
    assert logged.value("raw")["_type"] == "plotly-file"
    assert "'bad' is a list, which is no plotly figure" in caplog.text
    assert "'worse' is a figure with a object in it" in caplog.text
