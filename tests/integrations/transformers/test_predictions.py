"""Tables of predictions: rows of an evaluation, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

import tracker
from tracker.core.query import Run as ReadRun

from . import tiny

OnlyRun = Callable[[], ReadRun]


def test_what_was_asked_what_was_said_and_what_is_right(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #30, 31050: eval tables, without a compute_metrics and without a word in the script."""
    data = tiny.labelled(20, 1)
    trainer = tiny.trainer(tmp_path, eval_dataset=data, eval_strategy="steps", eval_steps=4)
    trainer.train()
    predicted = trainer.predict(data)
    tracker.finish()
    table = only_run().table("eval/predictions")
    rows = table.rows()
    last = [row for row in rows if row["step"] == 8]
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(predicted.predictions), torch.tensor(data["label"]), reduction="none"
    )

    assert table.columns == ["step", "index", "input", "label", "prediction", "confidence", "loss"]
    assert [row["step"] for row in rows] == [4] * 20 + [8] * 20
    assert [row["index"] for row in last] == list(range(20))
    assert [row["input"] for row in last] == data["text"]
    assert [row["label"] for row in last] == [tiny.NAMES[label] for label in data["label"]]
    assert [row["prediction"] for row in last] == [tiny.NAMES[one] for one in predicted.predictions.argmax(-1)]
    assert [row["loss"] for row in last] == pytest.approx(loss.tolist(), rel=1e-4)
    assert [row["confidence"] for row in last] == pytest.approx(
        torch.tensor(predicted.predictions).softmax(-1).max(-1).values.tolist(), rel=1e-4
    )
    assert [row["input"] for row in only_run().table("test/predictions").rows()] == data["text"]


@pytest.mark.parametrize(
    "options",
    [
        {"compute_metrics": tiny.accuracy},
        {"compute_metrics": tiny.accuracy, "eval_do_concat_batches": False},
        {"prediction_loss_only": True},
        {"eval_accumulation_steps": 1, "compute_metrics": tiny.accuracy},
        {"include_for_metrics": ["inputs", "loss"], "compute_metrics": tiny.accuracy},
        {"label_smoothing_factor": 0.1},
    ],
    ids=lambda options: ",".join(options),
)
def test_they_do_not_depend_on_what_the_trainer_keeps(
    tmp_path: Path, only_run: OnlyRun, options: dict[str, Any]
) -> None:
    if options.get("eval_do_concat_batches") is False:
        options["compute_metrics"] = lambda found: {"batches": len(found.predictions)}
    data = tiny.labelled(20, 1)
    trainer = tiny.trainer(tmp_path, eval_dataset=data, **options)
    trainer.evaluate()
    tracker.finish()

    assert [row["input"] for row in only_run().table("eval/predictions").rows()] == data["text"]
    assert {"prediction_step", "compute_loss"} & vars(trainer).keys() == set()  # as it was


def test_a_large_evaluation_is_sampled_evenly_and_the_same_each_time(tmp_path: Path, only_run: OnlyRun) -> None:
    data = tiny.labelled(250, 1)
    trainer = tiny.trainer(tmp_path, eval_dataset=data)
    trainer.evaluate()
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["index"] for row in rows] == 2 * [index * 250 // 100 for index in range(100)]
    assert [row["input"] for row in rows[:100]] == [data["text"][row["index"]] for row in rows[:100]]


def test_data_sets_with_names_have_a_table_each(tmp_path: Path, only_run: OnlyRun) -> None:
    data = {"easy": tiny.labelled(4, 1), "hard": tiny.labelled(6, 2)}
    trainer = tiny.trainer(tmp_path, eval_dataset=data, eval_strategy="epoch", max_steps=4)
    trainer.train()
    tracker.finish()
    run = only_run()

    assert len(run.table("eval/easy_predictions")) == 4
    assert len(run.table("eval/hard_predictions")) == 6
    assert {"eval/easy_loss", "eval/hard_loss"} <= set(run.summary.keys())


def test_no_rows_where_none_are_wanted(tmp_path: Path, only_run: OnlyRun) -> None:
    from tracker.integrations.transformers import TrackerCallback

    trainer = tiny.trainer(tmp_path, eval_dataset=tiny.labelled(4), callbacks=[TrackerCallback(eval_rows=0)])
    trainer.evaluate()
    tracker.finish()

    with pytest.raises(tracker.UsageError):
        only_run().table("eval/predictions").rows()
    assert "eval/loss" in only_run().summary


def test_a_language_model_is_shown_by_what_it_would_have_written(tmp_path: Path, only_run: OnlyRun) -> None:
    words = tiny.tokenizer()
    sentences = [text for text, _ in tiny.texts(12)]
    data = Dataset.from_dict(dict(words(sentences)))
    trainer = tiny.trainer(
        tmp_path,
        model=tiny.writer(),
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorForLanguageModeling(words, mlm=False),
        max_steps=60,
        logging_steps=60,
        learning_rate=0.05,
    )
    trainer.train()
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["input"] for row in rows] == sentences
    assert [row["label"] for row in rows] == sentences
    # It has learnt how they begin; a prediction that stood one place off would not.
    assert all(row["prediction"].startswith("film was ") for row in rows)
    assert all(row["loss"] < 3 for row in rows)


