"""TRL: a policy learns to write short answers by GRPO; what it wrote, and the reward of each, are one growing table."""

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

QUESTIONS = [f"what is {first} plus {second} ?" for first in ("one", "two", "three") for second in ("one", "two")]


def words() -> PreTrainedTokenizerFast:
    """Make a tokenizer that knows the words of the questions."""
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[EOS]"]
    made.train_from_iterator(QUESTIONS, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]")


def numbers(completions: list[str], **_: object) -> list[float]:
    """Reward each word that is a number."""
    return [float(sum(word in ("one", "two", "three") for word in text.split())) for text in completions]


def brevity(completions: list[str], **_: object) -> list[float]:
    """Reward what is short."""
    return [-len(text.split()) / 8 for text in completions]


def main() -> None:
    """Train for a few steps; `tracker ui` shows the rewards, and the table `completions`."""
    tokenizer = words()
    sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2}
    arguments = GRPOConfig(
        "answers", report_to="tracker", run_name="short-answers", max_steps=8, logging_steps=1, learning_rate=1e-2,
        per_device_train_batch_size=8, num_generations=4, max_completion_length=8, log_completions=True,
        num_completions_to_print=0, save_strategy="no", use_cpu=True, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **ends)),
        reward_funcs=[numbers, brevity],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": QUESTIONS * 4}),
        processing_class=tokenizer,
    )
    trainer.train()


if __name__ == "__main__":
    main()
