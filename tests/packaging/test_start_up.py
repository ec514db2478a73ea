"""Where the start-up hook was not started, `import tracker` has it in place."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tracker

FIND_TRACKER = Path(tracker.__path__[0])
FIND_TRACKER = FIND_TRACKER / ".editable" if (FIND_TRACKER / ".editable").is_dir() else FIND_TRACKER.parent
CODE = """
import sys
sys.path[:0] = {paths!r}
{before}
import _tracker_hook as hook
hook.HOOKS["framework"] = "patches:good"
print(hook.Finder in sys.meta_path)
import tracker
import framework
print(framework.list_of_loggers, hook.Finder in sys.meta_path)
"""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "framework.py").write_text("list_of_loggers = []\n")
    (tmp_path / "patches.py").write_text("def good(module): module.list_of_loggers.append('tracker')\n")
    return tmp_path


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "TRACKER_DISABLED"}
    return subprocess.run(
        [sys.executable, "-S", "-c", code], env={**variables, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize("before", ["import framework", ""])
def test_python_without_site(room: Path, before: str, disabled: bool) -> None:
    """A name that a script gives to its framework is known even where nothing is to be kept."""
    paths = [str(room), str(FIND_TRACKER), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = _run(CODE.format(paths=paths, before=before), **({"TRACKER_DISABLED": "1"} if disabled else {}))

    assert (done.stdout, done.stderr) == ("False\n['tracker'] True\n", "")


def test_a_package_on_the_path_brings_its_hook_along(room: Path) -> None:
    """A checkout that somebody has put on the path: the hook lies in the package's folder, or beside it."""
    spec = importlib.util.find_spec("_tracker_hook")
    assert spec is not None
    assert spec.origin is not None
    package = room / "tracker"
    for name in ("core", "__init__.py"):
        package.mkdir(exist_ok=True)
        (package / name).symlink_to(Path(tracker.__path__[0]) / name)
    (package / "_tracker_hook.py").symlink_to(spec.origin)
    blind = "class Blind:\n    find_spec = staticmethod(lambda name, path=None, target=None: stop(name))\n"
    code = f"""
import sys
sys.path[:0] = {[str(room), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]!r}
def stop(name):
    if name == "_tracker_hook": raise ModuleNotFoundError(name)
{blind}
sys.meta_path.insert(0, Blind)
import tracker
print(sys.modules["_tracker_hook"].__file__, sys.modules["_tracker_hook"].places)
"""
    done = _run(code)

    assert (done.stdout, done.stderr) == (f"{package / '_tracker_hook.py'} {[str(package)]!r}\n", "")
