"""A Hugging Face `Trainer` that reports to tracker: one argument; metrics, predictions and checkpoints come by themselves."""

import random

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

WORDS = (["bad", "poor", "awful", "dull"], ["good", "fine", "great", "lovely"])


def reviews(count: int, seed: int) -> Dataset:
    """Make sentences, each with what it says of the film: 0 for bad, 1 for good."""
    chance = random.Random(seed)
    labels = [chance.randint(0, 1) for _ in range(count)]
    texts = ["the film was " + " ".join(chance.choices(WORDS[label] + ["and", "very"], k=4)) for label in labels]
    return Dataset.from_dict({"text": texts, "label": labels})


def accuracy(found: EvalPrediction) -> dict[str, float]:
    """Answer the share of right answers."""
    return {"accuracy": float((np.argmax(found.predictions, -1) == found.label_ids).mean())}


def main() -> None:
    """Train for two epochs; see it with `tracker ui`."""
    train, test = reviews(256, seed=0), reviews(64, seed=1)
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(train["text"], trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), id2label={0: "bad", 1: "good"}, pad_token_id=0, **sizes)
    arguments = TrainingArguments(
        "reviews", report_to="tracker", run_name="tiny-bert", num_train_epochs=2, logging_steps=4,
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, learning_rate=2e-3, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(
        BertForSequenceClassification(config),
        arguments,
        train_dataset=train.map(lambda row: tokenizer(row["text"])),
        eval_dataset=test.map(lambda row: tokenizer(row["text"])),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.train()
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
