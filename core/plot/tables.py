"""Charts of tables that the user brings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..tables import Table
from ..values import Unstorable
from . import specs
from .chart import Chart, Drawing, column_kind


def line(table: Table, x: Any, y: Any, stroke: Any = None, title: str = "", split_table: bool = False) -> Chart:
    """Answer a line through the rows of a table.

    Args:
        table: The data.
        x: The column along x.
        y: The column along y.
        stroke: A column that tells several lines apart.
        title: Above it.
        split_table: Accepted as in W&B; `Api.run(...).table(key)` answers the data of any chart.

    Example:
        run.log({"curve": tracker.plot.line(table, "epoch", "loss")})
    """

    def draw() -> Drawing:
        axes = _field(table, x), _field(table, y)
        series = None if stroke is None else specs.field(stroke) if column_kind(table, stroke) else None
        fields = {"x": x, "y": y} | ({} if stroke is None else {"stroke": stroke})
        return Drawing("line", table, specs.line(title, *axes, series), title, fields)

    return Chart(draw)


def scatter(table: Table, x: Any, y: Any, title: str = "", split_table: bool = False) -> Chart:
    """Answer a point for each row of a table; the arguments are those of `line`."""

    def draw() -> Drawing:
        spec = specs.scatter(title, _field(table, x), _field(table, y))
        return Drawing("scatter", table, spec, title, {"x": x, "y": y})

    return Chart(draw)


def bar(table: Table, label: Any, value: Any, title: str = "", split_table: bool = False) -> Chart:
    """Answer a bar for each row of a table.

    Args:
        table: The data.
        label: The column with the bars' names.
        value: The column with their heights.
        title: Above it.
        split_table: Accepted as in W&B.

    Example:
        run.log({"recall": tracker.plot.bar(table, "class", "recall")})
    """

    def draw() -> Drawing:
        column_kind(table, label)
        spec = specs.bar(title, specs.field(label), _field(table, value))
        return Drawing("bar", table, spec, title, {"label": label, "value": value})

    return Chart(draw)


def histogram(table: Table, value: Any, title: str = "", split_table: bool = False) -> Chart:
    """Answer the spread of a column's values.

    Args:
        table: The data.
        value: The column.
        title: Above it.
        split_table: Accepted as in W&B.

    Example:
        run.log({"scores": tracker.plot.histogram(table, "score")})
    """

    def draw() -> Drawing:
        spec = specs.histogram(title, _field(table, value))
        return Drawing("histogram", table, spec, title, {"value": value})

    return Chart(draw)


def line_series(
    xs: Iterable[Any],
    ys: Iterable[Iterable[Any]],
    keys: Iterable[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> Chart:
    """Answer several lines.

    Args:
        xs: The places along x: one list for all lines, or one for each.
        ys: The values, a list for each line.
        keys: The lines' names; "key_0", "key_1", ... without them.
        title: Above them.
        xname: What x is.
        split_table: Accepted as in W&B.

    Example:
        run.log({"both": tracker.plot.line_series([0, 1, 2], [[3, 2, 1], [5, 4, 4]], keys=["train", "val"])})
    """

    def draw() -> Drawing:
        lines = [_values(y) for y in ys]
        places = _values(xs)
        each = [_values(x) for x in places] if places and _is_list(places[0]) else [places] * len(lines)
        names = [f"key_{number}" for number in range(len(lines))] if keys is None else [str(key) for key in keys]
        if len(each) != len(lines) or len(names) != len(lines):
            raise Unstorable(f"has {len(lines)} lines, {len(each)} lists for x and {len(names)} keys")
        table = Table(columns=["step", "lineKey", "lineVal"])
        for name, x, y in zip(names, each, lines, strict=True):
            if len(x) != len(y):
                raise Unstorable(f"has a line {name!r} of {len(y)} values at {len(x)} places")
            for at, value in zip(x, y, strict=True):
                table.add_data(at, name, value)
        kind = column_kind(table, "step")
        x_axis = {**specs.field("step", kind), "title": xname}
        y_axis = {**specs.field("lineVal", "float"), "title": None}
        spec = specs.line(title, x_axis, y_axis, {**specs.field("lineKey"), "title": None})
        fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
        return Drawing("line_series", table, spec, title, fields)

    return Chart(draw)


def plot_table(
    vega_spec_name: Any,
    data_table: Table,
    fields: Mapping[str, Any],
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> Chart:
    """Answer a chart of a table by a specification of your own.

    Args:
        vega_spec_name: A Vega-Lite specification, as a dict or JSON text, or the name of one of W&B's presets. In it
            `${field:x}` stands for the column that `fields` names, `${string:title}` for a text of `string_fields`.
            Data is named "table"; its rows have a field `run`.
        data_table: The data.
        fields: Columns, by the name that the specification has for them.
        string_fields: Texts, likewise.
        split_table: Accepted as in W&B.

    Example:
        run.log({"x": tracker.plot.plot_table("wandb/bar/v0", table, {"label": "class", "value": "recall"})})
    """
    texts = dict(string_fields or {})
    title = str(texts.get("title") or "")
    known = _PRESETS.get(re.sub(r"/v\d+$", "", vega_spec_name)) if isinstance(vega_spec_name, str) else None
    if known is not None:
        try:
            return known(data_table, dict(fields), title)
        except KeyError as error:
            missing = str(error)
            return Chart(lambda: _refuse(f"has no {missing} among its fields, which {vega_spec_name} needs"))

    def draw() -> Drawing:
        for name in fields.values():
            column_kind(data_table, name)
        spec = _filled(vega_spec_name, fields, texts)
        return Drawing("custom", data_table, spec, title, {**fields, "preset": None if spec else str(vega_spec_name)})

    return Chart(draw)


_PRESETS: dict[str, Callable[[Table, dict[str, Any], str], Chart]] = {
    "wandb/line": lambda table, fields, title: line(table, fields["x"], fields["y"], fields.get("stroke"), title),
    "wandb/scatter": lambda table, fields, title: scatter(table, fields["x"], fields["y"], title),
    "wandb/bar": lambda table, fields, title: bar(table, fields["label"], fields["value"], title),
    "wandb/histogram": lambda table, fields, title: histogram(table, fields["value"], title),
    "wandb/lineseries": lambda table, fields, title: line(
        table, fields["step"], fields["lineVal"], fields["lineKey"], title
    ),
}


def _refuse(why: str) -> Drawing:
    raise Unstorable(why)


def _filled(spec: Any, fields: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Answer a specification with its places filled; None for the name of one that is not known here."""
    if isinstance(spec, str):
        if not spec.lstrip().startswith("{"):
            return None
        try:
            spec = json.loads(spec)
        except ValueError as error:
            raise Unstorable(f"has a specification that is no JSON ({error})") from None
    if not isinstance(spec, Mapping):
        raise Unstorable(f"has a specification that is a {type(spec).__name__}; give a dict, or JSON")

    def filled(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): filled(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [filled(item) for item in value]
        return _PLACE.sub(put, value) if isinstance(value, str) else value

    def put(match: re.Match[str]) -> str:
        values: Mapping[str, Any] = fields if match[1] == "field" else texts
        if match[2] not in values:
            return match[0]
        return specs.escaped(values[match[2]]) if match[1] == "field" else str(values[match[2]])

    return {**specs.base(""), **filled(spec)}


_PLACE = re.compile(r"\$\{(field|string):([^}:]*)(?::[^}]*)?\}")


def _field(table: Any, name: Any) -> dict[str, Any]:
    return specs.field(name, column_kind(table, name))


def _values(values: Any) -> list[Any]:
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    return found if isinstance(found, list) else [found]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0
