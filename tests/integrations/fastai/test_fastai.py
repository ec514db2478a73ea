"""fastai: the smallest trainings, and what came out of them."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fastai import learner as fastai_learner
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.schedule import Learner
from fastai.callback.tracker import SaveModelCallback
from fastai.callback.tracker import TrackerCallback as FastaiTrackerCallback
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat, MSELossFlat
from fastai.metrics import accuracy
from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import fastai as ours
from tracker.integrations import patching
from tracker.integrations.fastai import TrackerCallback

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture(scope="module")
def dls() -> Any:
    """64 rows, of which 16 are for validation; batches of 16."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"size": generator.normal(size=64), "kind": generator.integers(0, 3, 64).astype(str)})
    frame["label"] = np.where(frame["size"] > 0, "large", "small")
    loaders = TabularDataLoaders.from_df(
        frame.copy(), procs=[Categorify, Normalize], cat_names=["kind"], cont_names=["size"], y_names="label", bs=16,
        valid_idx=list(range(48, 64)), device=torch.device("cpu"),
    )  # fmt: skip
    loaders.raw = frame
    return loaders


def tabular(dls: Any, **arguments: Any) -> Any:
    """Answer a small learner that prints nothing."""
    learn = tabular_learner(dls, layers=[4], metrics=accuracy, **arguments)
    learn.remove_cbs([callback for callback in learn.cbs if callback.name == "progress"])
    learn.logger = lambda *_: None
    return learn


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def test_each_batch_and_each_epoch_is_logged(dls: Any, only_run: OnlyRun) -> None:
    learn = tabular(dls)
    learn.fit_one_cycle(2, cbs=TrackerCallback(project="tables"))
    tracker.finish()
    run = only_run()
    recorder = learn.recorder

    assert (run.project, run.state) == ("tables", "finished")
    assert list(rows(run, "train_loss").values()) == pytest.approx([float(loss) for loss in recorder.losses])
    assert list(rows(run, "lr_0").values()) == pytest.approx(recorder.lrs)
    assert list(rows(run, "train_loss")) == [0, 1, 2, 3, 4, 5]
    assert rows(run, "valid_loss") == {2: pytest.approx(recorder.values[0][1]), 5: pytest.approx(recorder.values[1][1])}
    assert rows(run, "accuracy") == {2: pytest.approx(recorder.values[0][2]), 5: pytest.approx(recorder.values[1][2])}
    assert rows(run, "epoch")[5] == 2


def test_the_learner_is_the_config(dls: Any, only_run: OnlyRun) -> None:
    """8.1 #19: functions, classes and partials are plain values."""
    tabular(dls, cbs=SaveModelCallback(fname="best")).fit(1, 1e-2, cbs=TrackerCallback())
    tracker.finish()
    config = only_run().config

    assert (config["args"]["loss_func"], config["args"]["opt_func"]) == ("CrossEntropyLossFlat", "Adam")
    assert config["args"]["callbacks"]["save_model"]["fname"] == "best"
    assert (config["args"]["n_epoch"], config["args"]["metrics"]) == (1, ["accuracy"])
    assert (config["data"]["batch_size"], config["data"]["train"], config["data"]["valid"]) == (16, 48, 16)
    assert config["data"]["classes"] == ["large", "small"]
    assert config["model"]["class"] == "TabularModel"


def test_validation_rows_are_one_growing_table(dls: Any, only_run: OnlyRun) -> None:
    """8.1 #23, #30: rows, labels, predictions and losses, of every epoch."""
    learn = tabular(dls)
    learn.fit(2, cbs=TrackerCallback(n_preds=8))
    predictions, targets = learn.get_preds()
    tracker.finish()
    found = only_run().table("valid/predictions").to_pandas()
    last = found[found["step"] == 5]

    assert list(found["step"]) == [2] * 8 + [5] * 8
    assert list(last["label"]) == [dls.vocab[target] for target in targets[::2, 0]]
    assert list(last["label_pred"]) == [dls.vocab[int(row.argmax())] for row in predictions[::2]]
    expected = -predictions.log().gather(1, targets.long())[::2, 0]
    assert list(last["loss"]) == pytest.approx(expected.tolist(), abs=1e-4)
    assert list(last["size"]) == pytest.approx(list(dls.raw["size"][48::2]))
    assert list(last["kind"]) == list(dls.raw["kind"][48::2])


