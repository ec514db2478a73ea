"""Scripts as users write them, each in a process of its own: no import of ours, several processes, and sudden ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.core.query import Run as ReadRun

from .test_training import points

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]
Script = Callable[..., subprocess.CompletedProcess[str]]

HERE = Path(__file__).parent
# What a user would write; only the tiny model comes from here.
USERS = f"""
    import os, sys
    sys.path.insert(0, {str(HERE)!r})
    import tiny
    from pathlib import Path

    data = tiny.labelled()
"""
TRAIN = f"""{USERS}
    trainer = tiny.trainer(
        Path("."), train_dataset=data, eval_dataset=tiny.labelled(20, 1), eval_strategy="epoch", num_train_epochs=2,
        max_steps=-1, save_strategy="epoch", report_to=REPORT,
    )
    trainer.train()
    print(*[type(one).__name__ for one in trainer.callback_handler.callbacks])
"""


@pytest.mark.parametrize("report_to", ["'tracker'", "'all'"])
def test_the_name_is_known_without_an_import_of_ours(script: Script, only_run: OnlyRun, report_to: str) -> None:
    done = script(TRAIN.replace("REPORT", report_to), TRACKER_PROJECT="films")
    run = only_run()

    assert "TrackerCallback" in done.stdout
    assert (run.project, run.state, sorted(points(run, "train/loss"))) == ("films", "finished", list(range(1, 9)))
    assert sorted(points(run, "eval/loss")) == [4, 8]


def test_nobody_is_tracked_who_has_not_asked(script: Script, read: Read) -> None:
    """8.1 #22; 8.2, 16594, 39878, trl#4249."""
    done = script(TRAIN.replace("REPORT", "'none'"))

    assert "TrackerCallback" not in done.stdout
    assert read() == []


@pytest.mark.parametrize("wish", ["1", "transformers"])
def test_autologging_needs_only_the_variable(script: Script, only_run: OnlyRun, wish: str) -> None:
    script(TRAIN.replace("REPORT", "'none'"), TRACKER_AUTOLOG=wish)
    run = only_run()

    assert sorted(points(run, "train/loss")) == list(range(1, 9))
    assert len(run.table("eval/predictions")) == 40
    assert len(run.logged_artifacts()) == 2
    assert run.config["args"]["num_train_epochs"] == 2


def test_autologging_of_others_is_not_ours(script: Script, read: Read) -> None:
    script(TRAIN.replace("REPORT", "'none'"), TRACKER_AUTOLOG="xgboost")

    assert read() == []


def test_autologging_and_a_reporter_log_once(script: Script, only_run: OnlyRun) -> None:
    done = script(TRAIN.replace("REPORT", "'tracker'"), TRACKER_AUTOLOG="1")

    assert done.stdout.count("TrackerCallback") == 1
    assert sorted(points(only_run(), "train/loss")) == list(range(1, 9))


@pytest.mark.parametrize(
    "order",
    [
        "import transformers.trainer; import tracker",
        "import transformers; from transformers import Trainer, TrainingArguments; import tracker",
    ],
)
def test_without_the_start_up_hook_an_import_is_enough(script: Script, only_run: OnlyRun, order: str) -> None:
    """`python -S`, other environments: what is loaded already is patched."""
    code = f"""
    import sys
    sys.meta_path[:] = [one for one in sys.meta_path if getattr(one, "__module__", "") != "_tracker_hook"]
    sys.modules.pop("_tracker_hook", None)
    {order}
    """
    script(code + TRAIN.replace("REPORT", "'all'"))

    assert sorted(points(only_run(), "train/loss")) == list(range(1, 9))


def test_autolog_in_the_script_comes_late_and_works(script: Script, only_run: OnlyRun) -> None:
    code = f"{USERS}\n    import tracker\n    tracker.autolog('transformers', log_models=False)\n"
    script(code + TRAIN.replace("REPORT", "'none'"))

    assert sorted(points(only_run(), "train/loss")) == list(range(1, 9))
    assert len(only_run().logged_artifacts()) == 0


def test_two_processes_make_one_run_and_lose_no_point(script: Script, only_run: OnlyRun) -> None:
    """8.1 #9: N runs under DDP, all but one of them empty."""
    code = TRAIN.replace("REPORT", "'tracker'").replace("max_steps=-1,", "max_steps=-1, ddp_backend='gloo',")
    done = script(
        code + "\n    trainer.evaluate()\n", launcher=("-m", "torch.distributed.run", "--nproc-per-node=2"),
        TRACKER_X_DISABLE_STATS="false",
    )  # fmt: skip
    run = only_run()
    rows = run.table("eval/predictions").rows()
    (first, *_) = versions = sorted(run.logged_artifacts(), key=lambda one: one.version)

    assert done.stdout.count("TrackerCallback") == 2
    assert sorted(points(run, "train/loss")) == [1, 2, 3, 4]  # two processes: half as many steps
    assert sorted(points(run, "eval/loss")) == [2, 4]
    assert run.config["training"]["world_size"] == 2
    assert run.state == "finished"
    # This rank's batches: the first and the third of each two.
    assert [row["index"] for row in rows if row["step"] == 2] == [*range(8), *range(16, 20)]
    assert len(versions) == 2
    for version in versions:  # what the other rank has written is in it
        assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= {file.path for file in version.files()}
    assert "checkpoint-2" in first.aliases


