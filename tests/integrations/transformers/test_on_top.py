"""What trains with transformers' `Trainer`: PEFT, TRL, sentence-transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from packaging.version import Version

import tracker
from tracker.core.query import Run as ReadRun

from . import tiny
from .test_training import points

OnlyRun = Callable[[], ReadRun]


def test_adapters_are_in_the_config_and_in_the_checkpoint(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #19, wandb#8956: a LoraConfig holds sets and enums."""
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    model = peft.get_peft_model(tiny.classifier(), lora)
    trainer = tiny.trainer(
        tmp_path, model=model, max_steps=2, save_strategy="steps", save_steps=2, eval_dataset=tiny.labelled(4),
        compute_metrics=tiny.accuracy,
    )  # fmt: skip
    trainer.train()
    trainer.evaluate()
    tracker.finish()
    run = only_run()
    adapter = run.config["peft"]["default"]
    (version,) = run.logged_artifacts()
    names = {file.path for file in version.files()}

    assert (adapter["r"], adapter["target_modules"], adapter["peft_type"]) == (2, ["query", "value"], "LORA")
    assert run.config["model"]["hidden_size"] == 16
    assert 0 < run.config["model"]["trainable_parameters"] < run.config["model"]["num_parameters"]
    assert "adapter_model.safetensors" in names and "model.safetensors" not in names
    assert [row["label"] in tiny.NAMES.values() for row in run.table("eval/predictions").rows()] == [True] * 4


def test_completions_are_one_growing_table(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #23, TRL#2045, #2893, #6568: each step wrote over the last one's."""
    trl = pytest.importorskip("trl")

    def length(completions: list[str], **kwargs: Any) -> list[float]:
        return [float(len(text)) for text in completions]

    def silent(completions: list[str], **kwargs: Any) -> list[None]:
        return [None for _ in completions]

    args = trl.GRPOConfig(
        str(tmp_path / "out"), report_to="tracker", max_steps=3, logging_steps=1, per_device_train_batch_size=4,
        num_generations=2, max_completion_length=4, use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False,
        log_completions=True, num_completions_to_print=0,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=tiny.writer(),
        args=args,
        reward_funcs=[length, silent],
        train_dataset=Dataset.from_dict({"prompt": [text for text, _ in tiny.texts(16)]}),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    trainer.create_model_card()
    tracker.finish()
    run = only_run()
    table = run.table("completions")
    rows = table.rows()

    assert table.columns == ["step", "mode", "prompt", "completion", "length", "silent", "advantage"]
    assert [row["step"] for row in rows] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(row["length"] == len(row["completion"]) for row in rows)
    assert sorted(points(run, "train/reward")) == [1, 2, 3]
    unanswered = points(
        run, "train/rewards/silent/mean"
    )  # nobody has answered: left out; TRL itself logged NaN before 1.0
    if Version(trl.__version__) >= Version("1.0"):
        assert unanswered == {}
    else:
        assert [math.isnan(value) for value in unanswered.values()] == [True] * 3
    assert run.config["args"]["num_generations"] == 2
    assert run.id in (tmp_path / "out" / "README.md").read_text()


def test_what_its_callback_generates_is_one_growing_table(tmp_path: Path, only_run: OnlyRun) -> None:
    """TRL#2045: it knows two backends by name, and sends all rows again each time."""
    callbacks = pytest.importorskip("trl.trainer.callbacks")
    from transformers import DataCollatorForLanguageModeling, GenerationConfig

    words = tiny.tokenizer()
    words.padding_side = "left"
    sentences = [text for text, _ in tiny.texts(16)]
    trainer = tiny.trainer(
        tmp_path, model=tiny.writer(), train_dataset=Dataset.from_dict(dict(words(sentences))), processing_class=words,
        eval_dataset=Dataset.from_dict({"prompt": sentences[:3]}), max_steps=4,
        data_collator=DataCollatorForLanguageModeling(words, mlm=False),
    )  # fmt: skip
    options = GenerationConfig(max_new_tokens=3, pad_token_id=0, eos_token_id=3)
    trainer.add_callback(callbacks.LogCompletionsCallback(trainer, options, freq=2))
    trainer.train()
    tracker.finish()
    rows = only_run().table("completions").rows()

    assert [row["step"] for row in rows] == [2] * 3 + [4] * 3
    assert [row["prompt"] for row in rows] == sentences[:3] * 2


def test_supervised_fine_tuning_is_a_training(tmp_path: Path, only_run: OnlyRun) -> None:
    trl = pytest.importorskip("trl")
    args = trl.SFTConfig(
        str(tmp_path / "out"), report_to="tracker", max_steps=2, logging_steps=1, use_cpu=True, disable_tqdm=True,
        per_device_train_batch_size=4, max_length=16, bf16=False, eval_strategy="steps", eval_steps=2,
    )  # fmt: skip
    sentences = [text for text, _ in tiny.texts(12)]
    data = Dataset.from_dict({"text": sentences})
    trl.SFTTrainer(
        model=tiny.writer(), args=args, train_dataset=data, eval_dataset=data, processing_class=tiny.tokenizer(),
        compute_metrics=lambda found: {},  # without it the model's scores are never there
    ).train()  # fmt: skip
    tracker.finish()
    run = only_run()

    assert sorted(points(run, "train/loss")) == [1, 2]
    assert sorted(points(run, "eval/loss")) == [2]
    assert sorted(row["input"] for row in run.table("eval/predictions").rows()) == sorted(sentences)


def test_sentence_transformers_report_what_their_evaluators_find(tmp_path: Path, only_run: OnlyRun) -> None:
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel

    folder = tmp_path / "bert"
    BertModel(tiny.classifier().config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    words = Transformer(str(folder))
    model = library.SentenceTransformer(modules=[words, Pooling(16)], device="cpu")
    found = tiny.texts(16)
    pairs = {
        "sentence1": [text for text, _ in found],
        "sentence2": [text for text, _ in reversed(found)],
        "score": [float(one[1] == other[1]) for one, other in zip(found, reversed(found), strict=True)],
    }
    evaluator = EmbeddingSimilarityEvaluator(pairs["sentence1"], pairs["sentence2"], pairs["score"], name="pairs")
    args = library.SentenceTransformerTrainingArguments(
        str(tmp_path / "out"), report_to="tracker", max_steps=2, logging_steps=1, use_cpu=True, disable_tqdm=True,
        eval_strategy="steps", eval_steps=2, save_strategy="no",
    )  # fmt: skip
    data = Dataset.from_dict(pairs)
    trainer = library.SentenceTransformerTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=data, evaluator=evaluator,
        loss=CosineSimilarityLoss(model),
    )  # fmt: skip
    trainer.train()
    tracker.finish()
    run = only_run()

    assert sorted(points(run, "train/loss")) == [1, 2]
    assert sorted(points(run, "eval/pairs_spearman_cosine")) == [2]
    assert run.config["model"]["hidden_size"] == 16
    assert run.config["data"]["train"]["fingerprint"] == data._fingerprint