def test_pictures_are_shown_as_pictures(tmp_path: Path, only_run: OnlyRun, torchvision: Any) -> None:
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, PILImage

    generator = np.random.default_rng(0)
    pictures = [PILImage.create(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)) for _ in range(12)]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=["cat", "dog"])),
        get_x=lambda index: pictures[index],
        get_y=lambda index: ["cat", "dog"][index % 2],
        splitter=lambda items: (list(range(6)), list(range(6, 12))),
    )
    loaders = block.dataloaders(list(range(12)), bs=3, num_workers=0, device=torch.device("cpu"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    learn = Learner(loaders, model, CrossEntropyLossFlat(), path=tmp_path)
    learn.remove_cb(learn.progress) if hasattr(learn, "progress") else None
    learn.fit(1, cbs=TrackerCallback())
    tracker.finish()
    found = only_run().table("valid/predictions").to_pandas()

    assert list(found.columns) == ["step", "input", "label", "prediction", "loss"]
    assert list(found["label"]) == ["cat", "dog"] * 3
    assert set(found["prediction"]) <= {"cat", "dog"}
    assert "image-file" in str(found["input"][0])


def test_plain_loaders_of_torch_are_shown_too(tmp_path: Path, only_run: OnlyRun) -> None:
    x = torch.arange(16.0).reshape(8, 2)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    learn = Learner(DataLoaders(loader, loader), torch.nn.Linear(2, 1), MSELossFlat(), path=tmp_path)
    learn.fit(1, cbs=TrackerCallback())
    tracker.finish()
    found = only_run().table("valid/predictions").to_pandas()

    assert list(found["label"]) == [1.0, 5.0, 9.0, 13.0, 17.0, 21.0, 25.0, 29.0]
    assert found["input"][1] == "[2.0, 3.0]"


def test_data_that_cannot_be_shown_costs_the_table_alone(
    dls: Any, only_run: OnlyRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8.1 #7: the training goes on, and the user is told once."""

    def broken(self: Any, learn: Any) -> Any:
        raise KeyError("no such thing")

    monkeypatch.setattr(ours.Sample, "table", broken)
    tabular(dls).fit(2, cbs=TrackerCallback())
    tracker.finish()

    assert "valid/predictions" not in only_run().summary
    assert len(rows(only_run(), "accuracy")) == 2
    assert caplog.text.count("are not shown") == 1


def test_fits_one_after_the_other_are_one_curve(dls: Any, only_run: OnlyRun) -> None:
    """8.1 #1: `fine_tune` fits twice; its steps go on, and none takes another's place."""
    tabular(dls, cbs=TrackerCallback()).fine_tune(1)
    tracker.finish()

    assert list(rows(only_run(), "train_loss")) == [0, 1, 2, 3, 4, 5]
    assert rows(only_run(), "epoch")[5] == 2


def test_a_validation_goes_into_the_run_of_the_training(dls: Any, only_run: OnlyRun) -> None:
    learn = tabular(dls, cbs=TrackerCallback())
    learn.fit(1)
    loss, score = learn.validate()
    learn.get_preds()
    tracker.finish()

    assert rows(only_run(), "validate/loss") == {2: pytest.approx(loss)}
    assert rows(only_run(), "validate/accuracy") == {2: pytest.approx(score)}
    assert len(rows(only_run(), "valid_loss")) == 1


def test_looking_for_a_rate_is_no_training(dls: Any, read: Read) -> None:
    """8.1 #22: and neither is a prediction."""
    learn = tabular(dls, cbs=TrackerCallback())
    learn.lr_find(show_plot=False, num_it=5)
    learn.get_preds()
    learn.validate()

    assert read() == []


def test_saved_models_are_versions(dls: Any, only_run: OnlyRun) -> None:
    """8.1 #17: `SaveModelCallback` writes over its file; each of its versions is kept."""
    learn = tabular(dls, cbs=[SaveModelCallback(fname="each", every_epoch=True), TrackerCallback()])
    learn.fit(2)
    learn.save("last")
    saved = {key: value.clone() for key, value in learn.model.state_dict().items()}
    tracker.finish()
    versions = list(only_run().logged_artifacts())
    newest = max(versions, key=lambda version: int(version.version[1:]))
    state = torch.load(next(Path(newest.download()).glob("*.pth")), weights_only=False)["model"]

    assert [version.metadata["step"] for version in sorted(versions, key=lambda one: one.version)] == [2, 5, 5]
    assert all(torch.equal(state[key], value) for key, value in saved.items())


def test_a_training_that_raises_is_a_failed_run(dls: Any, only_run: OnlyRun) -> None:
    class Breaks(Callback):
        def after_batch(self) -> None:
            if self.learn.train_iter == 2:
                raise ValueError("the data is on fire")

    with pytest.raises(ValueError, match="on fire"):
        tabular(dls).fit(1, cbs=[TrackerCallback(), Breaks()])

    assert only_run().state == "failed"
    assert "on fire" in only_run().details["exit"]["reason"]


def test_a_fit_that_is_cancelled_is_a_finished_run(dls: Any, only_run: OnlyRun) -> None:
    """8.1 #14: early stopping is no failure."""

    class Stops(Callback):
        def after_epoch(self) -> None:
            raise CancelFitException

    tabular(dls).fit(3, cbs=[TrackerCallback(), Stops()])
    tracker.finish()

    assert only_run().state == "finished"
    assert list(rows(only_run(), "train_loss")) == [0, 1, 2]


def test_the_users_own_run_stays_open_and_takes_several_trainings(dls: Any, only_run: OnlyRun) -> None:
    with tracker.init() as run:
        for _ in range(2):
            tabular(dls).fit(1, cbs=TrackerCallback())
        assert run.state == "running"

    assert len(rows(only_run(), "train_loss")) == 6


def test_trainings_in_a_loop_are_runs_of_their_own(dls: Any, read: Read) -> None:
    """8.1 #20."""
    for _ in range(2):
        tabular(dls).fit(1, cbs=TrackerCallback())
    tracker.finish()

    assert [list(rows(run, "train_loss")) for run in read()] == [[0, 1, 2], [0, 1, 2]]


def test_it_stands_beside_fastais_own_class_of_that_name(dls: Any, only_run: OnlyRun) -> None:
    learn = tabular(dls, cbs=[FastaiTrackerCallback(), TrackerCallback()])
    learn.fit(1)
    tracker.finish()

    assert isinstance(learn.tracker, FastaiTrackerCallback)
    assert isinstance(learn.tracker_log, TrackerCallback)
    assert only_run().summary["accuracy"] is not None


def test_an_exported_learner_needs_no_tracker(dls: Any, tmp_path: Path) -> None:
    """8.7: nothing of ours stays in the user's files."""
    learn = tabular(dls, cbs=TrackerCallback())
    learn.fit(1)
    learn.path = tmp_path
    learn.export("learner.pkl")
    code = (
        "import sys\n"
        "class NoTracker:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name.startswith('tracker'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTracker())\n"
        "from fastai.tabular.all import load_learner\n"
        "print(len(load_learner('learner.pkl').cbs))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import site; site.main()\n{code}"], cwd=tmp_path, text=True, capture_output=True
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(learn.cbs)


def test_a_copy_logs_a_training_of_its_own(dls: Any, read: Read) -> None:
    callback = TrackerCallback(project="copies", n_preds=2)
    other = copy.deepcopy(callback)
    tabular(dls).fit(1, cbs=callback)
    tabular(dls).fit(1, cbs=other)
    tracker.finish()

    assert [(run.project, len(run.table("valid/predictions").to_pandas())) for run in read()] == [("copies", 2)] * 2


def test_nothing_is_logged_unless_asked_for(dls: Any, read: Read) -> None:
    """8.1 #22."""
    ours._autolog(fastai_learner)
    tabular(dls).fit(1)

    assert read() == []


def test_autologging_needs_no_callback_and_adds_no_second(dls: Any, read: Read) -> None:
    ours._autolog(fastai_learner)
    patching.ask(None, True)
    learn = tabular(dls)
    learn.fit(1)
    learn.fit(1)
    tabular(dls, cbs=TrackerCallback(project="mine")).fit(1)
    tabular(dls).fit(1, cbs=[TrackerCallback(project="mine")])
    tracker.finish()

    assert [(run.project, list(rows(run, "train_loss"))) for run in read()] == [
        ("uncategorized", [0, 1, 2, 3, 4, 5]),
        ("mine", [0, 1, 2]),
        ("mine", [0, 1, 2]),
    ]


def test_an_unmodified_script_is_logged(
    script: Callable[..., subprocess.CompletedProcess[str]], only_run: OnlyRun
) -> None:
    """The start-up hook and the environment alone, with fastai's own way of importing."""
    script(
        """
        from fastai.basics import *

        x = torch.randn(32, 3)
        data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
        loader = torch.utils.data.DataLoader(data, batch_size=8)
        Learner(DataLoaders(loader, loader), nn.Linear(3, 1), MSELossFlat()).fit(2, 1e-2)
        """,
        TRACKER_AUTOLOG="fastai",
    )
    run = only_run()

    assert run.state == "finished"
    assert len(rows(run, "train_loss")) == 8
    assert len(rows(run, "valid_loss")) == 2
