"""spaCy learns to tell questions from answers; scores, losses and models of each evaluation are in the run."""

import random
import tempfile
from pathlib import Path

import spacy
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config_from_str

CONFIG = """
[paths]
folder = "."
[nlp]
lang = "en"
pipeline = ["textcat"]
[components]
[components.textcat]
factory = "textcat"
[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.folder}/train.spacy
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.folder}/dev.spacy
[training]
max_steps = 60
eval_frequency = 20
[training.logger]
@loggers = "tracker.Logger.v1"
project = "questions"
"""


def write(path: Path, count: int) -> None:
    """Write so many labelled sentences."""
    nlp, docs = spacy.blank("en"), DocBin()
    for _ in range(count):
        is_question = random.random() < 0.5
        doc = nlp(f"{'where is' if is_question else 'there is'} the {random.choice(['cat', 'dog', 'bird'])}")
        doc.cats = {"QUESTION": float(is_question), "ANSWER": float(not is_question)}
        docs.add(doc)
    docs.to_disk(path)


def main() -> None:
    """As `python -m spacy train config.cfg --output models` does."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name, "train.spacy"), 200)
        write(Path(name, "dev.spacy"), 40)
        config = load_config_from_str(CONFIG, overrides={"paths.folder": name})
        config = spacy.util.load_model_from_config(config, auto_fill=True).config
        train(init_nlp(config), Path(name))


if __name__ == "__main__":
    main()
