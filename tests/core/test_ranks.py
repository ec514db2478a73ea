"""Which of the processes that were launched together this one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import tracker
from tracker.core.ranks import launched_rank

WORKERS = {"worker": ["a:1", "b:1", "c:1"]}
CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has launched the tests."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def cluster(tasks: dict[str, list[str]], kind: str, index: int) -> str:
    """Answer what TensorFlow's launchers put into TF_CONFIG."""
    return json.dumps({"cluster": tasks, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        (cluster(WORKERS, "worker", 0), 0),
        (cluster(WORKERS, "worker", 2), 2),
        (cluster(CHIEF, "chief", 0), 0),
        (cluster(CHIEF, "worker", 0), 1),
        (cluster(CHIEF, "worker", 1), 2),
        (cluster(CHIEF, "ps", 0), 3),
        (cluster(CHIEF, "evaluator", 0), 4),
        (cluster({"ps": ["d:1"]}, "ps", 0), 1),
        (cluster({}, "evaluator", 0), 1),
        (json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": "1"}}), 1),
        (json.dumps({"cluster": WORKERS}), 0),
        ("{}", 0),
        ("[1]", 0),
        ("no json", 0),
        ("", 0),
    ],
)
def test_tensorflow_says_it_in_its_own_way(config: str, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chief is the first, or worker 0 without one; parameter servers and evaluators never are."""
    monkeypatch.setenv("TF_CONFIG", config)

    assert tracker.rank() == rank


def test_a_launcher_is_believed_before_tensorflows_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some platforms set TF_CONFIG for every job, whatever it trains with."""
    monkeypatch.setenv("TF_CONFIG", cluster(WORKERS, "worker", 2))
    monkeypatch.setenv("RANK", "0")

    assert tracker.rank() == 0


def test_json_is_loaded_only_where_there_is_a_cluster() -> None:
    code = "import tracker, sys; assert tracker.rank() == 0; print('json' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, timeout=60)

    assert done.stdout == "False\n"


def test_a_process_alone_has_no_rank_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed by the first of several bears its rank; what is printed by one alone bears none."""
    assert launched_rank() is None
    monkeypatch.setenv("TF_CONFIG", cluster({"worker": ["a:1"]}, "worker", 0))
    assert launched_rank() is None
    monkeypatch.setenv("TF_CONFIG", cluster(WORKERS, "worker", 0))
    assert launched_rank() == 0
    monkeypatch.setenv("RANK", "3")
    assert launched_rank() == 3
