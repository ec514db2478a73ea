"""What the tests of all integrations share: a place for runs, the one run read back, and scripts as users start them."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

import tracker
from tracker.core.artifacts.artifact import Artifact
from tracker.core.query import Run as ReadRun
from tracker.integrations import base, patching

LIMIT_SECONDS = 300
# What torch says when a rank of a gloo group aborts at its very end, or does not find the others after a restart: one
# time in ten here, also with TRACKER_DISABLED and no logger. Such a program is started again, from where it was.
ABORTED = ("terminate called without an active exception", "Gloo connectFullMesh failed")
ABORTS = 4


@pytest.fixture(autouse=True)
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a test's runs are kept in; whatever it leaves open is ended, and faults of ours are raised."""
    monkeypatch.setenv("TRACKER_STRICT", "1")
    monkeypatch.setenv("TRACKER_ARTIFACT_DIR", str(home / "artifacts"))
    monkeypatch.setenv("TRACKER_CONSOLE", "off")
    monkeypatch.setenv("TRACKER_SILENT", "1")
    yield home / "runs"
    while tracker.run is not None:
        tracker.run.finish()
        tracker.finish()
        if tracker.run is not None and tracker.run.disabled:
            break
    base._training.clear()
    base._owned.clear()
    patching.unwrap(lasting=True)
    patching._asked.clear()
    patching.options.clear()


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Skips where torchvision cannot be imported: its wheels want the torch they were built for, CUDA's beside CUDA's."""
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


@pytest.fixture
def read(runs: Path) -> Iterator[Callable[[], list[ReadRun]]]:
    """Answers the runs that are kept, oldest first, as `tracker.Api` reads them back; they can be asked on."""
    with ExitStack() as open_ones:

        def read() -> list[ReadRun]:
            api = open_ones.enter_context(tracker.Api(dir=runs))
            return sorted(api.runs(), key=lambda run: run.created_at)

        yield read


@pytest.fixture
def only_run(read: Callable[[], list[ReadRun]]) -> Callable[[], ReadRun]:
    """Answers the one run that is kept; it is the only one."""

    def only_run() -> ReadRun:
        (run,) = read()
        return run

    return only_run


@pytest.fixture
def models(runs: Path) -> Iterator[Callable[[ReadRun], list[Artifact]]]:
    """Answers the artifacts that a run has made, as they can be downloaded."""
    with tracker.Api(dir=runs) as api:
        yield lambda run: list(api.run(run.path).logged_artifacts())


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


@pytest.fixture
def script(
    tmp_path: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of a user's in a process of its own, with the start-up hook as it is installed."""

    def script(
        code: str, *arguments: str, code_expected: int | None = 0, launcher: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end.

        Args:
            code: Its text; indentation is taken off.
            arguments: Of the program.
            code_expected: Its exit code; None takes any.
            launcher: What stands between Python and the file: `("-m", "torch.distributed.run", "--nproc-per-node=2")`.
            environment: Variables beside those of the test.
        """
        file = tmp_path / "train.py"
        file.write_text(textwrap.dedent(code))
        before = tmp_path_factory.mktemp("before")
        places = {runs: before / "runs", tmp_path: before / "there"}
        for place, copy in places.items():
            if place.exists():
                shutil.copytree(place, copy, ignore=_sockets)
        for _ in range(ABORTS):
            done = subprocess.run(
                [sys.executable, *launcher, str(file), *arguments],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                timeout=LIMIT_SECONDS,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
            if not any(words in done.stderr for words in ABORTED):
                break
            for place, copy in places.items():  # as if it had not been
                shutil.rmtree(place, ignore_errors=True)
                if copy.exists():
                    shutil.copytree(copy, place)
        assert code_expected in (None, done.returncode), done.stdout + done.stderr
        return done

    return script
