"""Programs as they are started: by name, by torchrun, killed and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LOOP = """
import os
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def test_a_script_needs_nothing_but_the_variable(script: Any, only_run: Callable[[], Any]) -> None:
    """No import of ours; the run ends as the program does."""
    script(LOOP, TRACKER_AUTOLOG="1")

    run = only_run()
    rows = run.history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3, 4, 5]
    assert set(rows[0]) >= {"optimizer/loss", "optimizer/lr", "optimizer/grad_norm"}
    assert run.state == "finished"
    assert run.config["model"]["class"] == "Linear"


def test_a_script_that_did_not_ask_has_no_run(script: Any, read: Callable[[], list[Any]]) -> None:
    """8.1 #22: never without being asked; and another framework's name is no asking."""
    script(LOOP)
    script(LOOP, TRACKER_AUTOLOG="xgboost")
    script(LOOP, TRACKER_AUTOLOG="-torch")

    assert read() == []


def test_a_script_that_fails_leaves_a_failed_run(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #14: it says why."""
    script(LOOP + "raise ValueError('out of luck')\n", TRACKER_AUTOLOG="torch", code_expected=1)

    run = only_run()
    assert run.state == "failed"
    assert len(run.history(pandas=False)) == 5


def test_workers_of_a_data_loader_are_no_trainings(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #8: forked workers neither log nor hang."""
    script(
        """
        import torch

        class Numbers(torch.utils.data.Dataset):
            def __len__(self):
                return 12
            def __getitem__(self, index):
                return torch.full((4,), float(index))

        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
        for _ in range(2):
            for batch in torch.utils.data.DataLoader(Numbers(), batch_size=4, num_workers=2):
                loss = model(batch).pow(2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        """,
        TRACKER_AUTOLOG="1",
    )

    run = only_run()
    assert (run.state, [row["optimizer/step"] for row in run.history(pandas=False)]) == ("finished", [*range(1, 7)])


DATA_PARALLEL = """
import os
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
dist.destroy_process_group()
"""
RUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_two_ranks_make_one_run(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #9: N processes, one run, no empty one beside it, no point twice."""
    script(DATA_PARALLEL, launcher=RUN, TRACKER_AUTOLOG="1")

    run = only_run()
    rows = run.history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3, 4, 5]
    assert run.state == "finished"
    assert run.config["model"]["parameters"] == 5


def test_a_restarted_launch_keeps_its_run(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #10: the process dies, torchrun starts it anew, and the one run goes on behind the five steps it had."""
    dies = 'if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":\n    os._exit(3)\n'
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "--max-restarts=1")
    script(LOOP + dies, launcher=launcher, TRACKER_AUTOLOG="1")

    run = only_run()
    assert run.state == "finished"
    assert [row["optimizer/step"] for row in run.history(pandas=False)] == [*range(1, 11)]


def test_a_killed_loop_loses_nothing(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #12: what was logged is there, and the state says what has become of it."""
    script(LOOP + "os.kill(os.getpid(), 9)\n", TRACKER_AUTOLOG="1", code_expected=-9)

    run = only_run()
    assert [row["optimizer/step"] for row in run.history(pandas=False)] == [1, 2, 3, 4, 5]
    assert run.state == "crashed"


def test_gradients_that_are_spread_over_ranks(script: Any, only_run: Callable[[], Any]) -> None:
    """A norm would need all ranks: it is left out, and no rank waits for another because of us."""
    script(
        """
        import torch
        import torch.distributed as dist
        from torch.distributed.fsdp import fully_shard

        dist.init_process_group("gloo")
        torch.manual_seed(0)
        model = fully_shard(torch.nn.Linear(4, 2), mesh=dist.init_device_mesh("cpu", (2,)))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            loss = model(torch.randn(8, 4)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        dist.destroy_process_group()
        """,
        launcher=RUN,
        TRACKER_AUTOLOG="1",
    )

    rows = only_run().history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3]
    assert all("optimizer/loss" in row and "optimizer/grad_norm" not in row for row in rows)
