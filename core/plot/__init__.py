"""Charts that are more than a line over steps: their data is a table, their look a Vega-Lite specification.

None of these functions raises: what is wrong with the input is said when the chart is logged, because only then its
name is known.
"""

from __future__ import annotations

from .chart import Chart
from .classes import confusion_matrix, pr_curve, roc_curve
from .tables import bar, histogram, line, line_series, plot_table, scatter

CustomChart = Chart  # W&B's name

__all__ = [
    "Chart",
    "CustomChart",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]
