"""A notebook's kernel, where the process outlives many trainings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .test_processes import FRAMEWORK, HEAD, PATCHES

manager = pytest.importorskip("jupyter_client.manager")


def test_each_training_of_a_notebook_is_a_run_and_evaluations_go_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read
) -> None:
    """20: a second training in a notebook goes on with the first one's run."""
    (tmp_path / "somelearn.py").write_text(FRAMEWORK)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "somelearn.py").write_text(PATCHES)
    for name, value in {"TRACKER_AUTOLOG": "1", "TMPDIR": str(tmp_path), "TRACKER_DISABLE_CODE": "1"}.items():
        monkeypatch.setenv(name, value)
    cells = [
        HEAD.replace(
            "import multiprocessing", "import sys; assert 'tracker' not in sys.modules\nimport multiprocessing"
        ),
        "somelearn.train()",
        "somelearn.score()",
        "somelearn.train(step=5)",
        "import tracker; run = tracker.init(project='mine')",
        "somelearn.train(step=6)",
        "assert run.state == 'running'",
    ]
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path), env=dict(os.environ))
    try:
        answers = [client.execute_interactive(cell, timeout=120, output_hook=lambda message: None) for cell in cells]
        client.execute_interactive("tracker.finish()", timeout=120, output_hook=lambda message: None)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel()

    assert [answer["content"]["status"] for answer in answers] == ["ok"] * len(cells)
    first, second, mine = read()
    assert [set(run.summary) for run in (first, second, mine)] == [
        {"loss", "pid", "score"},
        {"loss", "pid"},
        {"loss", "pid"},
    ]
    assert [(run.project, run.state) for run in (first, second, mine)] == [
        ("uncategorized", "finished"), ("uncategorized", "finished"), ("mine", "finished"),
    ]  # fmt: skip