def test_a_training_that_was_killed_goes_on_in_its_run(script: Script, only_run: OnlyRun, tmp_path: Path) -> None:
    """8.1 #10, 8.2 mistral#27: one run, a continuous curve, and no step shown twice."""
    code = f"""{USERS}
    import signal, transformers

    class Killed(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 7 and os.environ.get("KILLED"):
                os.kill(os.getpid(), signal.SIGKILL)

    trainer = tiny.trainer(
        Path("."), train_dataset=data, max_steps=10, save_strategy="steps", save_steps=4, report_to="tracker",
        callbacks=[Killed()], logging_steps=1,
    )
    trainer.train(resume_from_checkpoint=not os.environ.get("KILLED"))
    """
    script(code, code_expected=-signal.SIGKILL, KILLED="1")
    killed = points(only_run(), "train/loss")
    assert sorted(killed) == [1, 2, 3, 4, 5, 6]  # all that was reported before
    script(code)
    run = only_run()
    losses = points(run, "train/loss")

    assert sorted(losses) == list(range(1, 11))
    assert len(list(run.scan_history(keys=["train/loss"]))) == 10
    assert [losses[step] for step in (1, 2, 3, 4)] == [killed[step] for step in (1, 2, 3, 4)]
    assert run.state == "finished"
    aliases: list[list[str]] = [sorted(one.aliases) for one in run.logged_artifacts()]
    assert sorted(aliases) == [["checkpoint-10", "latest"], ["checkpoint-4"], ["checkpoint-8"]]
    assert [sorted(one.aliases) for one in run.used_artifacts()] == [["checkpoint-4"]]


def test_an_uncaught_exception_is_told_of(script: Script, only_run: OnlyRun) -> None:
    code = f"""{USERS}
    class Broken(tiny.Trainer):
        def training_step(self, *args, **kwargs):
            raise ValueError("no more")

    tiny.trainer(Path("."), kind=Broken, report_to="tracker").train()
    """
    script(code, code_expected=1)

    assert only_run().state == "failed"


def test_search_trials_are_runs_of_one_group(script: Script, read: Read) -> None:
    """8.1 #27; 8.2, 11944: trials piled up in one run."""
    pytest.importorskip("optuna")
    code = f"""{USERS}
    import optuna, tracker
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mine = tracker.init(name="mine") if os.environ.get("MINE") else None
    trainer = tiny.trainer(
        Path("."), model_init=lambda trial: tiny.classifier(), train_dataset=data, eval_dataset=tiny.labelled(8, 1),
        max_steps=3, eval_strategy="steps", eval_steps=3, report_to="tracker", run_name="films",
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {{"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)}},
        n_trials=3, direction="minimize", backend="optuna", hp_name=lambda trial: f"try {{trial.number}}",
    )
    if mine:
        assert tracker.run is mine
        tracker.log({{"best": best.objective}})
    """
    script(code, MINE="1")
    found = read()
    mine = next(run for run in found if run.name == "mine")
    trials = [run for run in found if run is not mine]
    groups = {run.group for run in trials}

    assert [run.name for run in trials] == ["try 0", "try 1", "try 2"]
    assert len(groups) == 1 and str(groups.pop()).startswith("films-")
    assert all(sorted(points(run, "train/loss")) == [1, 2, 3] for run in trials)
    assert all(run.config["trial"]["learning_rate"] == run.config["args"]["learning_rate"] for run in trials)
    assert len({run.config["trial"]["learning_rate"] for run in trials}) == 3
    assert {run.state for run in found} == {"finished"}
    assert points(mine, "train/loss") == {}
    assert next(iter(points(mine, "best").values())) == min(run.summary["eval/loss"] for run in trials)


def test_trials_that_are_pruned_have_not_failed(script: Script, read: Read) -> None:
    pytest.importorskip("optuna")
    code = f"""{USERS}
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trainer = tiny.trainer(
        Path("."), model_init=lambda trial: tiny.classifier(), train_dataset=data, eval_dataset=tiny.labelled(8, 1),
        max_steps=3, eval_strategy="steps", eval_steps=1, report_to="tracker",
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {{"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1)}},
        n_trials=2, direction="minimize", backend="optuna", pruner=optuna.pruners.ThresholdPruner(upper=0.0),
        catch=(),
    )
    """
    done = script(code, code_expected=None)
    assert done.returncode in (0, 1)  # there is no best trial where all were pruned

    assert [(run.state, run.summary["pruned"]) for run in read()] == [("finished", True)] * 2
