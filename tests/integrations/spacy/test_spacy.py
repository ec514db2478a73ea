"""spaCy: the smallest trainings by its own loop, and what came out of them."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import loop
from spacy.training.initialize import init_nlp
from spacy.util import load_config_from_str, registry

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import patching
from tracker.integrations import spacy as ours

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]

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
max_steps = 6
eval_frequency = 2
patience = 0
"""
LOGGER = """
[training.logger]
@loggers = "tracker.Logger.v1"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few labelled sentences."""
    nlp = spacy.blank("en")
    for name, count in (("train", 20), ("dev", 6)):
        docs = DocBin()
        for number in range(count):
            doc = nlp(["where is it", "there it is"][number % 2])
            doc.cats = {"ASK": float(number % 2 == 0), "TELL": float(number % 2)}
            docs.add(doc)
        docs.to_disk(tmp_path / f"{name}.spacy")
    return tmp_path


def train(folder: Path, logger: str = LOGGER, **overrides: Any) -> str:
    """Train as `spacy train` does, and answer what it prints."""
    given = {"paths.folder": str(folder), **overrides}
    config = load_config_from_str(CONFIG + logger, overrides=given)
    nlp = init_nlp(spacy.util.load_model_from_config(config, auto_fill=True).config)
    printed = io.StringIO()
    loop.train(nlp, folder, stdout=printed, stderr=printed)
    return printed.getvalue()


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def test_the_entry_point_is_installed() -> None:
    """SpaCy finds it by its name, with no import in the user's code."""
    assert registry.loggers.get("tracker.Logger.v1") is ours.tracker_logger


def test_evaluations_are_logged_and_printed(folder: Path, only_run: OnlyRun) -> None:
    printed = train(folder, LOGGER + 'project = "texts"\nrun_name = "first"\ntags = ["a", "b"]\n')
    tracker.finish()
    run = only_run()
    table = [line.split() for line in printed.splitlines() if line.strip()[:1].isdigit()]

    assert (run.project, run.name, run.tags, run.state) == ("texts", "first", ["a", "b"], "finished")
    assert list(rows(run, "score")) == [0, 2, 4, 6]
    assert [int(line[1]) for line in table] == [0, 2, 4, 6]
    assert [float(line[-1]) for line in table] == pytest.approx(list(rows(run, "score").values()), abs=0.01)
    assert rows(run, "loss_textcat")[6] > 0
    assert "cats_macro_auc" in run.summary
    assert run.summary["cats_f_per_type.ASK.f"] is not None


def test_the_config_is_the_config(folder: Path, only_run: OnlyRun) -> None:
    train(folder, LOGGER + 'remove_config_values = ["paths.folder", "corpora.train.path"]\n')
    tracker.finish()
    config = only_run().config

    assert config["training"]["max_steps"] == 6
    assert config["components"]["textcat"]["factory"] == "textcat"
    assert config["model"] == {"lang": "en", "pipeline": ["textcat"]}
    assert "folder" not in config["paths"]
    assert "path" not in config["corpora"]["train"]
    assert config["corpora"]["dev"]["path"] == f"{folder}/dev.spacy"


def test_the_model_of_each_evaluation_is_a_version(folder: Path, only_run: OnlyRun) -> None:
    """8.1 #17: spaCy writes over the folder each time; each version is what it was."""
    train(folder)
    tracker.finish()
    run = only_run()
    versions = list(run.logged_artifacts())
    (best,) = (version for version in versions if "best" in version.aliases)
    loaded = spacy.load(best.download())

    assert {version.metadata["step"] for version in versions} <= {0, 2, 4, 6}
    assert best.metadata["score"] == max(rows(run, "score").values())
    assert loaded.pipe_names == ["textcat"]


def test_a_training_that_raises_is_a_failed_run(
    folder: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []

    def evaluate(*_: Any) -> Any:
        def once() -> Any:
            evaluated.append(1)
            if len(evaluated) == 3:
                raise ValueError("the corpus is on fire")
            return 0.5, {"speed": 1.0, "cats_score": 0.5}

        return once

    monkeypatch.setattr(loop, "create_evaluation_callback", evaluate)
    with pytest.raises(ValueError, match="on fire"):
        train(folder)

    assert only_run().state == "failed"
    assert "on fire" in only_run().details["exit"]["reason"]


def test_a_training_inside_a_handler_is_no_failure(folder: Path, only_run: OnlyRun) -> None:
    """8.1 #14: that another exception is being handled says nothing of this training."""
    try:
        raise KeyError("of before")
    except KeyError:
        train(folder)
    tracker.finish()

    assert only_run().state == "finished"


def test_a_fault_of_ours_does_not_end_the_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7."""
    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(ours, "_remove", lambda *_: {}["nothing"])
    printed = train(folder, LOGGER + 'remove_config_values = ["paths.folder"]\n')

    assert "100" in printed or "50" in printed
    assert "_begin failed" in caplog.text


def test_the_users_own_run_stays_open(folder: Path, only_run: OnlyRun) -> None:
    with tracker.init() as run:
        train(folder)
        assert run.state == "running"

    assert list(rows(only_run(), "score")) == [0, 2, 4, 6]


def test_trainings_in_a_loop_are_runs_of_their_own(folder: Path, read: Read) -> None:
    """8.1 #20."""
    train(folder)
    train(folder)
    tracker.finish()

    assert [list(rows(run, "score")) for run in read()] == [[0, 2, 4, 6]] * 2


def test_autologging_takes_trainings_with_any_logger_once(folder: Path, read: Read) -> None:
    """8.1 #22: only where it is asked for."""
    ours._autolog(loop)
    train(folder, "")
    assert read() == []
    patching.ask(["spacy"], True)
    train(folder, "")
    train(folder, LOGGER + 'project = "own"\n')
    tracker.finish()
    patching.unwrap()
    train(folder, "")

    assert [(run.project, list(rows(run, "score"))) for run in read()] == [
        ("uncategorized", [0, 2, 4, 6]),
        ("own", [0, 2, 4, 6]),
    ]


def test_autologging_tells_a_failure(folder: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    ours._autolog(loop)
    patching.ask(["spacy"], True)

    def broken(*_: Any) -> Any:
        raise ValueError("nothing to evaluate on")

    monkeypatch.setattr(loop, "create_evaluation_callback", lambda *_: broken)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        train(folder, "")

    assert only_run().state == "failed"


def test_the_command_logs_with_no_change(
    folder: Path, script: Callable[..., subprocess.CompletedProcess[str]], only_run: OnlyRun
) -> None:
    """`spacy train`, with the hook and the environment alone."""
    config = load_config_from_str(CONFIG, overrides={"paths.folder": str(folder)})
    spacy.util.load_model_from_config(config, auto_fill=True).config.to_disk(folder / "config.cfg")
    script(
        f"from spacy.cli import app\napp(['train', {str(folder / 'config.cfg')!r}, '--output', {str(folder)!r}])",
        TRACKER_AUTOLOG="1",
    )

    assert only_run().state == "finished"
    assert list(rows(only_run(), "score")) == [0, 2, 4, 6]
