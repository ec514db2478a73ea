"""Several processes train one model: what is recorded is true of the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tracker.testing import read_runs

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("no gloo here", allow_module_level=True)

SCRIPT = Path(__file__).with_name("ranks.py")
KEYS = (
    "grad_norm/total",
    *(f"{section}/{layer}.weight" for section in ("grad_norm", "update_ratio") for layer in (0, 2)),
    "param_norm/0.weight",
    "dead_units/0.weight",
)


Truth = dict[str, list[dict[str, float]]]
SCENARIOS = ("ddp", "no run elsewhere", "disabled elsewhere", "copies", "alone")


def together(root: Path, world: int, *scenarios: str) -> Truth:
    """Run the ranks, and answer what is true, as rank 0 tells it."""
    ranks = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(world), root / "meeting", root, *scenarios],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        answers = [rank.communicate(timeout=300) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * world, answers
    truth: Truth = json.loads(answers[0][0].splitlines()[-1])
    return truth


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """Two ranks that have gone through all scenarios: the folder, and what is true."""
    root = tmp_path_factory.mktemp("pair")
    return root, together(root, 2, *SCENARIOS)


def told(row: dict[str, Any]) -> dict[str, float]:
    """Answer what a row tells."""
    return {key: row[key] for key in KEYS if key in row}


def near(truth: dict[str, float]) -> dict[str, Any]:
    """Answer what equals the truth in float32."""
    return {key: pytest.approx(truth[key], rel=1e-4) for key in KEYS}


@pytest.mark.parametrize("scenario", ["ddp", "no run elsewhere", "disabled elsewhere", "copies"])
def test_norms_are_those_of_the_whole_model(pair: tuple[Path, Truth], scenario: str) -> None:
    """Gradients averaged by DDP; shards of FSDP2 on ranks without a run, and with a disabled one; copies of shards."""
    (run,) = read_runs(pair[0] / scenario)

    assert run["status"] == "finished"
    assert [told(row) for row in run["history"]] == [near(true) for true in pair[1][scenario]]
    counted = [row["gradients/0.weight"]["counted"] for row in run["history"]]
    assert counted == [42 if scenario in ("ddp", "copies") else 24] * 3


def test_every_rank_with_a_run_knows_the_whole(tmp_path: Path) -> None:
    """Three ranks, of which the last one has no part of the second layer."""
    scenario = "every rank has a run"
    truth = together(tmp_path, 3, scenario)[scenario]

    runs = read_runs(tmp_path / scenario)
    assert sorted(run["id"] for run in runs) == ["rank0", "rank1", "rank2"]
    for run in runs:
        assert [told(row) for row in run["history"]] == [near(true) for true in truth]


def test_a_rank_that_does_not_watch_costs_only_the_norms(pair: tuple[Path, Truth]) -> None:
    """Nothing hangs; the histograms are there, and it is not pretended that a part were the whole."""
    (run,) = read_runs(pair[0] / "alone")

    assert [row["gradients/0.weight"]["counted"] for row in run["history"]] == [24] * 3
    assert [told(row) for row in run["history"]] == [{}] * 3
