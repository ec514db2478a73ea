"""Several processes: one run and no lost point, whoever starts them; killed, and gone on with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun

from .net import NET, curve

OnlyRun = Callable[[], ReadRun]
Script = Callable[..., subprocess.CompletedProcess[str]]

TRAIN = f"""
import os, sys
import lightning.pytorch as pl
{NET}

def main():
    trainer = pl.Trainer(logger={{logger}}, strategy={{strategy}}, devices=2, max_epochs=2, num_sanity_val_steps=0, **QUIET)
    model = Net()
    trainer.fit(model, data(), data())
    print("place", trainer.global_rank, trainer.logger.name, trainer.logger.version, flush=True)
    trainer.test(model, data())


if __name__ == "__main__":
    main()
"""
STEPS = list(range(4))  # two batches of 8 for each of two ranks, twice
GLOO = 'pl.strategies.DDPStrategy(process_group_backend="gloo")'


def port() -> str:
    """Answer a port that is free."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def check(run: ReadRun) -> None:
    """Assert that nothing is missing, and nothing there twice."""
    assert [step for step, _ in curve(run)] == STEPS
    assert [step for step, _ in curve(run, "val_loss")] == [1, 3]
    assert [step for step, _ in curve(run, "test_loss")] == [4]
    assert run.config["lightning"]["trainer"]["world_size"] == 2
    assert {"lr-Adam", "grad_norm/total"} <= set(run.summary)
    assert len(run.table("validate/predictions").rows()) == 2 * 16
    assert [artifact.metadata["step"] for artifact in run.logged_artifacts()] == [2, 4]
    assert run.state == "finished"


@pytest.mark.parametrize("logger", ['"tracker"', "True"], ids=["by name", "by itself"])
def test_two_ranks_of_torchrun_are_one_run(logger: str, script: Script, only_run: OnlyRun) -> None:
    """8.1 #9, #28; 8.3, Lightning#11380, #11602, #20774, #17573: neither one for each rank, nor empty ones."""
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port()}")
    done = script(
        TRAIN.format(logger=logger, strategy=GLOO),
        launcher=launcher,
        **({"TRACKER_AUTOLOG": "1"} if logger == "True" else {}),
    )
    run = only_run()

    check(run)
    if logger == '"tracker"':  # the same place for checkpoints on both
        places = {line.split()[1]: line.split()[2:] for line in done.stdout.splitlines() if line.startswith("place")}
        assert places == {rank: ["uncategorized", run.id] for rank in "01"}


def test_children_that_lightning_starts_are_one_run(script: Script, only_run: OnlyRun) -> None:
    script(TRAIN.format(logger='"tracker"', strategy=GLOO))

    check(only_run())


def test_spawned_processes_are_one_run(script: Script, only_run: OnlyRun) -> None:
    """ddp_spawn pickles the logger, for `fit` and for `test` again; ray_lightning#155."""
    strategy = 'pl.strategies.DDPStrategy(process_group_backend="gloo", start_method="spawn")'
    done = script(TRAIN.format(logger='"tracker"', strategy=strategy))
    (place,) = (line.split() for line in done.stdout.splitlines() if line.startswith("place"))

    check(only_run())
    assert place[2:] == ["uncategorized", only_run().id]


def test_spawned_processes_go_on_with_the_users_run(script: Script, only_run: OnlyRun) -> None:
    strategy = 'pl.strategies.DDPStrategy(process_group_backend="gloo", start_method="spawn")'
    begin = 'import tracker\n    run = tracker.init(id="mine", project="p")\n    run.log({"before": 1}, step=0)\n    trainer ='
    code = TRAIN.format(logger='"tracker"', strategy=strategy).replace("trainer =", begin, 1)
    script(code.replace("trainer.test(model, data())", 'trainer.test(model, data()); run.log({"after": 1}, step=9)'))

    assert only_run().id == "mine"
    check(only_run())
    assert {"before", "after"} <= set(only_run().summary)


def test_a_logger_used_before_the_children_start_is_their_run(script: Script, only_run: OnlyRun) -> None:
    strategy = 'pl.strategies.DDPStrategy(process_group_backend="gloo", start_method="spawn")'
    code = TRAIN.format(logger='"tracker"', strategy=strategy)
    script(code.replace("    model = Net()", '    model = Net(); trainer.logger.experiment.config["early"] = 1', 1))

    assert only_run().config["early"] == 1
    check(only_run())


