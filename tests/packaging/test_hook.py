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
    (package / "integrations").mkdir()
    (package / "integrations" / "__init__.py").touch()
    (package / "integrations" / "framework.py").write_text("from tracker.patches import good as autolog\n")
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
before, finders, files = set(sys.modules), list(sys.meta_path), sorted(os.listdir("/proc/self/fd"))
import _tracker_hook
_tracker_hook.install()
print(sorted(set(sys.modules) - before), sorted(os.listdir("/proc/self/fd")) == files)
print([finder for finder in sys.meta_path if finder is not _tracker_hook.Finder] == finders)
"""
    done = _run(room, code if sys.platform == "linux" else code.replace('os.listdir("/proc/self/fd")', "[]"))

    assert (done.stdout, done.stderr) == ("['_tracker_hook'] True\nTrue\n", "")


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


@pytest.fixture(params=["tracker.py", "tracker/__init__.py"])
def theirs(room: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a user's own `tracker`, that uses the framework: object trackers are common in vision code."""
    folder = room / "theirs"
    file = folder / request.param
    file.parent.mkdir(parents=True)
    file.write_text("print('theirs runs')\nimport framework\nmine = True\n")
    return folder


THEIRS = """
sys.path.insert(0, {folder!r})
import _tracker_hook as hook
hook.HOOKS["framework"] = "tracker.patches:good"
hook.AUTOLOG["framework"] = "tracker.integrations.framework:autolog"
hook.install()
import {first}
print("imported")
import tracker, framework
print(tracker.mine, framework.list_of_loggers)
"""


def test_a_users_own_tracker_runs_when_it_is_asked_for_and_no_sooner(room: Path, theirs: Path) -> None:
    done = _run(room, THEIRS.format(folder=str(theirs), first="framework"))

    assert (done.stdout, done.stderr) == ("imported\ntheirs runs\nTrue []\n", "")


def test_a_users_own_tracker_is_not_taken_for_ours(room: Path, theirs: Path) -> None:
    done = _run(room, THEIRS.format(folder=str(theirs), first="tracker"))

    assert (done.stdout, done.stderr) == ("theirs runs\nimported\nTrue []\n", "")


def test_who_asks_for_autologging_is_told_whose_tracker_is_in_the_way(room: Path, theirs: Path) -> None:
    done = _run(room, THEIRS.format(folder=str(theirs), first="framework"), TRACKER_AUTOLOG="1")

    assert done.stdout == "imported\ntheirs runs\nTrue []\n"
    assert done.stderr.startswith(f"tracker: TRACKER_AUTOLOG has no effect here: `import tracker` finds {theirs}")
    assert len(done.stderr.splitlines()) == 1


AUTOLOG = """
import _tracker_hook as hook
hook.AUTOLOG.clear()
hook.AUTOLOG["framework"] = "tracker.integrations.framework:autolog"
hook.AUTOLOG["old_framework.main"] = "tracker.integrations.framework:autolog"
hook.AUTOLOG["another"] = "tracker.integrations.another:autolog"
hook.install()
import framework
print(framework.list_of_loggers, "tracker" in sys.modules)
"""


@pytest.mark.parametrize("value", ["1", "true", "all", "framework", "another, Framework", "old-framework", "-another"])
def test_autologging_is_for_those_who_ask(room: Path, value: str) -> None:
    done = _run(room, AUTOLOG, TRACKER_AUTOLOG=value)

    assert (done.stdout, done.stderr) == ("['tracker'] True\n", "")


@pytest.mark.parametrize("value", ["", "0", "off", "another", "-framework", "1,-framework"])
def test_nobody_else_pays_for_an_import_of_ours(room: Path, value: str) -> None:
    done = _run(room, AUTOLOG, TRACKER_AUTOLOG=value)

    assert (done.stdout, done.stderr) == ("[] False\n", "")


def test_what_is_asked_for_is_looked_at_when_a_framework_has_run(room: Path) -> None:
    """A script may set the variable itself."""
    done = _run(room, AUTOLOG.replace("import framework\n", "os.environ['TRACKER_AUTOLOG'] = '1'\nimport framework\n"))

    assert (done.stdout, done.stderr) == ("['tracker'] True\n", "")


def test_an_unknown_name_is_said_once_with_the_known_ones(room: Path) -> None:
    code = AUTOLOG + "import importlib; importlib.reload(framework)"
    done = _run(room, code, TRACKER_AUTOLOG="farmework")

    assert done.stdout == "[] False\n"
    assert (
        done.stderr == "tracker: TRACKER_AUTOLOG names 'farmework', which is not known; there is: another, framework.\n"
    )
    assert _run(room, code, TRACKER_AUTOLOG="farmework", RANK="3").stderr == ""  # the first rank says it


OTHERS = """
class Others:  # as the import hooks of wrapt and mlflow do it: asks all finders, itself among them
    asked, ran = set(), []
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "framework" or name in cls.asked: return None
        cls.asked.add(name)
        try:
            import importlib.util
            spec = importlib.util.find_spec(name)
            return importlib.util.spec_from_loader(name, Loader(spec.loader), origin=spec.origin)
        finally: cls.asked.discard(name)
class Loader:
    def __init__(self, real): self.real = real
    def create_module(self, spec): return self.real.create_module(spec)
    def exec_module(self, module): self.real.exec_module(module); Others.ran.append(module.__name__)
import _tracker_hook as hook
hook.HOOKS["framework"] = "tracker.patches:good"
"""


@pytest.mark.parametrize("is_first", [True, False])
def test_the_import_hooks_of_others_work_with_ours(room: Path, is_first: bool) -> None:
    first = "sys.meta_path.insert(0, Others); hook.install()"
    last = "hook.install(); sys.meta_path.insert(0, Others)"
    code = OTHERS + (first if is_first else last) + "\nimport framework\nprint(framework.list_of_loggers, Others.ran)"
    done = _run(room, code)

    assert (done.stdout, done.stderr) == ("['tracker'] ['framework']\n", "")


def test_a_framework_that_fails_fails_as_without_us(room: Path) -> None:
    """The traceback has no line of ours, and neither has one that is given for a warning."""
    (room / "framework.py").write_text("import warnings\nwarnings.warn('old', FutureWarning, stacklevel=2)\n1 / 0\n")
    script = room / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(room)!r})\nimport _tracker_hook as hook\n"
        "hook.HOOKS['framework'] = 'tracker.patches:good'\nif 'hook' in sys.argv: hook.install()\nimport framework\n"
    )
    errors = {
        subprocess.run([sys.executable, "-S", str(script), *way], capture_output=True, text=True).stderr
        for way in ([], ["hook"])
    }

    assert len(errors) == 1
    assert "script.py:5: FutureWarning: old" in errors.pop()


def test_what_a_patched_module_holds_can_be_pickled_copied_and_looked_at(room: Path) -> None:
    (room / "framework.py").write_text("class Model:\n    pass\n\nlist_of_loggers = []\n")
    code = PATCH.format(patch="good") + (
        "import copy, inspect, pickle\nmodel = framework.Model()\n"
        "print(type(pickle.loads(pickle.dumps(model))).__name__, type(copy.deepcopy(model)).__name__)\n"
        "print(inspect.getsource(framework.Model), inspect.getfile(framework) == framework.__spec__.origin)"
    )
    done = _run(room, code)

    assert done.stdout == "['tracker']\nModel Model\nclass Model:\n    pass\n True\n"


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
