"""Real launches: torchrun with two ranks, and loaders of data."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("torch")

from .test_processes import HEAD, train  # noqa: F401 - the fixture

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2")
LAUNCH = (*TORCHRUN, "--standalone")
LOOP = """
import torch, torch.distributed as dist

def loop():
    dist.init_process_group("gloo")
    total = torch.ones(1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    assert total.item() == 2
"""


def test_two_ranks_are_one_run(train, only_run) -> None:  # noqa: F811
    """9: N runs under DDP, N-1 of them empty."""
    train(LOOP + "somelearn.train(loop)\n", launcher=LAUNCH)

    run = only_run()
    assert (run.state, len(list(run.scan_history()))) == ("finished", 1)


def test_a_plain_loop_with_one_line_on_rank_0(train, only_run) -> None:  # noqa: F811
    train(
        """
import torch, torch.distributed as dist, tracker
dist.init_process_group("gloo")
if tracker.rank() == 0:
    tracker.init(project="plain")
for step in range(3):
    loss = torch.ones(1)
    dist.all_reduce(loss)
    if tracker.rank() == 0:
        tracker.log({"loss": loss / (step + 1)})
""",
        launcher=LAUNCH,
    )

    assert [row["loss"] for row in only_run().scan_history()] == [2.0, 1.0, pytest.approx(2 / 3)]


@pytest.mark.parametrize("is_named", [False, True])
def test_an_elastic_restart_keeps_the_run(is_named: bool, train, only_run) -> None:  # noqa: F811
    """A launch by its name; without one by the process that launches, where all ranks are on one machine."""
    code = """
count = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
assert (os.environ["TORCHELASTIC_RUN_ID"] != "none") == (len(sys.argv) > 1)
somelearn.train(lambda: 1 / 0 if count == 0 and os.environ["RANK"] == "0" else loop(), step=count)
"""
    named = ("--rdzv-id=job", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0")
    launcher = (*TORCHRUN, "--max-restarts=1", *(named if is_named else (f"--master-port={_free_port()}",)))
    train(LOOP + code, *(["named"] if is_named else []), launcher=launcher)

    run = only_run()
    assert (run.state, [row["_step"] for row in run.scan_history()]) == ("finished", [1])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loaders_of_data_have_no_runs(method: str, train, only_run) -> None:  # noqa: F811
    """They come and go while the training goes on, with all the environment of the program."""
    train(f"""
import torch

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        somelearn.score()
        return index

def epochs():
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=4, num_workers=2, multiprocessing_context={method!r})
    assert sum(int(batch.sum()) for _ in range(2) for batch in loader) == 56

if __name__ == "__main__":
    somelearn.train(epochs)
""")

    assert set(only_run().summary) == {"loss", "pid"}


def test_spawned_ranks_log_to_the_run_above(train, only_run) -> None:  # noqa: F811
    train("""
import torch.multiprocessing

def work(index):
    os.environ.update(RANK=str(index), WORLD_SIZE="2", LOCAL_RANK=str(index), LOCAL_WORLD_SIZE="2")
    somelearn.train(step=1 + index)

def both():
    torch.multiprocessing.spawn(work, nprocs=2)

if __name__ == "__main__":
    somelearn.train(both)
""")

    assert [row["_step"] for row in only_run().scan_history()] == [0, 1]
