"""SageMaker's files, as its documentation has them; who the runs are is tested in tests/core/test_platforms.py."""

from __future__ import annotations

import json
from pathlib import Path

from tracker.integrations.sagemaker import hyperparameters


def test_hyperparameters_are_values_again(tmp_path: Path) -> None:
    file = tmp_path / "hyperparameters.json"
    file.write_text(json.dumps({"lr": "0.1", "name": '"tiny"', "plain": "a text", "sagemaker_region": '"eu"'}))

    assert hyperparameters(file) == {"lr": 0.1, "name": "tiny", "plain": "a text"}


def test_outside_of_a_job_there_are_none(tmp_path: Path) -> None:
    assert hyperparameters(tmp_path / "nothing.json") == {}