def test_a_masked_language_model_is_shown_at_its_masks(tmp_path: Path, only_run: OnlyRun) -> None:
    from transformers import BertForMaskedLM

    words = tiny.tokenizer()
    sentences = [text for text, _ in tiny.texts(8)]
    config = BertConfig(**{**tiny.classifier().config.to_dict(), "architectures": None})
    trainer = tiny.trainer(
        tmp_path,
        model=BertForMaskedLM(config),
        eval_dataset=Dataset.from_dict(dict(words(sentences))),
        data_collator=DataCollatorForLanguageModeling(words, mlm_probability=0.5, seed=1),
    )
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert len(rows) == 8
    assert all(
        len(row["label"].split()) <= len(sentence.split()) for row, sentence in zip(rows, sentences, strict=True)
    )
    assert any(
        0 < len(row["label"].split()) < len(sentence.split()) for row, sentence in zip(rows, sentences, strict=True)
    )


def test_tags_of_words_are_shown_by_their_names(tmp_path: Path, only_run: OnlyRun) -> None:
    config = BertConfig(**{**tiny.classifier().config.to_dict(), "id2label": {0: "O", 1: "ADJ"}})
    data = tiny.labelled(6)
    tags = [[-100, 0, 0, 1, 1, -100, -100, -100, -100, -100]] * 6
    data = data.remove_columns("label").add_column("labels", tags)
    trainer = tiny.trainer(tmp_path, model=BertForTokenClassification(config), eval_dataset=data)
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["label"] for row in rows] == ["O O ADJ ADJ"] * 6
    assert all(set(row["prediction"].split()) <= {"O", "ADJ"} and len(row["prediction"].split()) == 4 for row in rows)


def test_answers_within_a_text_are_shown_as_text(tmp_path: Path, only_run: OnlyRun) -> None:
    config = BertConfig(**tiny.classifier().config.to_dict())
    data = tiny.labelled(6)
    text = data["text"]
    data = data.remove_columns("label").add_column("start_positions", [1] * 6).add_column("end_positions", [2] * 6)
    trainer = tiny.trainer(tmp_path, model=BertForQuestionAnswering(config), eval_dataset=data)
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["label"] for row in rows] == [" ".join(each.split()[1:3]) for each in text]
    assert all(row["loss"] > 0 for row in rows)


def test_numbers_are_shown_as_numbers(tmp_path: Path, only_run: OnlyRun) -> None:
    from transformers import BertForSequenceClassification

    config = tiny.classifier().config
    config.num_labels = 1
    data = tiny.labelled(6).remove_columns("label").add_column("labels", [0.5 * row for row in range(6)])
    trainer = tiny.trainer(tmp_path, model=BertForSequenceClassification(config), eval_dataset=data)
    said = trainer.predict(data).predictions.reshape(-1)
    tracker.finish()
    rows = only_run().table("test/predictions").rows()

    assert [row["label"] for row in rows] == [0.5 * row for row in range(6)]
    assert [row["prediction"] for row in rows] == pytest.approx(said.tolist(), rel=1e-5)
    assert [row["loss"] for row in rows] == pytest.approx(((said - np.arange(6) * 0.5) ** 2).tolist(), rel=1e-4)


