"""A run for each training, and for nothing else: which fits are one, and what is logged of it."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score as original_accuracy
from sklearn.model_selection import cross_val_predict, cross_val_score, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import patching
from tracker.integrations.base import Session

from .conftest import Data

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]
pytestmark = pytest.mark.usefixtures("autolog")


def values(run: ReadRun, key: str) -> list[Any]:
    """Read a metric back, in order."""
    return [row[key] for row in run.scan_history(keys=[key])]


def test_a_fit_is_a_run_with_parameters_data_and_what_it_has_found(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    model = SVC(C=2.0, kernel="linear").fit(x, y)
    assert model.score(x, y) == original_accuracy(y, model.predict(x))
    tracker.finish()
    run = only_run()

    assert run.state == "finished"
    assert run.config["model"] == {"class": "sklearn.svm.SVC"}
    assert run.config["params"] == model.get_params()
    assert run.config["data"] == {
        "type": "numpy.ndarray",
        "samples": 80,
        "features": 4,
        "dtype": "float64",
        "target": "numpy.ndarray",
        "target_dtype": "int64",
        "target_shape": [80],
        "classes": [0, 1],
        "class_count": 2,
    }
    assert values(run, "train/score") == [model.score(x, y)]
    assert values(run, "fit_seconds")[0] > 0
    weights = {row["feature"]: row["importance"] for row in run.table("feature_importance").rows()}
    assert weights == {f"feature {place}": abs(value) for place, value in enumerate(model.coef_[0])}


def test_a_pipeline_is_one_run_with_the_parameters_of_its_steps(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x, y)
    run = only_run()

    assert run.config["model"]["steps"] == {
        "standardscaler": "sklearn.preprocessing.StandardScaler",
        "logisticregression": "sklearn.linear_model.LogisticRegression",
    }
    assert run.config["params"]["logisticregression__C"] == 0.5
    assert run.config["params"]["logisticregression"] == "sklearn.linear_model.LogisticRegression"
    assert "steps" not in run.config["params"]
    assert run.summary["train/n_iter"] == model[-1].n_iter_[0]


def test_each_fit_is_a_run_of_its_own(data: Data, read: Read) -> None:
    """8.1 #20: the second model does not go on in the first one's run. 7947: its parameters may be others."""
    model = LogisticRegression()
    for strength in (0.1, 1.0):
        model.set_params(C=strength).fit(*data)
    KMeans(2, n_init=1, random_state=0).fit(data[0])
    first, second, third = read()

    assert [run.config["params"].get("C") for run in (first, second, third)] == [0.1, 1.0, None]
    assert third.summary["train/inertia"] > 0
    assert [run.state for run in (first, second)] == ["finished", "finished"]


@pytest.mark.parametrize(
    "inner",
    [
        lambda x, y: cross_val_score(LogisticRegression(), x, y, cv=3),
        lambda x, y: cross_val_predict(SVC(), x, y, cv=3),
        lambda x, y: learning_curve(SVC(), x, y, cv=2, train_sizes=[0.5, 1.0]),
        lambda x, y: StandardScaler().fit_transform(x),
        lambda x, y: PCA(2).fit(x),
    ],
    ids=["cross_val_score", "cross_val_predict", "learning_curve", "scaler", "pca"],
)
def test_what_is_no_training_of_its_own_opens_no_run(inner: Callable[[Any, Any], Any], data: Data, read: Read) -> None:
    """4590: cross-validation fits many models that nobody asked to see."""
    inner(*data)

    assert read() == []


@pytest.mark.parametrize(
    "model",
    [
        OneVsRestClassifier(SVC()),
        VotingClassifier([("a", SVC()), ("b", LogisticRegression())]),
        RandomForestClassifier(5, n_jobs=2, random_state=0),
        VotingClassifier([("a", SVC()), ("b", LogisticRegression())], n_jobs=2),
    ],
    ids=["one against rest", "voting", "forest in threads", "voting in processes"],
)
def test_models_within_a_model_are_not_logged(model: Any, data: Data, only_run: OnlyRun) -> None:
    model.fit(*data)

    assert only_run().config["model"]["class"].endswith(type(model).__name__)


def test_threads_of_joblib_open_no_runs(data: Data, read: Read) -> None:
    from joblib import parallel_backend

    with parallel_backend("threading", n_jobs=2):
        cross_val_score(LogisticRegression(), *data, cv=4, n_jobs=2)

    assert read() == []


