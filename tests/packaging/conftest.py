"""A copy of the checkout, and what is built from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git knows of the checkout, with a dashboard of one page in the built one's place."""
    copy = tmp_path_factory.mktemp("checkout") / "any-name"
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("builds are tested from a git checkout")
    for name in filter(None, names):
        source, target = ROOT / name, copy / name
        if source.is_file():  # a file may be deleted and not committed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    page = copy / "server/static/index.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text("<!doctype html><title>built</title>")
    return copy


@pytest.fixture(scope="session")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with an sdist and the wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "TRACKER_BUILD_WEB": "require"}  # from the sdist, nothing is due
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(out), str(checkout)], check=True, env=environment)
    return out


@pytest.fixture(scope="session")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new virtual environment that has what a training process imports, and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    light = ["msgspec", "platformdirs", "backports.zstd; python_version < '3.14'"]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *light], check=True)
    return python
