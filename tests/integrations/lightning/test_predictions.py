"""Tables of predictions, for steps of all shapes: through a Trainer, and row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tracker.core.query import Run as ReadRun
from tracker.integrations.lightning import TrackerLogger

from .net import BATCH, CLASSES, Net, data, trainer

OnlyRun = Callable[[], ReadRun]


def fit(folder: Path, model: Net, evaluation: Any, **options: Any) -> None:
    """Train for an epoch with an evaluation."""
    trainer(folder, TrackerLogger(log_model=False, **options), max_epochs=1).fit(model, data(), evaluation)


def rows(run: ReadRun, key: str = "validate/predictions") -> list[dict[str, Any]]:
    """Read a table back."""
    return list(run.table(key).rows())


@pytest.mark.parametrize(("limit", "expected"), [(100, 100), (7, 7), (1, 1)])
def test_rows_are_spread_over_all_batches(limit: int, expected: int, tmp_path: Path, only_run: OnlyRun) -> None:
    fit(tmp_path, Net(), data(rows=30 * BATCH), log_tables=limit)
    found = rows(only_run())

    assert len(found) == expected
    if limit == 7:
        batches = [row["batch"] for row in found]
        assert batches == sorted(set(batches))
        assert batches[0] == 0
        assert batches[-1] >= 24


def test_none_are_taken_where_none_are_wanted(tmp_path: Path, only_run: OnlyRun) -> None:
    fit(tmp_path, Net(), data(), log_tables=False)

    assert "validate/predictions" not in only_run().summary


def test_what_the_step_returns_goes_first(tmp_path: Path, only_run: OnlyRun) -> None:
    class Returning(Net):
        def validation_step(self, batch: Any, index: int) -> Any:
            super().validation_step(batch, index)
            return {"loss": torch.tensor(0.0), "preds": torch.ones(len(batch[0])).long(), "target": batch[1]}

    fit(tmp_path, Returning(), data())

    assert {row["prediction"] for row in rows(only_run())} == {1}


def test_a_regression_has_an_error(tmp_path: Path, only_run: OnlyRun) -> None:
    class Regression(Net):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 1))
            self.loss = torch.nn.MSELoss()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.loss(self(batch[0]), batch[1].float()[:, None])

        def validation_step(self, batch: Any, index: int) -> Any:
            answer = self.net(batch["x"])  # not through the module's own forward
            return self.loss(answer, batch["y"])

    items = [{"x": torch.randn(4), "y": torch.randn(1)} for _ in range(10)]
    fit(tmp_path, Regression(), DataLoader(items, batch_size=5))
    found = rows(only_run())

    assert len(found) == 10
    assert [row["target"] for row in found] == [pytest.approx(float(item["y"])) for item in items]
    for row in found:
        assert row["error"] == pytest.approx(row["prediction"] - row["target"], abs=1e-6)


def test_several_loaders_are_told_apart(tmp_path: Path, only_run: OnlyRun) -> None:
    class Several(Net):
        def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> Any:
            super().validation_step(batch, index)

    fit(tmp_path, Several(), [data(), data(rows=8)])
    found = rows(only_run())

    assert [row["dataloader"] for row in found] == [0] * 32 + [1] * 8
    assert {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= set(only_run().summary)


def test_images_are_seen(tmp_path: Path, only_run: OnlyRun) -> None:
    class Seeing(Net):
        def validation_step(self, batch: Any, index: int) -> Any:
            if index == 0:
                return {"logits": torch.zeros(len(batch["labels"]), CLASSES)}
            return {"loss": 0.0}

    items = [{"pixel_values": torch.randn(3, 8, 8), "labels": 1} for _ in range(4)]
    fit(tmp_path, Seeing(), DataLoader(items, batch_size=4))
    found = rows(only_run())

    assert only_run().table("validate/predictions").types["input"] == "media"
    assert found[0]["confidence"] == pytest.approx(1 / 3)


def test_tokens_are_decoded_by_the_models_tokenizer(tmp_path: Path, only_run: OnlyRun) -> None:
    class Speaking(Net):
        tokenizer = SimpleNamespace(decode=lambda ids: " ".join("abcdef"[number] for number in ids))

        def validation_step(self, batch: Any, index: int) -> Any:
            logits = torch.nn.functional.one_hot(batch["labels"], 40).float()
            return SimpleOutput(logits=logits)

    items = [{"input_ids": torch.tensor([0, 1, 2]), "labels": torch.tensor([3, 4, 5])} for _ in range(2)]
    fit(tmp_path, Speaking(), DataLoader(items, batch_size=2))

    assert [(row["input"], row["target"], row["prediction"]) for row in rows(only_run())] == [
        ("a b c", "d e f", "d e f")
    ] * 2


class SimpleOutput(dict[str, Any]):
    """As the outputs of transformers are: a mapping."""


@pytest.mark.parametrize("answer", [None, 0.5, torch.tensor(1.0), {"loss": 1}, "text", object(), (1, 2)])
def test_a_step_that_tells_nothing_is_no_trouble(answer: Any, tmp_path: Path, only_run: OnlyRun) -> None:
    class Silent(Net):
        def validation_step(self, batch: Any, index: int) -> Any:
            self.log("val_loss", 0.0)
            return answer

    fit(tmp_path, Silent(), data())

    assert only_run().summary["val_loss"] == 0.0


def test_batches_of_any_shape_are_no_trouble(tmp_path: Path, only_run: OnlyRun) -> None:
    class Odd(Net):
        def validation_step(self, batch: Any, index: int) -> Any:
            return {"preds": torch.zeros(2, 3, 50, 50)}

    items = [object(), 3, None, "x", [torch.zeros(5)], {"x": torch.zeros(7, 7)}]
    fit(tmp_path, Odd(), DataLoader(items, batch_size=None))  # type: ignore[arg-type]

    assert [row["batch"] for row in rows(only_run())] == [index for index in range(len(items)) for _ in range(2)]


def test_endless_loaders_have_rows_of_their_first_batches(tmp_path: Path, only_run: OnlyRun) -> None:
    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            while True:
                yield torch.zeros(4), 1

    fitting = trainer(tmp_path, TrackerLogger(log_tables=3), max_epochs=1, limit_val_batches=5)
    fitting.fit(Net(), data(), DataLoader(Endless(), batch_size=4))

    assert [row["batch"] for row in rows(only_run())] == [0, 2, 4]
