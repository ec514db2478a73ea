"""Settings: who wins, what is refused, and what the page says of them."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import tracker.core.settings as module
from tracker.core.errors import UsageError
from tracker.core.settings import Resolved, Settings, config_root, project_file, resolve, user_file, variables

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
reads_toml = pytest.mark.skipif(module._toml() is None, reason="no TOML parser in this Python")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder to stand in, and notices not yet said."""
    monkeypatch.setattr(module, "_told", set())
    for name in ("TRACKER_DIR", "TRACKER_X_DISABLE_STATS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's settings file, not written yet."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("TRACKER_CONFIG_DIR", str(folder))
    return folder / "settings.toml"


@reads_toml
def test_each_place_wins_over_those_below_it(elsewhere: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments, settings, environment, project, user, default: each value remembers which."""
    user.write_text('group = "user"\nproject = "user"\nnotes = "user"\njob_type = "user"\nentity = "user"\n')
    (elsewhere / "tracker.toml").write_text('project = "file"\nnotes = "file"\njob_type = "file"\nentity = "file"\n')
    monkeypatch.setenv("TRACKER_NOTES", "environment")
    monkeypatch.setenv("TRACKER_JOB_TYPE", "environment")
    monkeypatch.setenv("TRACKER_ENTITY", "environment")
    found = resolve({"entity": "argument", "project": None}, {"entity": "settings", "job_type": "settings"})

    values = (found.entity, found.job_type, found.notes, found.project, found.group, found.mode)
    assert values == ("argument", "settings", "environment", "file", "user", "online")
    assert found.sources == {
        "entity": "init()",
        "job_type": "settings",
        "notes": "TRACKER_NOTES",
        "project": str(elsewhere / "tracker.toml"),
        "group": str(user),
        "mode": "default",
    }


def test_names_of_arguments_and_of_older_days() -> None:
    """`id` and `run_name` are fields under other names; arguments that are no settings are passed over."""
    found = resolve(
        {"id": "a", "config_include_keys": ["x"], "dir": Path("runs")}, Settings(run_name="n", run_tags=["t"])
    )

    assert (found.run_id, found.name, found.tags, found.dir) == ("a", "n", ["t"], "runs")


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("TRACKER_RUN_ID", "a1", "run_id", "a1"),
        ("TRACKER_NAME", "n", "name", "n"),
        ("TRACKER_RUN_GROUP", "g", "group", "g"),
        ("TRACKER_TAGS", "a, b,,a", "tags", ["a", "b"]),
        ("TRACKER_DIR", "/runs", "dir", "/runs"),
        ("TRACKER_MODE", "offline", "mode", "offline"),
        ("TRACKER_BASE_URL", "http://host:1/", "base_url", "http://host:1"),
        ("TRACKER_API_KEY", "k", "api_key", "k"),
        ("TRACKER_SILENT", "true", "silent", True),
        ("TRACKER_SILENT", "0", "silent", False),
        ("TRACKER_RESUME", "allow", "resume", "allow"),
        ("TRACKER_RESUME", "true", "resume", True),
        ("TRACKER_REINIT", "create_new", "reinit", "create_new"),
        ("TRACKER_FINISH_TIMEOUT", "2.5", "finish_timeout", 2.5),
        ("TRACKER_DISABLED", "true", "mode", "disabled"),
        ("TRACKER_DISABLED", "false", "mode", "online"),
        ("TRACKER_PROJECT", "", "project", None),
        ("WANDB_PROJECT", "w", "project", "w"),
        ("WANDB_RUN_ID", "w", "run_id", "w"),
        ("WANDB_MODE", "dryrun", "mode", "offline"),
        ("WANDB_DISABLED", "true", "mode", "disabled"),
        ("WANDB_DIR", "/w", "dir", os.path.join("/w", "tracker")),
        ("WANDB_API_KEY", "k", "api_key", None),
        ("WANDB_BASE_URL", "http://w", "base_url", None),
    ],
)
def test_variables(variable: str, text: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in its own type; W&B's for most, never its key and address."""
    monkeypatch.setenv(variable, text)

    found = resolve()
    assert getattr(found, field) == value
    if value not in (None, "online"):
        assert found.sources[field] == variable


def test_ours_go_before_wandbs_and_arguments_before_disabling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of W&B is for what we were not told."""
    monkeypatch.setenv("WANDB_NAME", "theirs")
    monkeypatch.setenv("TRACKER_RUN_NAME", "ours")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    monkeypatch.setenv("TRACKER_MODE", "offline")

    assert (resolve().name, resolve().mode) == ("ours", "offline")
    monkeypatch.setenv("TRACKER_DISABLED", "1")
    assert resolve().mode == "disabled"
    assert resolve({"mode": "online"}).mode == "online"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("mode", "sometimes", "'online', 'offline', 'disabled'"),
        ("silent", "perhaps", "true or false"),
        ("finish_timeout", "soon", "number of seconds"),
        ("finish_timeout", "nan", "number of seconds"),
        ("finish_stall_seconds", "-1", "less than 0"),
        ("base_url", "host:80", "http://"),
        ("base_url", "http://", "http://"),
        ("resume", "often", "'allow'"),
        ("reinit", "often", "'create_new'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_place(
    field: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it came from."""
    with pytest.raises(UsageError, match=said) as caught:
        resolve({}, {field: value})
    assert "(settings)" in str(caught.value)
    variable = variables(field)[0]
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=said) as caught:
        resolve()
    assert f"({variable})" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("project", ["a"]), ("tags", 3), ("tags", {"a": 1}), ("dir", 3), ("silent", 2), ("finish_timeout", True)],
)
def test_a_value_of_another_type_is_refused(field: str, value: Any) -> None:
    """Numbers make names; lists do not."""
    with pytest.raises(UsageError, match=field):
        resolve({field: value})
    assert resolve({"name": 3}).name == "3"
    assert resolve({"tags": "a,b"}).tags == resolve({"tags": ("a", "b", "a")}).tags == ["a", "b"]
    with pytest.raises(UsageError, match="settings is a list"):
        resolve({}, ["silent"])  # type: ignore[arg-type]


