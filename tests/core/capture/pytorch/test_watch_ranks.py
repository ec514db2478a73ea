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
KEYS = ("grad_norm/total", "grad_norm/0.weight", "param_norm/0.weight", "update_ratio/0.weight", "dead_units/0.weight")


def together(scenario: str, root: Path, world: int = 2) -> tuple[list[dict[str, float]], str]:
    """Run the ranks, and answer what is true, as rank 0 tells it, and what it said."""
    meeting = root.with_name("meeting")
    ranks = [
        subprocess.Popen(
            [sys.executable, SCRIPT, scenario, str(rank), str(world), meeting, root],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        answers = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * world, answers
    return json.loads(answers[0][0].splitlines()[-1]), answers[0][1]


def told(row: dict[str, Any]) -> dict[str, float]:
    """Answer what a row tells."""
    return {key: row[key] for key in KEYS if key in row}


def near(truth: dict[str, float]) -> dict[str, Any]:
    """Answer what equals the truth in float32."""
    return {key: pytest.approx(truth[key], rel=1e-4) for key in KEYS}


@pytest.mark.parametrize("scenario", ["ddp", "no run elsewhere", "disabled elsewhere", "copies"])
def test_norms_are_those_of_the_whole_model(scenario: str, tmp_path: Path) -> None:
    """Gradients averaged by DDP; shards of FSDP2 on ranks without a run, and with a disabled one; copies of shards."""
    truth, _ = together(scenario, tmp_path / "runs")

    (run,) = read_runs(tmp_path / "runs")
    assert run["status"] == "finished"
    assert len(run["history"]) == 3
    for row, true in zip(run["history"], truth, strict=True):
        assert told(row) == near(true)
        assert row["gradients/0.weight"]["counted"] == (42 if scenario in ("ddp", "copies") else 24)


def test_every_rank_with_a_run_knows_the_whole(tmp_path: Path) -> None:
    """Three ranks, of which the last one holds least."""
    truth, _ = together("every rank has a run", tmp_path / "runs", world=3)

    runs = read_runs(tmp_path / "runs")
    assert sorted(run["id"] for run in runs) == ["rank0", "rank1", "rank2"]
    for run in runs:
        assert [told(row) for row in run["history"]] == [near(true) for true in truth]


def test_a_rank_that_does_not_watch_costs_only_the_norms(tmp_path: Path) -> None:
    """Nothing hangs; the histograms are there, and it is not pretended that a part were the whole."""
    together("alone", tmp_path / "runs")

    (run,) = read_runs(tmp_path / "runs")
    assert len(run["history"]) == 3
    for row in run["history"]:
        assert row["gradients/0.weight"]["counted"] == 24
        assert told(row) == {}
