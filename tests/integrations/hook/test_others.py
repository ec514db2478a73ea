"""Beside other trackers: both log, whichever comes first, and either can be taken away."""

from __future__ import annotations

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("sklearn")

CODE = """
import os, sys
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
import mlflow
mlflow.set_tracking_uri("file:mlruns")
steps = {
    "theirs": lambda: mlflow.sklearn.autolog(log_models=False, silent=True),
    "ours": lambda: __import__("tracker").autolog("sklearn"),
    "no theirs": lambda: mlflow.sklearn.autolog(disable=True, silent=True),
    "no ours": lambda: __import__("tracker").autolog(disable=True),
}
from sklearn.linear_model import LogisticRegression
for step in sys.argv[1:]:
    steps[step]()
LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[1.0]])
print(len(mlflow.search_runs()))
"""


@pytest.mark.parametrize(("steps", "theirs", "ours"), [
    (["theirs", "ours"], 1, 1), (["ours", "theirs"], 1, 1),
    (["theirs", "ours", "no theirs", "ours"], 0, 1), (["ours", "theirs", "no theirs"], 0, 1),
    (["theirs", "ours", "no ours"], 1, 0), (["ours", "theirs", "no ours"], 1, 0),
])  # fmt: skip
def test_mlflow_logs_and_so_do_we(steps: list[str], theirs: int, ours: int, script, read) -> None:
    """8.5: patches of two trackers do not undo one another, and a fit is logged once by each.

    MLflow's undoing takes away with its function what was put on top of it; asked again, ours comes back.
    """
    done = script(CODE, *steps, MLFLOW_ALLOW_FILE_STORE="true")

    assert (int(done.stdout.split()[-1]), len(read())) == (theirs, ours)
