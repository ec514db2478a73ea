"""What is recorded of tensors, without a framework at hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.capture.statistics import Raw, Statistics, histogram, row
from tracker.core.errors import UsageError
from tracker.core.values import Reference, decode, encode


def read(value: Any) -> Any:
    """Answer what a reader gets."""
    return decode(encode(value))


def test_a_histogram_is_one_value_with_its_edges() -> None:
    drawn = histogram([1, 0, 3, 4], -1.0, 3.0, size=100)

    assert drawn == {
        "_type": "histogram", "values": [1, 0, 3, 4], "bins": [-1.0, 0.0, 1.0, 2.0, 3.0], "size": 100, "counted": 8,
    }  # fmt: skip
    assert type(drawn) is Reference


def test_equal_values_have_a_bin_around_them() -> None:
    drawn = histogram([7, 0, 0, 0], 2.0, 2.0, size=7)

    assert drawn is not None
    assert (drawn["values"], drawn["bins"]) == ([0, 0, 7, 0], [1.5, 1.75, 2.0, 2.25, 2.5])


@pytest.mark.parametrize(
    ("counts", "low", "high"), [([], 0, 1), ([0, 0], 0, 1), ([1, 2], math.inf, -math.inf), ([1, 2], math.nan, 1)]
)
def test_without_values_there_is_no_histogram(counts: list[int], low: float, high: float) -> None:
    assert histogram(counts, low, high, size=3) is None


def test_edges_of_the_widest_histogram_are_finite() -> None:
    most = sys.float_info.max
    drawn = histogram([1, 1], -most, most, size=2)

    assert drawn is not None
    assert drawn["bins"] == [-most, 0.0, most]


def test_a_row_has_a_value_for_each_thing_known() -> None:
    """Totals over all tensors; counts of NaN only where there are any; a prefix before every name."""
    raw = Raw(
        {
            "w": Statistics(4, 9.0, nans=2, units=4, alive=3, low=0.0, high=2.0, counts=[2, 2]),
            "b": Statistics(1, 16.0, infs=1),
        },
        {"w": Statistics(4, 4.0)},
        {"w": (4.0, 1.0), "b": (0.0, 1.0)},
    )
    values = row(raw, "graph_1/")

    drawn = read(values.pop("gradients/graph_1/w"))
    assert (type(drawn), drawn["values"]) == (Reference, [2, 2])
    assert values == {
        "grad_norm/graph_1/w": 3.0, "grad_norm/graph_1/b": 4.0, "grad_norm/graph_1/total": 5.0,
        "grad_nan/graph_1/w": 2, "grad_inf/graph_1/b": 1, "grad_nan/graph_1/total": 2, "grad_inf/graph_1/total": 1,
        "dead_units/graph_1/w": 0.25,
        "param_norm/graph_1/w": 2.0, "param_norm/graph_1/total": 2.0,
        "param_nan/graph_1/total": 0, "param_inf/graph_1/total": 0,
        "update_ratio/graph_1/w": 0.5,
    }  # fmt: skip


def test_a_total_is_not_told_where_a_part_is_missing() -> None:
    values = row(Raw({"w": Statistics(4, 9.0), "b": Statistics(1, None)}, {}, {}))

    assert values == {"grad_norm/w": 3.0}


def test_what_is_no_torch_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch was never imported as well, and it is not imported for that."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with tracker.init(dir=tmp_path, settings={"silent": True}) as run:
        with pytest.raises(UsageError, match=r"takes a torch\.nn\.Module.*got a builtins\.dict.*their integration"):
            run.watch({})
        run.unwatch()

    assert "torch" not in sys.modules