class Averaging(ClassifierMixin, BaseEstimator):
    """Somebody's own estimator, built upon scikit-learn's."""

    def fit(self, x: Any, y: Any) -> Averaging:
        self.parts_ = [SVC(C=c).fit(x, y) for c in (0.1, 1.0)]
        return self


class Trainer:
    """Somebody's own class that is no estimator."""

    def fit(self, x: Any, y: Any) -> Any:
        return SVC().fit(x, y)


def test_fits_within_an_estimator_of_another_library_open_no_runs(data: Data, read: Read) -> None:
    """8405, aeon#667: what an estimator of somebody else's fits inside is not logged; a plain class's is."""
    Averaging().fit(*data)
    assert read() == []

    Trainer().fit(*data)
    assert len(read()) == 1


def test_a_fit_within_another_frameworks_training_opens_no_run(data: Data, only_run: OnlyRun) -> None:
    """8405: SetFit and others fit scikit-learn's models while they train."""
    session = Session("transformers", project="hf")
    session.begin()
    LogisticRegression().fit(*data)
    session.end()
    run = only_run()

    assert (run.project, "params" in run.config) == ("hf", False)


def test_the_users_own_run_takes_several_models_in(data: Data, only_run: OnlyRun) -> None:
    """7947, 7402: other parameters in the same run are no error."""
    x, y = data
    with tracker.init(config={"seed": 1}) as own:
        scaled = StandardScaler().fit_transform(x)
        for strength in (0.1, 10.0):
            LogisticRegression(C=strength).fit(scaled, y).score(scaled, y)
        SVC(C=3.0).fit(scaled, y).score(x, y)
        assert own.state == "running"
    run = only_run()

    assert run.config["seed"] == 1
    assert run.config["preprocessing"]["StandardScaler"]["with_mean"] is True
    assert (run.config["params"]["C"], run.config["SVC"]["params"]["C"]) == (10.0, 3.0)
    assert run.config["SVC"]["data"]["classes"] == [0, 1]
    assert len(values(run, "train/score")) == 2
    assert len(values(run, "SVC/test/score")) == 1
    assert [row["model"] for row in run.table("fits").rows()] == ["LogisticRegression", "LogisticRegression", "SVC"]
    assert "'C': 0.1" in run.table("fits").rows()[0]["params"]


def test_partial_fits_are_steps_of_one_run(data: Data, only_run: OnlyRun) -> None:
    x, y = data
    model = SGDClassifier(random_state=0)
    scores = []
    for _ in range(3):
        model.partial_fit(x, y, classes=[0, 1])
        scores.append(model.score(x, y))
    tracker.finish()
    rows = list(only_run().scan_history(keys=["partial_fit", "samples_seen", "train/score"]))

    assert [(row["_step"], row["partial_fit"], row["samples_seen"]) for row in rows] == [
        (0, 1, 80),
        (1, 2, 160),
        (2, 3, 240),
    ]
    assert [row["train/score"] for row in rows] == scores
    assert only_run().config["data"]["fit_arguments"] == ["classes"]


def test_a_warm_start_goes_on_in_its_run(data: Data, only_run: OnlyRun) -> None:
    model = RandomForestClassifier(2, warm_start=True, random_state=0)
    for trees in (2, 4):
        model.set_params(n_estimators=trees).fit(*data)
    run = only_run()

    assert [row["_step"] for row in run.scan_history(keys=["fit_seconds"])] == [0, 1]
    assert run.config["params"]["n_estimators"] == 4


def test_two_models_trained_in_turn_keep_their_runs(data: Data, read: Read) -> None:
    x, y = data
    models = [SGDClassifier(random_state=0), SGDClassifier(random_state=1)]
    for _ in range(2):
        for model in models:
            model.partial_fit(x, y, classes=[0, 1])
    tracker.finish()

    assert [values(run, "partial_fit") for run in read()] == [[1, 2], [1, 2]]