def test_several_labels_may_hold(tmp_path: Path, only_run: OnlyRun) -> None:
    from transformers import BertForSequenceClassification

    config = BertConfig(**{**tiny.classifier().config.to_dict(), "problem_type": "multi_label_classification"})
    data = tiny.labelled(3).remove_columns("label").add_column("labels", [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    trainer = tiny.trainer(tmp_path, model=BertForSequenceClassification(config), eval_dataset=data)
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["label"] for row in rows] == ["NEGATIVE", "NEGATIVE, POSITIVE", ""]


def test_pictures_are_shown(tmp_path: Path, only_run: OnlyRun) -> None:
    config = ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        num_labels=2,
    )  # fmt: skip
    pixels = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    data = Dataset.from_dict({"pixel_values": pixels.tolist(), "labels": [0, 1, 0, 1]}).with_format("torch")
    trainer = tiny.trainer(tmp_path, model=ViTForImageClassification(config), eval_dataset=data, processing_class=None)
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert len(rows) == 4
    assert rows[0]["input"]["_type"] == "image-file" if isinstance(rows[0]["input"], dict) else rows[0]["input"]
    assert [row["label"] for row in rows] == ["LABEL_0", "LABEL_1"] * 2


@pytest.mark.parametrize("with_metrics", [True, False])
def test_what_a_model_generates_is_shown(tmp_path: Path, only_run: OnlyRun, with_metrics: bool) -> None:
    words = tiny.tokenizer()
    sentences = [text for text, _ in tiny.texts(6)]
    data = Dataset.from_dict({**words(sentences), "labels": words(sentences)["input_ids"]})
    model = tiny.translator()
    seen: list[Any] = []

    def metrics(found: Any) -> dict[str, float]:
        seen.append(found.predictions)
        return {"count": len(found.predictions)}

    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            str(tmp_path / "out"), report_to="tracker", predict_with_generate=True, use_cpu=True, disable_tqdm=True,
            generation_max_length=8, per_device_eval_batch_size=4,
        ),
        eval_dataset=data,
        processing_class=words,
        data_collator=DataCollatorForSeq2Seq(words, model=model),
        compute_metrics=metrics if with_metrics else None,
    )  # fmt: skip
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["input"] for row in rows] == sentences
    assert [row["label"] for row in rows] == sentences
    if with_metrics:
        said = [words.decode([one for one in row if one >= 0], skip_special_tokens=True) for row in seen[0]]
        assert [row["prediction"] for row in rows] == said
    assert only_run().config["generation"]["decoder_start_token_id"] == 2


def test_a_stream_of_rows_is_shown_from_its_beginning(tmp_path: Path, only_run: OnlyRun) -> None:
    data = tiny.labelled(30, 1)
    trainer = tiny.trainer(tmp_path, eval_dataset=data.to_iterable_dataset())
    trainer.evaluate()
    tracker.finish()
    rows = only_run().table("eval/predictions").rows()

    assert [row["input"] for row in rows] == data["text"]
    assert [row["index"] for row in rows] == [None] * 30
    assert "rows" not in only_run().config["data"]["eval"]


def test_an_answer_of_an_unknown_kind_makes_no_table(tmp_path: Path, only_run: OnlyRun) -> None:
    class Odd(tiny.Trainer):
        def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
            loss, _, _ = super().prediction_step(*args, **kwargs)
            return loss, torch.zeros(3), torch.zeros(5)

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss = super().compute_loss(model, inputs, **kwargs)
            return (loss, {"mine": loss}) if return_outputs else loss

    trainer = tiny.trainer(tmp_path, kind=Odd, eval_dataset=tiny.labelled(20))
    trainer.evaluate()
    tracker.finish()

    assert "eval/loss" in only_run().summary
    assert "eval/predictions" not in only_run().summary


def test_more_workers_read_the_data_and_nothing_hangs(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #8: workers of a DataLoader are forked, with a run open."""
    trainer = tiny.trainer(
        tmp_path, eval_dataset=tiny.labelled(16, 1), dataloader_num_workers=2, eval_strategy="steps", eval_steps=4
    )
    trainer.train()
    tracker.finish()

    assert len(only_run().table("eval/predictions")) == 32
    assert only_run().state == "finished"
