"""Scripts that do not know of tracker, as users start them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tracker.core.query import Run as ReadRun

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]
Script = Callable[..., "subprocess.CompletedProcess[str]"]

SCRIPT = """
    import warnings
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score
    from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    noise = np.random.default_rng(0)
    x = noise.normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(int)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    cross_val_score(LogisticRegression(), x_train, y_train, cv=3, n_jobs=2)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, cv=3, n_jobs=2)
    search.fit(x_train, y_train)
    print(search.score(x_test, y_test), accuracy_score(y_test, search.predict(x_test)))
"""


def test_a_script_is_logged_with_only_the_variable_set(script: Script, read: Read) -> None:
    """Nothing in the script, workers in two processes: one run, and one for each candidate."""
    done = script(SCRIPT, TRACKER_AUTOLOG="sklearn", TRACKER_PROJECT="plain")
    score, accuracy = map(float, done.stdout.split())
    (search,) = [run for run in read() if run.job_type == "search"]

    assert len(read()) == 3
    assert {(run.project, run.state) for run in read()} == {("plain", "finished")}
    assert (search.summary["test/score"], search.summary["test/accuracy_score"]) == (score, accuracy)
    assert len(search.logged_artifacts()) == 1


def test_without_it_nothing_is_logged(script: Script, read: Read) -> None:
    """8.1 #22: nothing is enabled without being asked for."""
    script(SCRIPT)

    assert read() == []


def test_it_can_be_asked_for_after_the_import(script: Script, read: Read) -> None:
    lines = SCRIPT.replace(
        "    noise =", "    import tracker; tracker.autolog('sklearn', log_models=False)\n    noise ="
    )
    script(lines)

    assert sorted(str(run.job_type) for run in read()) == ["candidate", "candidate", "search"]


def test_a_script_that_fails_has_failed_runs(script: Script, only_run: OnlyRun) -> None:
    done = script(
        """
        from sklearn.svm import SVC
        SVC().fit([[1.0], [2.0]], [0, 1])
        raise RuntimeError("later")
        """,
        code_expected=1,
        TRACKER_AUTOLOG="1",
    )

    assert "RuntimeError: later" in done.stderr
    assert only_run().state == "failed"


def test_workers_of_the_users_own_open_no_runs(script: Script, read: Read) -> None:
    """4696 and the like: not a run for each worker."""
    script(
        """
        import multiprocessing
        from joblib import Parallel, delayed
        from sklearn.svm import SVC

        def train(c):
            return SVC(C=c).fit([[1.0], [2.0]], [0, 1]).score([[1.0]], [0])

        if __name__ == "__main__":
            Parallel(n_jobs=2)(delayed(train)(c) for c in (0.1, 1.0))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.map(train, [1.0])
        """,
        TRACKER_AUTOLOG="1",
    )

    assert read() == []


def test_it_goes_beside_mlflow(script: Script, read: Read) -> None:
    """Databricks turns MLflow's autologging on by itself: both log, in either order."""
    pytest.importorskip("mlflow")
    for first, second in (("mlflow.sklearn", "tracker"), ("tracker", "mlflow.sklearn")):
        arguments = {"mlflow.sklearn": "log_models=False, silent=True", "tracker": "'sklearn', log_models=False"}
        done = script(
            f"""
            import mlflow, tracker, mlflow.sklearn
            mlflow.set_tracking_uri("sqlite:///mlflow.db")
            {first}.autolog({arguments[first]})
            {second}.autolog({arguments[second]})
            from sklearn.svm import SVC
            SVC(C=3.0).fit([[1.0], [2.0]], [0, 1])
            print([run.data.params["C"] for run in mlflow.search_runs(output_format="list")])
            """
        )
        assert "3.0" in done.stdout

    assert [run.config["params"]["C"] for run in read()] == [3.0, 3.0]
