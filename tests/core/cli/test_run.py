"""`tracker run`: the program as it is, under another environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tracker

SHOW = """
import os, sys
print(sys.argv, __name__, sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("TRACKER_") and k in sys.argv))
"""


def _run(
    folder: Path, *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "tracker.core.cli", "run", *arguments],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SHOW)
    return tmp_path


def test_options_become_the_programs_environment(folder: Path) -> None:
    names = (
        "TRACKER_PROJECT TRACKER_NAME TRACKER_RUN_GROUP TRACKER_TAGS TRACKER_DIR TRACKER_AUTOLOG TRACKER_MODE".split()
    )
    options = "-p digits -n first -g grid -t a,b -t c --dir out --offline".split()
    done = _run(folder, *options, "train.py", *names)

    expected = [
        "TRACKER_AUTOLOG=1", f"TRACKER_DIR={folder / 'out'}", "TRACKER_MODE=offline", "TRACKER_NAME=first",
        "TRACKER_PROJECT=digits", "TRACKER_RUN_GROUP=grid", "TRACKER_TAGS=a,b,c",
    ]  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{['train.py', *names]} __main__ {expected}\n", "")


def test_what_stands_behind_the_script_is_the_scripts(folder: Path) -> None:
    done = _run(folder, "train.py", "--project", "x", "-m", "--help")

    assert done.stdout.startswith("['train.py', '--project', 'x', '-m', '--help'] __main__")


def test_a_module_and_any_other_command(folder: Path) -> None:
    assert _run(folder, "-m", "train", "--lr", "1").stdout.startswith(
        f"[{str(folder / 'train.py')!r}, '--lr', '1'] __main__"
    )
    assert _run(folder, sys.executable, "-c", "print('as it is')").stdout == "as it is\n"


@pytest.mark.parametrize(("options", "variable", "expected"), [
    (["--no-autolog"], "1", "0"), ([], "xgboost", "xgboost"), ([], "0", "0"), (["--autolog", "all"], "0", "all"),
])  # fmt: skip
def test_autologging_is_what_was_asked_for_last(folder: Path, options: list[str], variable: str, expected: str) -> None:
    done = _run(folder, *options, "train.py", "TRACKER_AUTOLOG", TRACKER_AUTOLOG=variable)

    assert f"TRACKER_AUTOLOG={expected}" in done.stdout


@pytest.mark.parametrize(("arguments", "says"), [
    (["--autolog", "farm", "train.py"], "--autolog names 'farm'; there is: "),
    (["--autolog", "all", "--no-autolog", "train.py"], "give one of them"),
    (["nothing.py"], "there is no file 'nothing.py'"),
    (["no-such-command"], "there is neither a file nor a command 'no-such-command'"),
    ([], "Missing argument"),
])  # fmt: skip
def test_a_call_that_means_nothing_ends_with_2(folder: Path, arguments: list[str], says: str) -> None:
    done = _run(folder, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_the_exit_code_is_the_programs(folder: Path) -> None:
    (folder / "fails.py").write_text("raise SystemExit(7)")
    (folder / "dies.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (folder / "pipes.py").write_text("import signal; print(signal.getsignal(signal.SIGPIPE))")

    assert _run(folder, "fails.py").returncode == 7
    assert _run(folder, "dies.py").returncode == -9
    assert _run(folder, "pipes.py").stdout == "1\n"  # Python ignores it by itself


def test_it_says_that_nothing_is_logged(folder: Path) -> None:
    done = _run(folder, "train.py", TRACKER_DISABLED="1")

    assert (done.returncode, done.stderr) == (0, "TRACKER_DISABLED is set: nothing will be logged.\n")


def test_the_hook_is_there_where_no_start_up_file_is(folder: Path) -> None:
    """An environment whose `site` does not read ours: another one's folder on the path. A `sitecustomize` of the user's runs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv/bin/python"
    if not python.exists():
        pytest.skip("the layout of Windows")
    own = Path(tracker.__path__[0])
    places = [str(folder), str(own / ".editable" if (own / ".editable").is_dir() else own.parent)]
    places += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (folder / "sitecustomize.py").write_text("import sys; sys.theirs = __file__")
    (folder / "look.py").write_text(
        "import os, subprocess, sys\n"
        "print('_tracker_hook' in sys.modules, 'tracker' in sys.modules, getattr(sys, 'theirs', None))\n"
        "print([entry for entry in sys.path if entry.endswith('startup')])\n"
        "if len(sys.argv) == 1: sys.stdout.flush(); subprocess.run([sys.executable, 'look.py', 'child'])\n"
    )
    path = os.pathsep.join(places)
    bare = subprocess.run(
        [str(python), "look.py", "x"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    done = _run(folder, "look.py", python=str(python), PYTHONPATH=path)

    theirs = folder / "sitecustomize.py"
    assert bare.stdout == f"False False {theirs}\n[]\n"
    assert (done.stdout, done.stderr) == (f"True False {theirs}\n[]\n" * 2, "")

    theirs.unlink()
    assert _run(folder, "look.py", python=str(python), PYTHONPATH=path).stdout == "True False None\n[]\n" * 2
