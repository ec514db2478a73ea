"""One sampler for each node: what launchers tell, and who is elected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.core.capture.nodes import Election, election_key, local_rank, local_size, node_label

TORCHRUN = {"LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "n0", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x"}
HOLDER = """
import sys, time
from tracker.core.capture.nodes import Election
election = Election(sys.argv[1], 0, 0.0)
print(election.holds(0.0), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks lie in the system's folder for temporary files; here, in one of the test's own."""
    import tempfile

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def holder(key: str) -> subprocess.Popen[str]:
    """Start a process that is elected, and stays so until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    return child


@pytest.mark.parametrize(
    ("environ", "rank", "size"),
    [
        ({}, 0, 1),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}, 3, 8),
        ({"SLURM_LOCALID": "2", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, 2, 4),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, 1, 2),
        ({"LOCAL_RANK": "", "SLURM_LOCALID": "x"}, 0, 1),
    ],
)
def test_launchers_tell_the_rank_on_the_node(environ: dict[str, str], rank: int, size: int) -> None:
    """Each in variables of its own."""
    assert (local_rank(environ), local_size(environ)) == (rank, size)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "GROUP_RANK": "0"}, ""),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "GROUP_RANK": "1"}, "node1"),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "12"}, "node1"),
        ({"SLURM_NNODES": "1", "SLURM_NODEID": "0"}, ""),
        ({"SLURM_NNODES": "4", "SLURM_NODEID": "2"}, "node2"),
        ({"SLURM_NNODES": "4", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_RANK": "3"}, "node1"),
    ],
)
def test_nodes_have_labels_only_where_there_are_several(environ: dict[str, str], expected: str) -> None:
    """Charts of one machine stay plain."""
    assert node_label(environ) == expected
    assert node_label(environ, "rack/7") == "rack-7"


def test_processes_of_one_launch_are_one_job() -> None:
    """Whether they write one run or one each; others have at most the run in common."""
    assert election_key({**TORCHRUN, "LOCAL_RANK": "0"}, "/a") == election_key({**TORCHRUN, "LOCAL_RANK": "3"}, "/b")
    assert election_key(TORCHRUN, "/a") != election_key({**TORCHRUN, "MASTER_PORT": "1"}, "/a")
    assert election_key({}, "/a") != election_key({}, "/b")
    assert election_key({"SLURM_JOB_ID": "5", "SLURM_LOCALID": "0"}, "/a") == "/a"  # scripts side by side in a shell


def test_one_process_is_elected_and_its_death_ends_it() -> None:
    """Even by SIGKILL: the lock is the process's, and the next one to look takes over."""
    first = holder("a run")
    second = Election("a run", 0, 0.0)

    before = second.holds(0.0)
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    too_early = second.holds(1.0)
    after = second.holds(20.0)
    second.resign()

    assert (before, too_early, after) == (False, False, True)


def test_a_process_that_ends_makes_room() -> None:
    """And leaves no file behind."""
    first = holder("a run")
    second = Election("a run", 0, 0.0)
    before = second.holds(0.0)
    first.communicate("", timeout=30)

    after = second.holds(20.0)
    second.resign()

    assert (before, after) == (False, True)
    assert not [name for folder in Path(os.environ["TMPDIR"]).iterdir() for name in os.listdir(folder)]


def test_in_one_process_one_run_is_elected() -> None:
    """Two runs of one job at a time; the second takes over when the first has ended."""
    first, second, other = Election("job", 0, 0.0), Election("job", 0, 0.0), Election("another", 0, 0.0)

    held = [first.holds(0.0), second.holds(0.0), other.holds(0.0)]
    first.resign()
    later = second.holds(20.0)
    second.resign()
    other.resign()

    assert held == [True, False, True]
    assert later is True


def test_other_ranks_let_the_first_one_begin() -> None:
    """But where rank 0 has no run, another samples in its place."""
    election = Election("job", 3, 100.0)

    assert [election.holds(now) for now in (100.0, 102.0, 105.0)] == [False, False, True]
    election.resign()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_keep_the_election() -> None:
    """Data loaders outlive a killed training by seconds; the lock does not."""
    code = HOLDER.replace("sys.stdin.read()", "import os\nif os.fork() == 0: sys.stdin.read()\nelse: os._exit(0)")
    child = subprocess.Popen(
        [sys.executable, "-c", code, "job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    won = child.stdout.readline()
    child.wait(30)
    election = Election("job", 0, 0.0)

    taken = election.holds(0.0)
    election.resign()
    child.communicate("", timeout=30)

    assert (won, taken) == ("True\n", True)


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no lock to be had, and it is better to sample twice than not at all."""
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    election = Election("job", 0, 0.0)

    assert election.holds(0.0)
    assert not list(tmp_path.glob("**/*.lock"))
    election.resign()
