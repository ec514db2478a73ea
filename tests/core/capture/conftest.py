"""Repositories to train in, and plain scripts that train."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tracker
from tracker import Api

SCRIPT = """\
import sys, tracker
with tracker.init(project="p", id=sys.argv[1], settings={"silent": True}) as run:
    run.log({"loss": 0.5})
"""


class Repository:
    """A git repository in a folder, with an identity of its own and no settings of the user's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        """Run git; answer what it prints."""
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", *identity, "-C", str(self.folder), *arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str, data: bytes | str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def commit(self) -> str:
        """Commit all there is; answer the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with nothing in it but the script."""
    found = Repository(tmp_path / "project")
    found.write("train.py", SCRIPT)
    return found


Train = Callable[..., tracker.core.query.Run]


@pytest.fixture
def train(home: Path) -> Train:
    """Run a script as a user would; answer its run."""

    def train(
        folder: Path, *arguments: str, id: str = "a", script: str = "train.py", **variables: str
    ) -> tracker.core.query.Run:
        done = subprocess.run(
            [sys.executable, script, id, *arguments],
            cwd=folder, capture_output=True, text=True, env={**os.environ, "TRACKER_DIR": str(home / "runs"), **variables},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with Api(dir=home / "runs") as api:
            run = api.run(f"local/p/{id}")
            run.said = done.stdout + done.stderr
            assert run.metadata is not None
            return run

    return train


def snapshot(folder: Path) -> dict[str, tuple[str, bytes | str]]:
    """Answer all files of a folder, without git's own: mode and content by name."""
    found: dict[str, tuple[str, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == ".git" or name.startswith(".git/") or "__pycache__" in name:
            continue
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = ("x" if path.stat().st_mode & 0o100 else "-", path.read_bytes())
    return found
