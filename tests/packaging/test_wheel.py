"""What is shipped: the sdist, the wheel built from it, and an editable install."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_the_wheel_holds_the_package_and_the_start_up_hook_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]

    at_the_root = {name for name in names if "/" not in name}
    assert at_the_root == {"_tracker_hook.py", "tracker_autoload.pth", "tracker_autoload.start"}
    assert {name.split("/")[0] for name in names if "/" in name} == {"tracker"}
    rooms = {name.split("/")[1] for name in names if "/" in name}
    assert rooms == {"__init__.py", "testing.py", "py.typed", "core", "integrations", "server"}


def test_the_wheel_carries_the_built_page_and_not_its_source(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    assert "tracker/server/static/index.html" in names
    assert not [name for name in names if name.startswith("tracker/server/web")]


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: zipfile.ZipFile, checkout: Path) -> None:
    modules = {
        f"tracker/{path.relative_to(checkout).as_posix()}"
        for room in ("core", "integrations", "server")
        for path in (checkout / room).rglob("*.py")
    }

    assert modules <= set(wheel.namelist())


def test_the_metadata_names_the_distribution_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)

    assert "Name: runtracker\n" in wheel.read(f"{info}/METADATA").decode()
    assert "tracker = tracker.core.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_the_sdist_carries_the_built_page_so_that_nobody_needs_node(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert {"server/static/index.html", "server/web/package.json", "hatch_build.py"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_an_installed_wheel_comes_and_goes_whole(built: Path, python: Path, tmp_path: Path) -> None:
    """A run needs three light packages; and the hook, in each interpreter here, must not outlive the package."""
    wheel = next(built.glob("*.whl"))
    _run(python, "-m", "pip", "install", "--no-deps", "--quiet", str(wheel), cwd=tmp_path)

    code = "import tracker, _tracker_hook\nwith tracker.init(mode='offline') as run: run.log({'loss': 1.0})"
    where = _run(python, "-c", f"{code}\nprint(tracker.__file__)", cwd=tmp_path).splitlines()[-1]
    assert Path(where).parent.name == "tracker"
    assert "site-packages" in where
    _check_the_hook(python, tmp_path)

    _run(python, "-m", "pip", "uninstall", "--yes", "--quiet", "runtracker", cwd=tmp_path)
    site = Path(where).parents[1]
    assert not [path.name for path in site.iterdir() if "tracker" in path.name]
    assert _run(python, "-c", "pass", cwd=tmp_path) == ""


def test_an_editable_install_runs_from_the_checkout(checkout: Path, python: Path, tmp_path: Path) -> None:
    _run(python, "-m", "pip", "install", "--no-deps", "--quiet", "--editable", str(checkout), cwd=tmp_path)

    where = _run(python, "-c", "import tracker.core, _tracker_hook; print(tracker.core.__file__)", cwd=tmp_path)
    assert Path(where) == checkout / "core/__init__.py"

    (checkout / "core/brand_new.py").write_text("ANSWER = 42\n")
    try:
        answer = _run(python, "-c", "from tracker.core.brand_new import ANSWER; print(ANSWER)", cwd=tmp_path)
    finally:
        (checkout / "core/brand_new.py").unlink()
    assert answer == "42"
    assert (checkout / ".editable/tracker/core/__init__.py").is_file()  # what type checkers follow
    _check_the_hook(python, tmp_path)


def _check_the_hook(python: Path, folder: Path) -> None:
    """It knows its own package, and a user's own `tracker` beside a script stands before ours, as it does for Python."""
    whose = "import _tracker_hook as hook; print(hook._whose())"
    assert _run(python, "-c", whose, cwd=folder) == "None"
    assert _run(python, "-I", "-c", whose, cwd=folder) == "None"
    theirs = folder / "theirs"
    (theirs / "tracker").mkdir(parents=True)
    (theirs / "tracker" / "__init__.py").write_text("mine = True\n")
    (theirs / "script.py").write_text(whose + "; import tracker; print(tracker.mine)")
    assert _run(python, str(theirs / "script.py"), cwd=folder) == f"{theirs / 'tracker' / '__init__.py'}\nTrue"


def _run(python: Path, *arguments: str, cwd: Path) -> str:
    done = subprocess.run([str(python), *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
