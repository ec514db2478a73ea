"""The command, called as a user calls it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tracker
from tracker.core.cli.command import run as run_command


class Outcome(NamedTuple):
    """What a call came to."""

    code: int
    out: str
    err: str


Tracker = Callable[..., Outcome]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """Call `tracker` with some arguments; `tty` lets it believe that a person looks on."""

    def call(*arguments: str, tty: bool = False, columns: int = 80) -> Outcome:
        out, err = _Text(tty), _Text(tty)
        monkeypatch.setenv("COLUMNS", str(columns))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as stop:
                run_command(list(arguments))
        return Outcome(int(stop.value.code or 0), out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def team(tmp_path: Path) -> Iterator[str]:
    """The address of a server that takes runs in."""
    arguments = ["--mode", "server", "--folder", str(tmp_path / "team"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    yield next(word for word in line.split() if word.startswith("http"))
    process.terminate()
    process.wait(10)
    process.stdout.close()


class _Text(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def runs(home: Path) -> Path:
    """Three runs, one of them failed, one with a name that would steer a terminal."""
    for number, name in enumerate(["first", "=HYPERLINK(1)", "\x1b[31mred\x1b[0m a very long name " + "x" * 90]):
        run = tracker.init(
            project="digits", id=f"run{number}", name=name, config={"lr": number / 10, "opt": {"name": "-x"}},
            tags=["@tag"], settings={"silent": True}, reinit="create_new",
        )  # fmt: skip
        for step in range(3):
            run.log({"loss": 1 / (step + 1), "odd": float("nan") if step == 1 else step})
        run.finish(1 if number == 1 else 0)
    return home / "runs"
