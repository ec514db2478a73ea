"""A folder of runs, read directly and through a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def serving(root: Path, cache: Path) -> Iterator[str]:
    """Start a server that shows a folder; answer its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TRACKER_CACHE_DIR": str(cache)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http"))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the runs."""
    root = tmp_path / "runs"
    make_runs(root)
    return root


@pytest.fixture
def server(root: Path, home: Path) -> Iterator[str]:
    """The address of a server that shows the folder, with the index that an `Api` of the folder uses too."""
    with serving(root, home / "cache") as url:
        yield url


@pytest.fixture(params=["folder", "server"])
def api(request: pytest.FixtureRequest, root: Path) -> Iterator[Api]:
    """An `Api` of the folder, and one of the server; what they show may be changed."""
    if request.param == "folder":
        with Api(dir=root) as api:
            yield api
        return
    with Api(base_url=request.getfixturevalue("server")) as api:
        wait_for(lambda: len(api.runs(filters={"state": "finished"})) == 6)
        yield api


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder that no test changes, and a server of it."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRACKER_", "WANDB_"))]:
            patch.delenv(name)
        patch.setenv("TRACKER_CONFIG_DIR", str(folder / "config"))
        make_runs(folder / "runs")
        with serving(folder / "runs", folder / "cache") as url:
            with Api(base_url=url) as api:
                wait_for(lambda: len(api.runs(filters={"state": "finished"})) == 6)
            yield folder / "runs", url


@pytest.fixture(params=["folder", "server"])
def reading(request: pytest.FixtureRequest, shared: tuple[Path, str]) -> Iterator[Api]:
    """An `Api` of the unchanging folder, and one of its server."""
    root, url = shared
    with Api(dir=root) if request.param == "folder" else Api(base_url=url) as api:
        yield api


def wait_for(holds: object, seconds: float = 20.0) -> None:
    """Wait until it holds."""
    import time

    until = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
