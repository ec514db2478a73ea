"""Trainings that take a second: models of a few thousand weights, a tokenizer and texts that are made here."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

GOOD = ["good", "fine", "great", "lovely"]
BAD = ["bad", "poor", "awful", "dull"]
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
NAMES = {0: "NEGATIVE", 1: "POSITIVE"}


def texts(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Answer sentences with what they say."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        label = chance.randint(0, 1)
        words = chance.choices(GOOD if label else BAD, k=chance.randint(2, 5))
        found.append((" ".join(["the", "film", "was", *words]), label))
    return found


def tokenizer() -> Any:
    """Answer a tokenizer of words, trained on the sentences."""
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(
        (text for text, _ in texts(200)), trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_max_length=16,
    )


def labelled(count: int = 32, seed: int = 0) -> Dataset:
    """Answer a data set of sentences, tokenized, with labels."""
    found = texts(count, seed)
    data = Dataset.from_dict({"text": [text for text, _ in found], "label": [label for _, label in found]})
    words = tokenizer()
    return data.map(lambda row: words(row["text"], padding="max_length", max_length=10), load_from_cache_file=False)


def classifier(seed: int = 0) -> Any:
    """Answer a BERT of one layer."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        id2label=NAMES,
        label2id={name: number for number, name in NAMES.items()},
        pad_token_id=0,
    )
    return BertForSequenceClassification(config)


def writer(seed: int = 0) -> Any:
    """Answer a GPT-2 of one layer."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = GPT2Config(
        vocab_size=len(words), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3,
        pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def translator(seed: int = 0) -> Any:
    """Answer a BART of one layer."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = BartConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=3,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def accuracy(found: Any) -> dict[str, float]:
    """Answer the share of right answers."""
    return {"accuracy": float((np.argmax(found.predictions, -1) == found.label_ids).mean())}


def arguments(folder: Path, **given: Any) -> TrainingArguments:
    """Answer arguments of a training of eight steps on a CPU."""
    plain: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "max_steps": 8,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "tracker",
        "use_cpu": True,
        "disable_tqdm": True,
        "learning_rate": 1e-3,
        "seed": 1,
    }
    return TrainingArguments(**{**plain, **given})


def trainer(folder: Path, *, model: Any = None, kind: Any = Trainer, callbacks: Any = None, **given: Any) -> Any:
    """Answer a trainer of the classifier; what is no argument of a trainer's is one of its arguments'."""
    own = ("compute_metrics", "model_init", "data_collator", "train_dataset", "eval_dataset", "processing_class")
    options = {name: given.pop(name) for name in own if name in given}
    options.setdefault("train_dataset", labelled())
    options.setdefault("processing_class", tokenizer())
    if "model_init" not in options:
        options["model"] = classifier() if model is None else model
    return kind(args=arguments(folder, **given), callbacks=callbacks, **options)