def test_curves_that_the_fit_leaves_are_metrics(data: Data, read: Read) -> None:
    x, y = data
    boosted = GradientBoostingClassifier(n_estimators=4, random_state=0).fit(x, y)
    network = MLPClassifier(4, max_iter=5, early_stopping=True, n_iter_no_change=5, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        network.fit(x, y)
    first, second = read()

    assert values(first, "train/loss") == pytest.approx(boosted.train_score_)
    assert values(first, "iteration") == [0, 1, 2, 3]
    assert values(second, "train/loss") == pytest.approx(network.loss_curve_)
    assert values(second, "validation/score") == pytest.approx(network.validation_scores_)


def test_scores_go_to_the_run_of_their_model_also_when_it_has_ended(data: Data, read: Read) -> None:
    x, y = data
    held_out = x[:40].copy()
    models = [SVC(C=0.01).fit(x, y), SVC(C=100.0).fit(x, y)]
    scores = [model.score(held_out, y[:40]) for model in models]
    models[0].score(x, y)
    tracker.finish()
    first, second = read()

    assert values(first, "test/score") == [scores[0]]
    assert values(second, "test/score") == [scores[1]]
    assert len(values(first, "train/score")) == 1
    assert [run.state for run in (first, second)] == ["finished", "finished"]


def test_metrics_of_predictions_go_to_the_run_of_their_model(data: Data, read: Read) -> None:
    from sklearn import metrics

    x, y = data
    held_out, truth = x[:40].copy(), y[:40]
    weak, strong = LogisticRegression(C=1e-4).fit(x, y), LogisticRegression().fit(x, y)
    guesses = weak.predict(held_out)
    area = metrics.roc_auc_score(truth, strong.predict_proba(held_out)[:, 1])
    accuracy = metrics.accuracy_score(truth, guesses)
    macro = metrics.f1_score(truth, guesses, average="macro")
    metrics.confusion_matrix(truth, guesses)
    metrics.accuracy_score(y, strong.predict(x))
    metrics.accuracy_score([0, 1], [0, 0])  # of nobody's
    rates = metrics.roc_curve(truth, strong.decision_function(held_out))
    metrics.precision_recall_curve(truth, strong.predict_proba(held_out)[:, 1])
    tracker.finish()
    first, second = read()

    assert values(first, "test/accuracy_score") == [accuracy]
    assert values(first, "test/f1_score_macro") == [macro]
    assert sum(row["nPredictions"] for row in first.table("test/confusion_matrix").rows()) == 40
    assert values(second, "test/roc_auc_score") == [area]
    assert len(values(second, "train/accuracy_score")) == 1
    assert [row["tpr"] for row in second.table("test/roc_curve").rows()] == pytest.approx(rates[1])
    assert second.table("test/precision_recall_curve").columns == ["precision", "recall"]


def test_no_data_are_gone_over_again_unless_asked_for(
    data: Data, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    x, y = data
    model = LinearRegression()
    monkeypatch.setattr(LinearRegression, "predict", lambda self, x: asked.append(len(x)) or np.zeros(len(x)))
    model.fit(x, y)
    assert asked == []

    monkeypatch.setenv("TRACKER_SKLEARN_TRAINING_SCORE", "true")
    tracker.finish()
    with tracker.init(id="second") as run:
        model.fit(x, y)
        assert asked == [80]
        assert "train/score" in run.summary


def test_a_fit_that_fails_is_a_failed_run(data: Data, only_run: OnlyRun) -> None:
    """Lightning#10397 and the like: a run does not stay running when its training has failed."""
    x, y = data
    with pytest.raises(ValueError, match="NaN"):
        SVC().fit(np.full_like(x, np.nan), y)
    run = only_run()

    assert run.state == "failed"
    assert "NaN" in run.details["exit"]["reason"]


def test_wrong_arguments_raise_as_ever(data: Data) -> None:
    with pytest.raises(TypeError):
        SVC().fit()
    with pytest.raises(NotFittedError):
        SVC().predict(data[0])


class Odd:
    """A parameter that cannot be told."""

    def __repr__(self) -> str:
        raise RuntimeError("not this way")


def test_one_parameter_that_is_too_long_or_odd_harms_only_itself(data: Data, only_run: OnlyRun) -> None:
    """10512, 10549, 13575: one over-long parameter disabled everything."""
    x, y = data
    steps = [FunctionTransformer(kw_args={"text": "x" * 100_000}), FunctionTransformer(kw_args=None), SVC(C=7.0)]
    model = make_pipeline(*steps)
    model.set_params(**{"functiontransformer-2__inv_kw_args": {"odd": Odd()}})
    model[0].func = _with_text
    model.fit(x, y)
    params = only_run().config["params"]

    assert params["svc__C"] == 7.0
    assert params["functiontransformer-1__kw_args"]["text"].endswith("… (100,000 characters)")
    assert params["functiontransformer-2__inv_kw_args"] == "<dict: RuntimeError>"


def _with_text(x: Any, text: str) -> Any:
    return x


def test_estimators_are_untouched(data: Data) -> None:
    """Nothing of ours is in them: copies, clones and pickles are what they would be without us."""
    model = SVC().fit(*data)
    held = set(vars(model))
    patching.ask(["sklearn"], False)
    plain = SVC().fit(*data)
    patching.ask(["sklearn"], True)

    assert held == set(vars(plain))
    assert b"tracker" not in pickle.dumps(model)
    assert vars(clone(model)) == vars(SVC())
    assert copy.deepcopy(model).C == model.C
    assert (SVC.fit.__name__, SVC.fit.__module__, SVC.fit.__qualname__) == (
        "fit",
        "sklearn.svm._base",
        "BaseLibSVM.fit",
    )


def test_trainings_in_two_threads_have_a_run_each(data: Data, read: Read) -> None:
    """ludwig#1768: the run of one thread is not that of another."""
    both = threading.Barrier(2)

    class Waiting(FunctionTransformer):
        def fit(self, x: Any, y: Any = None) -> Any:
            both.wait(timeout=30)  # both are within their training now
            return super().fit(x, y)

    def train(strength: float) -> None:
        make_pipeline(Waiting(), SVC(C=strength)).fit(*data)

    threads = [threading.Thread(target=train, args=(strength,)) for strength in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(run.config["params"]["svc__C"] for run in read()) == [1.0, 2.0]


def test_clusterers_are_trainings_by_either_method(data: Data, read: Read) -> None:
    DBSCAN(eps=2.0).fit_predict(data[0])
    KMeans(2, n_init=1).fit_transform(data[0])

    assert [run.config["model"]["class"] for run in read()] == ["sklearn.cluster.DBSCAN", "sklearn.cluster.KMeans"]


def test_it_can_be_undone(data: Data, read: Read) -> None:
    before = SVC.fit
    tracker.autolog("sklearn", disable=True)
    SVC().fit(*data).score(*data)

    assert read() == []
    assert SVC.fit is not before
    tracker.autolog("sklearn")
    SVC().fit(*data)
    assert len(read()) == 1


def test_names_of_features_are_those_the_model_has_seen(data: Data, only_run: OnlyRun) -> None:
    """Of a data frame, through the steps of a pipeline; only the most important ones are shown."""
    pandas = pytest.importorskip("pandas")
    x, y = data
    frame = pandas.DataFrame(np.hstack([x] + [x * 0] * 14), columns=[f"c{number}" for number in range(60)])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    assert model.score(frame, y) > 0.5
    tracker.finish()
    run = only_run()
    rows = run.table("feature_importance").rows()

    assert {row["feature"] for row in rows[:2]} == {"c0", "c1"}
    assert len(rows) == 50
    assert run.config["data"]["feature_names"][:2] == ["c0", "c1"]
    assert run.config["data"]["type"] == "pandas.DataFrame"
    assert "train/score" in run.summary


def test_sparse_texts_and_lists(read: Read) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, truth = ["good film", "bad film", "good", "bad"] * 3, ["yes", "no"] * 6
    words = TfidfVectorizer().fit_transform(texts)
    LogisticRegression().fit(words, truth).score(words, truth)
    make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, truth).score(texts, truth)
    tracker.finish()
    sparse, listed = read()

    assert (sparse.config["data"]["nonzero"], sparse.config["data"]["classes"]) == (words.nnz, ["no", "yes"])
    assert "train/score" in sparse.summary
    assert (listed.config["data"]["type"], listed.config["data"]["samples"]) == ("list", 12)
    assert listed.summary["score"] == 1.0  # of data that cannot be recognised
    assert {row["feature"] for row in listed.table("feature_importance").rows()} == {"good", "bad", "film"}


def test_an_estimator_of_the_users_own_is_seen_in_a_pipeline(data: Data, only_run: OnlyRun) -> None:
    """Its `fit` is none of scikit-learn's."""

    class Most(ClassifierMixin, BaseEstimator):
        def __init__(self, offset: int = 0) -> None:
            self.offset = offset

        def fit(self, x: Any, y: Any) -> Any:
            self.classes_ = np.unique(y)
            self.most_ = np.bincount(y).argmax() + self.offset
            return self

        def predict(self, x: Any) -> Any:
            return np.full(len(x), self.most_)

    make_pipeline(Most(offset=0)).fit(*data).score(*data)
    tracker.finish()
    run = only_run()

    assert run.config["params"]["most__offset"] == 0
    assert run.summary["train/score"] >= 0.5