def test_what_does_not_exist_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """And never raised about; W&B's own names with another word."""
    for _ in range(2):
        Settings(projct="p", x_file_stream_retry_max=3, start_method="thread")

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "Did you mean 'project'?" in lines[0]
    assert all("W&B's" in line for line in lines[1:])
    Settings(nothing=1, silent=True)
    assert capsys.readouterr().err == ""


def test_older_modes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """`dryrun` is offline."""
    assert resolve({"mode": "dryrun"}).mode == "offline"
    assert "'offline'" in capsys.readouterr().err


def test_the_key_is_never_shown() -> None:
    """Neither by settings nor by what was resolved."""
    settings = Settings(api_key="secret", project="p")

    assert "secret" not in repr(settings) and "secret" not in repr(resolve({}, settings))
    assert repr(settings) == "Settings(project='p', api_key='***')"
    with pytest.raises(UsageError) as caught:
        resolve({}, {"api_key": ["secret"]})
    assert "secret'" not in str(caught.value)


@reads_toml
def test_pyproject_and_the_end_of_the_search(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one counts; a project without our table, or a repository's root, ends the search."""
    (elsewhere / "pyproject.toml").write_text('[tool.tracker]\nproject = "outer"\ndir = "runs"\n')
    inner = elsewhere / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    assert project_file() == elsewhere / "pyproject.toml"
    assert resolve().project == "outer"
    assert resolve().dir == str(elsewhere / "runs")
    (inner.parent / "pyproject.toml").write_text("[project]\n")
    assert project_file() is None
    (inner.parent / "tracker.toml").write_text('name = "n"')
    assert project_file() == inner.parent / "tracker.toml"
    (inner / ".git").mkdir()
    assert project_file() is None


@reads_toml
def test_what_a_file_may_not_set(elsewhere: Path, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No id of one run, no key in a project; unknown names are said."""
    (elsewhere / "tracker.toml").write_text('run_id = "a"\napi_key = "k"\nprojet = "p"\n')
    user.write_text('api_key = "mine"\n')

    assert (resolve().run_id, resolve().project, resolve().api_key) == (None, None, "mine")
    said = capsys.readouterr().err
    assert "'run_id'" in said and "TRACKER_API_KEY" in said and "Did you mean 'project'?" in said


@reads_toml
def test_a_broken_file_is_named(elsewhere: Path) -> None:
    """Rather than passed over."""
    (elsewhere / "tracker.toml").write_text("project = ")
    with pytest.raises(UsageError, match=re.escape(str(elsewhere / "tracker.toml"))):
        resolve()
    (elsewhere / "tracker.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        resolve()
    (elsewhere / "tracker.toml").write_text("mode = 3")
    with pytest.raises(UsageError, match=re.escape(str(elsewhere / "tracker.toml"))):
        resolve()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_others_where_all_can_write_is_not_read(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's /tmp/tracker.toml must not say where our runs go."""
    path = elsewhere / "tracker.toml"
    path.write_text('base_url = "http://evil"')
    os.chown(path, 12345, 12345)

    assert project_file() == path
    elsewhere.chmod(elsewhere.stat().st_mode | stat.S_IWOTH)
    assert project_file() is None
    assert "another user's" in capsys.readouterr().err


def test_the_users_folder_is_that_of_platformdirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is found without it."""
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("TRACKER_CONFIG_DIR", raising=False)

    assert config_root() == str(platformdirs.user_config_path("tracker", appauthor=False))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert config_root() == str(platformdirs.user_config_path("tracker", appauthor=False))
    assert user_file() is None


def test_a_removed_working_folder_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no project's file then."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert project_file() is None
    assert isinstance(resolve(), Resolved)


def test_nothing_heavy_is_loaded_for_it() -> None:
    """TOML and the like are imported when there is a file to read."""
    import subprocess

    code = "import sys, tracker.core.settings as s; s.resolve(); print([m for m in ('tomllib', 'difflib', 'dataclasses', 'platformdirs', 'json') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def _rows() -> dict[str, list[str]]:
    text = PAGE.read_text(encoding="utf-8").split("## All settings")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in rows}


def test_the_page_has_every_setting_and_no_other() -> None:
    """With its variables, those of W&B, and its default."""
    rows = _rows()

    assert list(rows) == list(Settings.__annotations__)
    for name, row in rows.items():
        ours = [variable for variable in variables(name) if variable.startswith("TRACKER_")]
        theirs = [variable for variable in variables(name) if variable.startswith("WANDB_")]
        assert re.findall(r"`(TRACKER_\w+)`", row[2]) == ours, name
        assert re.findall(r"`(WANDB_\w+)`", row[5]) == theirs, name
        if name in module.DEFAULTS:
            assert row[3] == f"`{module.DEFAULTS[name]}`"


def test_the_page_names_the_arguments_of_init() -> None:
    """Each setting that is an argument says which."""
    import inspect

    from tracker.core.init import init

    arguments = set(inspect.signature(init).parameters)
    for name, row in _rows().items():
        argument = row[1].strip("`")
        known = name if name in arguments else "id" if name == "run_id" else ""
        assert argument == known, name


def test_what_is_in_force_can_be_asked_without_beginning_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_PROJECT", "from-environment")

    assert Settings.resolved().project == "from-environment"
    assert Settings.resolved(project="given", id="one").given()["run_id"] == "one"
    assert Settings.resolved(project="given").project == "given"
