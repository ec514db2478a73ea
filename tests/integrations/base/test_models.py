"""What of models is kept and recorded: one reading of what users say, whoever they say it to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.base import model_choice, watch_choice

OnlyRun = Callable[[], ReadRun]


@pytest.mark.parametrize(
    ("argument", "autolog", "variable", "choice"),
    [
        (None, None, None, "auto"),
        (None, None, " ", "auto"),
        (None, None, " End ", "end"),
        (None, None, "ON", "checkpoint"),
        (None, None, "nonsense", "auto"),
        (None, False, "checkpoint", "false"),
        (None, " ", "checkpoint", "checkpoint"),
        (True, False, "false", "checkpoint"),
        (False, True, "all", "false"),
        ("", "end", "all", "end"),
    ],
)
def test_the_first_that_says_something_rules(
    argument: Any, autolog: Any, variable: str | None, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("TRACKER_LOG_MODEL", variable)
    tracker.autolog([], log_models=autolog)

    assert model_choice(argument) == choice


def test_a_word_that_is_not_known_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACKER_LOG_MODEL", "evry")
    with tracker.init():
        model_choice(None)
        model_choice(None)

    assert caplog.text.count("TRACKER_LOG_MODEL is 'evry'; it can be auto, checkpoint, end or false") == 1


@pytest.mark.parametrize(
    ("argument", "variable", "choice"),
    [
        (None, None, ("gradients", False)),
        (None, " ", ("gradients", False)),
        (None, " All ", ("all", True)),
        (None, "no", (None, True)),
        (True, "all", ("gradients", True)),
        (False, "all", (None, True)),
        ("parameters", "false", ("parameters", True)),
        ("", "parameters", ("parameters", True)),
    ],
)
def test_what_is_recorded_is_said_by_the_argument_or_the_variable(
    argument: Any, variable: str | None, choice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKER_WATCH", raising=False)
    if variable is not None:
        monkeypatch.setenv("TRACKER_WATCH", variable)

    assert watch_choice(argument) == choice


def test_a_word_for_what_to_record_that_is_not_known_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACKER_WATCH", "gradient")
    with tracker.init():
        assert watch_choice(None) == watch_choice(None) == ("gradients", True)

    assert caplog.text.count("TRACKER_WATCH is 'gradient'; it can be gradients, parameters, all or false") == 1


# --- the frameworks ------------------------------------------------------------------------------------


def _rows() -> tuple[Any, Any]:
    numpy = pytest.importorskip("numpy")
    x = numpy.random.default_rng(0).random((40, 3))
    return x, (x[:, 0] > 0.5).astype(int)


def _xgboost(folder: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    from tracker.integrations.xgboost import TrackerCallback

    x, y = _rows()
    xgboost.train({"nthread": 1}, xgboost.DMatrix(x, y), 2, callbacks=[TrackerCallback()])


def _lightgbm(folder: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    from tracker.integrations.lightgbm import TrackerCallback

    x, y = _rows()
    lightgbm.train({"num_threads": 1, "verbose": -1}, lightgbm.Dataset(x, y), 2, callbacks=[TrackerCallback()])


def _catboost(folder: Path) -> None:
    catboost = pytest.importorskip("catboost")
    from tracker.integrations.catboost import TrackerCallback

    options = {"iterations": 2, "thread_count": 1, "verbose": False, "train_dir": str(folder)}
    catboost.CatBoostRegressor(**options).fit(*_rows(), callbacks=[TrackerCallback()])


def _sklearn(folder: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    tracker.autolog("sklearn")
    linear_model.LogisticRegression().fit(*_rows())


def _stable_baselines3(folder: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.callbacks import CheckpointCallback

    from tracker.integrations.stable_baselines3 import TrackerCallback

    options = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "device": "cpu"}
    callbacks = [CheckpointCallback(32, str(folder)), TrackerCallback()]
    sb3.PPO("MlpPolicy", "CartPole-v1", **options).learn(32, callback=callbacks)


def _transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    from tracker.integrations.transformers import TrackerCallback

    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    data = [{"input_ids": torch.tensor([1, 2]), "labels": torch.tensor(0)}] * 2
    options = {"max_steps": 1, "save_steps": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    transformers.Trainer(
        transformers.BertForSequenceClassification(config),
        transformers.TrainingArguments(str(folder), **options),
        train_dataset=data,
        callbacks=[TrackerCallback()],
    ).train()


def _keras(folder: Path) -> None:
    keras = pytest.importorskip("keras")
    from tracker.integrations.keras import TrackerCallback

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*_rows(), verbose=0, callbacks=[TrackerCallback()])


@pytest.mark.parametrize("train", [_xgboost, _lightgbm, _catboost, _sklearn, _stable_baselines3, _transformers, _keras])
@pytest.mark.parametrize(
    ("autolog", "variable", "is_kept"), [(None, " ", True), (False, "checkpoint", False), (None, "FALSE ", False)]
)
def test_every_framework_reads_it_so(
    train: Callable[[Path], None],
    autolog: bool | None,
    variable: str,
    is_kept: bool,
    tmp_path: Path,
    only_run: OnlyRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKER_LOG_MODEL", variable)
    tracker.autolog([], log_models=autolog)
    train(tmp_path)
    tracker.finish()

    assert bool(only_run().logged_artifacts()) is is_kept
