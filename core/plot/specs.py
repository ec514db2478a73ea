"""Specifications in Vega-Lite (https://vega.github.io/vega-lite/docs/spec.html), as plain data."""

from __future__ import annotations

import re
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
RUN = "run"  # the viewer adds it to each row: the name of the run that it comes from
Spec = dict[str, Any]
_TYPES = {"int": "quantitative", "float": "quantitative", "datetime": "temporal"}


def base(title: str) -> Spec:
    """Answer what all have in common."""
    spec: Spec = {"$schema": SCHEMA, "data": {"name": "table"}}
    return {**spec, "title": title} if title else spec


def field(name: Any, kind: str | None = None, **more: Any) -> Spec:
    """Answer an encoding by a column; dots and brackets in its name are part of the name.

    Args:
        name: The column.
        kind: What it holds; without it, names.
        more: Of the encoding.
    """
    return {"field": escaped(name), "type": _TYPES.get(kind or "", "nominal"), "title": str(name), **more}


def escaped(name: Any) -> str:
    """Answer a column's name as Vega-Lite wants it."""
    return re.sub(r"([.\[\]\\'\"])", r"\\\1", str(name))


def of_run() -> Spec:
    """Answer the encoding by run."""
    return {"field": RUN, "type": "nominal", "title": "run"}


def line(title: str, x: Spec, y: Spec, series: Spec | None) -> Spec:
    """Answer lines: a colour for each series and a dash for each run, or a colour for each run."""
    encoding: Spec = {"x": x, "y": y, "color": series or of_run()}
    if series is not None:
        encoding["strokeDash"] = of_run()
    return {**base(title), "mark": {"type": "line", "tooltip": True}, "encoding": encoding}


def curve(title: str, x: Spec, y: Spec, series: Spec, diagonal: bool) -> Spec:
    """Answer lines between 0 and 1, with the diagonal of chance where it means something."""
    scaled = {"scale": {"domain": [0, 1]}}
    encoding = {"x": {**x, **scaled}, "y": {**y, **scaled}, "color": series, "strokeDash": of_run()}
    # The points come in the order of the curve: several may have the same x.
    lines: Spec = {"mark": {"type": "line", "tooltip": True}, "encoding": {**encoding, "order": _order()}}
    layers = [lines]
    if diagonal:
        ends = [{"x": 0, "y": 0}, {"x": 1, "y": 1}]
        axes = {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
        mark = {"type": "line", "color": "gray", "strokeDash": [4, 4]}
        layers.append({"data": {"values": ends}, "mark": mark, "encoding": axes})
    return {**base(title), "layer": layers}


def _order() -> Spec:
    return {"field": "point", "type": "quantitative"}


def scatter(title: str, x: Spec, y: Spec) -> Spec:
    """Answer points."""
    mark = {"type": "point", "filled": True, "opacity": 0.7, "tooltip": True}
    return {**base(title), "mark": mark, "encoding": {"x": x, "y": y, "color": of_run()}}


def bar(title: str, label: Spec, value: Spec) -> Spec:
    """Answer bars, those of several runs beside each other."""
    encoding = {"x": {**label, "sort": None}, "y": value, "xOffset": of_run(), "color": of_run()}
    return {**base(title), "mark": {"type": "bar", "tooltip": True}, "encoding": encoding}


def histogram(title: str, value: Spec) -> Spec:
    """Answer the spread of a column, several runs one before the other."""
    count = {"aggregate": "count", "type": "quantitative", "title": "count", "stack": None}
    encoding = {"x": {**value, "bin": {"maxbins": 30}}, "y": count, "color": of_run()}
    return {**base(title), "mark": {"type": "bar", "opacity": 0.6, "tooltip": True}, "encoding": encoding}


def confusion(title: str, actual: Spec, predicted: Spec, count: Spec) -> Spec:
    """Answer a matrix of counts, one for each run."""
    axes = {"x": {**predicted, "sort": None}, "y": {**actual, "sort": None}}
    cells = {"mark": {"type": "rect", "tooltip": True}, "encoding": {"color": count}}
    numbers = {"mark": {"type": "text", "color": "gray"}, "encoding": {"text": count}}
    return {
        **base(title),
        "facet": {"column": of_run()},
        "spec": {"encoding": axes, "layer": [cells, numbers]},
    }