KILLED = f"""
import os, signal, sys
import lightning.pytorch as pl
{NET}

class Killed(Net):
    def training_step(self, batch, index):
        if os.environ.get("KILL_AT") == str(self.trainer.global_step):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, index)


saving = pl.callbacks.ModelCheckpoint("kept", every_n_train_steps=5, save_top_k=-1)
trainer = pl.Trainer(callbacks=[saving], max_epochs=5, **{{**QUIET, **{{options}}}})
torch.manual_seed(int(os.environ.get("SEED", 0)))
trainer.fit(Killed(), data(), data(), ckpt_path=os.environ.get("CKPT"))
"""


@pytest.mark.parametrize("idiom", ["autolog", "name", "object"])
def test_a_killed_training_goes_on_in_its_run(idiom: str, script: Script, only_run: OnlyRun, tmp_path: Path) -> None:
    """8.1 #10; 8.3, Lightning#2102, #16207: one run, a continuous curve, no step twice."""
    options = {"autolog": "{}", "name": '{"logger": "tracker"}', "object": '{"logger": T(project="p")}'}[idiom]
    code = KILLED.replace("{options}", options)
    if idiom == "object":
        code = "from tracker.integrations.lightning import TrackerLogger as T\n" + code
    variables = {"TRACKER_AUTOLOG": "1"} if idiom == "autolog" else {}
    script(code, code_expected=-signal.SIGKILL, KILL_AT="13", **variables)
    before = dict(curve(only_run()))
    assert list(before) == list(range(13))
    assert only_run().state == "crashed"

    script(code, CKPT=str(tmp_path / "kept" / "epoch=2-step=10.ckpt"), SEED="1", **variables)
    run = only_run()
    after = curve(run)

    assert [step for step, _ in after] == list(range(20))
    assert {step: value for step, value in after if step <= 9} == {step: before[step] for step in range(10)}
    assert run.state == "finished"
    steps = [row["_step"] for row in run.scan_history()]
    assert steps == sorted(set(steps))
    # What the kill has interrupted is completed by the next start, in any order.
    assert sorted(artifact.metadata["step"] for artifact in run.logged_artifacts()) == [5, 10, 15, 20]


def test_two_ranks_that_were_killed_go_on_in_their_run(script: Script, only_run: OnlyRun, tmp_path: Path) -> None:
    options = '{"logger": "tracker", "devices": 2, "strategy": pl.strategies.DDPStrategy(process_group_backend="gloo")}'
    code = KILLED.replace("{options}", options)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port()}")
    script(code, launcher=launcher, code_expected=None, KILL_AT="7")
    assert list(dict(curve(only_run()))) == list(range(7))
    launcher = (*launcher[:-1], f"--master-port={port()}")
    script(code, launcher=launcher, CKPT=str(tmp_path / "kept" / "epoch=2-step=5.ckpt"))

    assert [step for step, _ in curve(only_run())] == list(range(10))
    assert only_run().state == "finished"


def test_an_interrupt_from_the_keyboard_ends_the_run(runs: Path, only_run: OnlyRun, tmp_path: Path) -> None:
    """8.3, SwanLab#1261: sent by a terminal to a whole program."""
    code = KILLED.replace("{options}", '{"logger": "tracker"}').replace("signal.SIGKILL", "signal.SIGINT")
    (tmp_path / "train.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env={**os.environ, "KILL_AT": "3"}, capture_output=True, timeout=300
    )

    assert done.returncode == 1
    assert only_run().state == "killed"


def test_a_job_that_is_queued_again_is_preempted_not_failed(tmp_path: Path, only_run: OnlyRun) -> None:
    """Slurm's signal: Lightning says "finished" and asks for the job again."""
    from .net import Net, data, trainer

    class Requeued(Net):
        def training_step(self, batch: Any, index: int) -> Any:
            if index == 2:
                for logger in self.trainer.loggers:
                    logger.finalize("finished")
                raise SystemExit(143)
            return super().training_step(batch, index)

    with pytest.raises(SystemExit):
        trainer(tmp_path, max_epochs=1).fit(Requeued(), data(), data())

    assert only_run().state == "preempted"
    assert tracker.run is None
