"""The fitted model as an artifact: which, as what, and what is not kept."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import _sklearn_model

from .conftest import Data

OnlyRun = Callable[[], ReadRun]


@pytest.fixture(autouse=True)
def _autolog() -> None:
    tracker.autolog("sklearn")


def kept(run: ReadRun, folder: Path) -> tuple[Any, Path]:
    """Answer the one artifact of a run, and its one file."""
    (artifact,) = run.logged_artifacts()
    (file,) = Path(artifact.download(folder)).iterdir()
    return artifact, file


def test_a_model_is_kept_as_skops(data: Data, only_run: OnlyRun, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    model = SVC(C=2.0).fit(*data)
    tracker.finish()
    artifact, file = kept(only_run(), tmp_path)

    assert (artifact.type, file.name) == ("model", "model.skops")
    assert zipfile.is_zipfile(file)  # no pickle: it can be read without running what is in it
    assert artifact.metadata["class"] == "sklearn.svm.SVC"
    assert np.array_equal(skops.load(file).predict(data[0]), model.predict(data[0]))


def test_without_skops_it_is_joblibs(
    data: Data, only_run: OnlyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sklearn_model, "find_spec", lambda name: None)
    model = LogisticRegression().fit(*data)
    tracker.finish()
    artifact, file = kept(only_run(), tmp_path)

    assert (file.name, artifact.metadata["format"]) == ("model.joblib", f"joblib {joblib.__version__}")
    assert np.array_equal(joblib.load(file).coef_, model.coef_)


def test_of_a_search_the_best_model_is_kept(data: Data, read: Callable[[], list[ReadRun]]) -> None:
    GridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=2).fit(*data)
    tracker.finish()
    models = [artifact for run in read() for artifact in run.logged_artifacts()]

    assert [artifact.metadata["class"] for artifact in models] == ["sklearn.svm.SVC"]


@pytest.mark.parametrize(("choice", "is_kept"), [("auto", False), ("end", True), ("false", False)])
def test_a_large_model_is_kept_only_when_asked_for(
    choice: str, is_kept: bool, data: Data, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3663: writing large models held up scripts that had not asked for it."""
    monkeypatch.setattr(_sklearn_model, "AUTO_MODEL_BYTES", 1000)
    monkeypatch.setenv("TRACKER_LOG_MODEL", choice)
    KNeighborsClassifier().fit(*data)
    tracker.finish()

    assert bool(only_run().logged_artifacts()) is is_kept


def test_what_cannot_be_written_is_said(
    data: Data, only_run: OnlyRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6641 and the like: what cannot be kept never fails the training."""
    monkeypatch.setattr(_sklearn_model, "find_spec", lambda name: None)
    lock = threading.Lock()
    model = make_pipeline(FunctionTransformer(_with_lock, kw_args={"lock": lock}), SVC()).fit(*data)
    tracker.finish()

    assert model.predict(data[0]).shape == (80,)
    assert list(only_run().logged_artifacts()) == []
    assert "the sklearn.pipeline.Pipeline is not kept with the run (TypeError" in caplog.text
    assert only_run().state == "finished"


def _with_lock(x: Any, lock: Any) -> Any:
    return x


def test_a_model_trained_in_parts_is_kept_when_its_run_ends(data: Data, only_run: OnlyRun, tmp_path: Path) -> None:
    model = SGDClassifier(random_state=0)
    for _ in range(3):
        model.partial_fit(*data, classes=[0, 1])
    tracker.finish()
    artifact, file = kept(only_run(), tmp_path)

    assert artifact.version == "v0"
    assert artifact.metadata["step"] == 2
    skops = pytest.importorskip("skops.io")
    assert np.array_equal(skops.load(file).coef_, model.coef_)


def test_each_part_is_kept_when_all_are_asked_for(
    data: Data, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_LOG_MODEL", "checkpoint")
    model = SGDClassifier(random_state=0)
    for _ in range(3):
        model.partial_fit(*data, classes=[0, 1])
    tracker.finish()

    assert [artifact.metadata["step"] for artifact in only_run().logged_artifacts()] == [0, 1, 2]
