"""The start-up hook: light, silent, and unable to break anybody's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with the hook, a framework to patch and our patch for it, first on the path."""
    spec = importlib.util.find_spec("_tracker_hook")
    hook = Path(spec.origin) if spec and spec.origin else ROOT / "_tracker_hook.py"
    (tmp_path / "_tracker_hook.py").write_text(hook.read_text())
    (tmp_path / "framework.py").write_text("name = __spec__.name\nlist_of_loggers = []\n")
    package = tmp_path / "tracker"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "patches.py").write_text(
        "def good(module): module.list_of_loggers.append('tracker')\ndef bad(module): raise RuntimeError('no')\n"
    )
    return tmp_path


def _run(room: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # -S: without the hook, and the finder of an editable install, of the environment the tests run in.
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import os, sys; sys.path.insert(0, {str(room)!r})\n{code}"],
        env={**{k: v for k, v in os.environ.items() if k != "TRACKER_DISABLED"}, **environment},
        capture_output=True,
        text=True,
    )


def test_it_imports_nothing_and_leaves_nothing_behind(room: Path) -> None:
    code = """
before, finders = set(sys.modules), list(sys.meta_path)
import _tracker_hook
_tracker_hook.install()
print(sorted(set(sys.modules) - before), finders == sys.meta_path)
"""
    done = _run(room, code)

    expected = "['_tracker_hook'] True\n"  # with an empty table there is nothing to wait for
    assert (done.stdout, done.stderr) == (expected, "")


PATCH = """
import _tracker_hook as hook
hook.HOOKS["framework"] = "tracker.patches:{patch}"
hook.install(); hook.install()
import framework
print(framework.list_of_loggers)
"""


def test_a_framework_is_patched_right_after_its_body_ran(room: Path) -> None:
    done = _run(room, PATCH.format(patch="good") + "print(sum(f is hook.Finder for f in sys.meta_path))")

    assert (done.stdout, done.stderr) == ("['tracker']\n1\n", "")


def test_a_framework_that_was_there_first_is_patched_too(room: Path) -> None:
    done = _run(room, "import framework" + PATCH.format(patch="good"))

    assert done.stdout == "['tracker']\n"


def test_a_patched_module_looks_untouched(room: Path) -> None:
    code = (
        PATCH.format(patch="good")
        + """
import importlib, inspect
print(type(framework.__loader__).__name__, type(framework.__spec__.loader).__name__)
print(inspect.getsource(framework).startswith("name ="), importlib.reload(framework).list_of_loggers)
"""
    )
    done = _run(room, code)

    assert done.stdout.splitlines()[1:] == ["SourceFileLoader SourceFileLoader", "True ['tracker']"]


@pytest.mark.parametrize("patch", ["bad", "is_not_there"])
def test_a_failing_patch_costs_one_line_and_not_the_import(room: Path, patch: str) -> None:
    done = _run(room, PATCH.format(patch=patch))

    assert done.returncode == 0
    assert done.stdout == "[]\n"
    assert done.stderr.startswith("tracker: the hook for framework failed: ")
    assert len(done.stderr.splitlines()) == 1


def test_it_does_not_raise_without_a_standard_error(room: Path) -> None:
    done = _run(room, "sys.stderr = None" + PATCH.format(patch="bad"))

    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_a_users_own_tracker_py_is_left_alone(room: Path) -> None:
    """Object trackers are common in vision code; theirs may well be called `tracker.py`."""
    theirs = room / "theirs"
    theirs.mkdir()
    (theirs / "tracker.py").write_text("mine = True\n")
    done = _run(room, f"sys.path.insert(0, {str(theirs)!r})" + PATCH.format(patch="good"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_tracker_disabled_keeps_it_out(room: Path, value: str) -> None:
    done = _run(room, PATCH.format(patch="good"), TRACKER_DISABLED=value)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_line_in_the_pth_runs_and_does_nothing_when_disabled(room: Path) -> None:
    line = (ROOT / "tracker_autoload.pth").read_text().strip()
    assert "\n" not in line  # `site` executes a .pth line by line

    code = f"exec({line!r}); print('_tracker_hook' in sys.modules)"
    assert _run(room, code).stdout == "True\n"
    assert _run(room, code, TRACKER_DISABLED="1").stdout == "False\n"


def test_the_start_file_names_what_the_hook_has() -> None:
    """Python 3.15 reads this file in the .pth's place (PEP 829)."""
    module, _, function = (ROOT / "tracker_autoload.start").read_text().strip().partition(":")

    assert (module, function) == ("_tracker_hook", "install")
