"""A folder of runs, read directly and through a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker import Api
from tracker.core.current import leave

QUIET = {"silent": True}


def make_runs(root: Path) -> None:
    """Write five runs of one project, and one of another."""
    for number in range(5):
        with tracker.init(
            project="digits", dir=root, id=f"run{number}", name=f"name-{number}", tags=["even"] if number % 2 == 0 else None,
            config={"lr": 0.1 * number, "optim": {"name": "adam", "betas": [0.9, 0.99]}}, group="g", job_type="train",
            notes="a note", settings=QUIET, reinit="create_new",
        ) as run:  # fmt: skip
            run.define_metric("acc", summary="max")
            for step in range(20):
                run.log({"loss": 1 / (step + 1 + number), "acc": step}, step=step)
                if step % 5 == 0:
                    run.log({"val/loss": float("nan") if step == 10 else step / 10, "text": f"t{step}"}, step=step)
            run.summary["best"] = {"step": number}
            run.alert("done", "all is well")
    with tracker.init(project="other", entity="team", dir=root, id="one", settings=QUIET, reinit="create_new") as run:
        run.log({"loss": 1.0}, step=0.5)
        run.log({"loss": 2**70, "none": None, "flag": True}, step=1.5)
    leave(run)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the runs."""
    root = tmp_path / "runs"
    make_runs(root)
    return root


@pytest.fixture
def server(root: Path) -> Iterator[str]:
    """The address of a server that shows the folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http"))
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture(params=["folder", "server"])
def api(request: pytest.FixtureRequest, root: Path) -> Iterator[Api]:
    """An `Api` of the folder, and one of the server."""
    if request.param == "folder":
        with Api(dir=root) as api:
            yield api
        return
    with Api(base_url=request.getfixturevalue("server")) as api:
        wait_for(lambda: sum(project.runs for project in api.projects()) == 6)
        wait_for(lambda: all(run.state == "finished" for run in api.runs()))
        yield api


def wait_for(holds: object, seconds: float = 20.0) -> None:
    """Wait until it holds."""
    import time

    until = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
