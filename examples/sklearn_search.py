"""A search over parameters: one run with the table of all candidates, and a run for each of the best three."""

from __future__ import annotations

import os

from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tracker


def main() -> None:
    os.environ["TRACKER_SKLEARN_CHILD_RUNS"] = "3"
    tracker.autolog("sklearn", log_models=False)
    x, y = load_wine(return_X_y=True)

    model = make_pipeline(StandardScaler(), SVC())
    grid = {"svc__C": [0.1, 1, 10], "svc__kernel": ["linear", "rbf"]}
    search = GridSearchCV(model, grid, cv=3).fit(x, y)  # n_jobs may be anything
    print("best", search.best_params_, search.best_score_)

    run = tracker.run
    assert run is not None
    tracker.finish()
    api = tracker.Api()
    candidates = api.run(run.path).table("cv_results").sort("rank_test_score")
    for row in candidates.rows(3):
        print(row["param_svc__C"], row["param_svc__kernel"], round(row["mean_test_score"], 3))
    for child in api.runs(run.project, {"group": run.group, "job_type": "candidate"}):
        print(child.name, child.config["params"]["svc__C"], round(child.summary["mean_test_score"], 3))


if __name__ == "__main__":
    main()
