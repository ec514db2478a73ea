"""The `tracker` command."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import tracker
from tracker.core.cli import output
from tracker.core.cli.command import VERBS
from tracker.core.cli.command import tracker as command

from .conftest import Tracker

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def commands(group: click.Group, prefix: str = "tracker") -> dict[str, click.Command]:
    """Answer all commands by the words that call them."""
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        one = group.get_command(context, name)
        assert one is not None
        found[f"{prefix} {name}"] = one
        if isinstance(one, click.Group):
            found.update(commands(one, f"{prefix} {name}"))
    return found


ALL = commands(command)


def test_the_page_names_every_command_and_option() -> None:
    """What is not documented fails."""
    page = DOCS.read_text(encoding="utf-8")
    missing = [words for words in ALL if f"## `{words}" not in page]
    for words, one in ALL.items():
        start = page.find(f"## `{words}")
        section = page[start : page.find("\n## ", start + 4)] if "\n## " in page[start + 4 :] else page[start:]
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                missing += [f"{words} {name}" for name in parameter.opts if f"`{name}" not in section]

    assert missing == []


@pytest.mark.parametrize("words", ALL)
def test_every_command_explains_itself(words: str, call: Tracker) -> None:
    """With a summary, and with examples for those of the first level."""
    code, out, _ = call(*words.split()[1:], "--help")

    assert code == 0
    assert "Usage: tracker" in out
    assert len(words.split()) > 2 or "Examples:" in out


def test_help_is_quick() -> None:
    """It imports no numpy, no web server, no database."""
    code = (
        "import sys\nfrom tracker.core.cli.command import run\n"
        "try: run(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('numpy', 'fastapi', 'sqlalchemy', 'requests', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


def test_the_version_is_told(call: Tracker) -> None:
    assert call("--version") == (0, f"tracker {tracker.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["lss"], ["ls", "--nothing"], ["ls", "--filter", "no json"], ["show"], ["demo", "--runs", "0"]]
)
def test_a_wrong_call_ends_with_2(arguments: list[str], call: Tracker) -> None:
    code, out, err = call(*arguments)

    assert (code, out) == (2, "")
    assert "Error: " in err


def test_a_slip_is_guessed(call: Tracker) -> None:
    assert "Did you mean `tracker export`?" in call("exprot").err


def test_what_is_not_there_ends_with_1(runs: Path, call: Tracker) -> None:
    code, out, err = call("show", "digits/rum1")

    assert (code, out) == (1, "")
    assert "Did you mean local/digits/run1" in err


def test_ls_lists_what_is_there(runs: Path, call: Tracker) -> None:
    """Newest first; the same facts as JSON."""
    lines = call("ls", "digits", "-k", "loss").out.splitlines()
    found = json.loads(call("ls", "digits", "--json", "--state", "failed").out)

    assert lines[0].split() == ["ID", "NAME", "STATE", "STARTED", "TOOK", "STEP", "loss"]
    assert [line.split()[0] for line in lines[1:]] == ["run2", "run1", "run0"]
    assert [run["id"] for run in found] == ["run1"]
    assert found[0]["summary"]["loss"] == 1 / 3
    assert found[0]["config"] == {"lr": 0.1, "opt": {"name": "-x"}}


def test_a_list_fits_the_terminal(runs: Path, call: Tracker) -> None:
    """And no name steers it."""
    out = call("ls", "-k", "loss", "-k", "odd", tty=True).out

    plain = click.unstyle(out)
    assert max(map(len, plain.splitlines())) <= 80
    assert "[31mred" not in out.replace("�[31mred", "")
    assert "…" in plain
    assert "\x1b[" in out  # colours, on a terminal


def test_no_color_is_honoured(runs: Path, call: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[" not in call("ls", tty=True).out
    assert "\x1b[" not in call("show", "run0", tty=True).out


def test_ls_without_runs_says_what_to_do(home: Path, call: Tracker) -> None:
    code, out, _ = call("ls")

    assert code == 0
    assert "tracker demo" in out


def test_ls_lists_projects(runs: Path, call: Tracker) -> None:
    (found,) = json.loads(call("ls", "--projects", "--json").out)

    assert (found["entity"], found["project"], found["runs"]) == ("local", "digits", 3)
    assert found["states"]["failed"] == 1
    assert "local/digits" in call("ls", "--projects").out


def test_show_tells_all_of_a_run(runs: Path, call: Tracker) -> None:
    out = call("show", "run1").out
    found = json.loads(call("show", "run1", "--json").out)

    for part in ("=HYPERLINK(1)", "failed", "local/digits/run1", "@tag", "opt.name", "summary"):
        assert part in out
    assert found["exit"]["exit_code"] == 1
    assert found["summary"]["odd"] == 2


def test_csv_holds_no_formula(runs: Path, call: Tracker, tmp_path: Path) -> None:
    """Texts that a spreadsheet would run get an apostrophe; numbers stay numbers."""
    target = tmp_path / "runs.csv"
    code, out, err = call("export", "digits", "-o", str(target))
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(target.read_text(encoding="utf-8")))}

    assert (code, out) == (0, "")
    assert "3 rows" in err
    assert rows["run1"]["name"] == "'=HYPERLINK(1)"
    assert rows["run1"]["tags"] == "'@tag"
    assert rows["run1"]["config.opt.name"] == "'-x"
    assert float(rows["run1"]["config.lr"]) == 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_history_is_exported_whole(runs: Path, call: Tracker) -> None:
    """To CSV and JSON; NaN is kept apart from what is missing."""
    rows = list(csv.DictReader(io.StringIO(call("export", "digits/run0").out)))
    found = json.loads(call("export", "digits", "--history", "-k", "odd", "-f", "json").out)

    assert [float(row["loss"]) for row in rows] == [1, 1 / 2, 1 / 3]
    assert [row["odd"] for row in rows] == ["0.0", "nan", "2.0"]
    assert len(found) == 9
    assert [row["odd"] for row in found[:3]] == [0, "NaN", 2]
    assert {row["run"] for row in found} == {f"local/digits/run{number}" for number in range(3)}


@pytest.mark.parametrize("arguments", [["digits/run0"], ["digits"], ["digits", "--history"]])
def test_parquet_is_written(arguments: list[str], runs: Path, call: Tracker, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "out.parquet"

    assert call("export", *arguments, "-o", str(target)).code == 0
    assert parquet.read_table(target).num_rows == (9 if "--history" in arguments else 3)


def test_parquet_without_pyarrow_says_what_to_install(
    runs: Path, call: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = call("export", "run0", "-o", str(tmp_path / "out.parquet"))

    assert code == 1
    assert "pip install pyarrow" in err


def test_rm_can_be_undone(runs: Path, call: Tracker) -> None:
    gone = call("rm", "digits/run0", "run1")
    left = json.loads(call("ls", "--json").out)
    trash = json.loads(call("ls", "--trash", "--json").out)
    back = call("rm", "digits/run0", "run1", "--undo")

    assert (gone.code, back.code) == (0, 0)
    assert [run["id"] for run in left] == ["run2"]
    assert {run["id"] for run in trash} == {"run0", "run1"}
    assert len(json.loads(call("ls", "--json").out)) == 3
    assert call("rm", "nothing").code == 1


def test_status_shows_values_and_sources(home: Path, call: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the key."""
    key = "tk_" + "a" * 45 + "wxyz"
    monkeypatch.setenv("TRACKER_API_KEY", key)
    monkeypatch.setenv("TRACKER_PROJECT", "digits")
    out = call("status").out
    found: dict[str, Any] = json.loads(call("status", "--json").out)

    assert found["project"] == {"value": "digits", "source": "TRACKER_PROJECT"}
    assert found["mode"]["source"] == "default"
    assert found["dir"]["value"] == str(home / "runs")
    assert found["api_key"] == {"value": "tk_…wxyz", "source": "TRACKER_API_KEY"}
    assert key not in out
    assert "TRACKER_PROJECT" in out


def test_doctor_finds_nothing_wrong_here(home: Path, call: Tracker) -> None:
    code, out, _ = call("doctor")
    found = json.loads(call("doctor", "--json").out)

    assert code == 0
    assert "can be written" in out
    assert {finding["name"] for finding in found} >= {"versions", "settings", "folder", "index", "server", "hook"}


def _findings(folder: Path, **environment: str) -> dict[str, list[tuple[str, str]]]:
    """Answer what `tracker doctor` finds in a process of its own: level and text, by what was checked."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker.core.cli", "doctor", "--json"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(done.stdout):
        found.setdefault(finding["name"], []).append((finding["level"], finding["text"]))
    return found


def test_doctor_tells_whether_the_hook_is_active(home: Path, tmp_path: Path) -> None:
    (tmp_path / "tracker.py").write_text("")

    (level, text), (own_level, own) = _findings(tmp_path, TRACKER_DISABLED="1", PYTHONSAFEPATH="1")["hook"]
    assert (level, text) == ("note", "the start-up hook is kept out by TRACKER_DISABLED.")
    assert (own_level, own.split(",")[0]) == ("note", "scripts in this folder that import tracker get tracker.py")


def test_doctor_tells_of_installed_frameworks(home: Path, tmp_path: Path) -> None:
    from tracker.integrations import INTEGRATIONS

    found = _findings(tmp_path, TRACKER_AUTOLOG="all,farm")["frameworks"]

    assert ("problem", "TRACKER_AUTOLOG names 'farm', which is not known.") in found
    for one in INTEGRATIONS:
        if importlib.util.find_spec(one.name) is not None:
            assert any(text.startswith(f"{one.name} ") for _, text in found)


def test_doctor_lists_what_is_patched(home: Path, tmp_path: Path, call: Tracker) -> None:
    """In a new process: nothing that runs here says what a script would have."""
    pytest.importorskip("sklearn")
    for wish, level, text in (("1", "ok", "of sklearn: sklearn."), ("0", "note", "nothing of sklearn is patched: ")):
        done = subprocess.run(
            [sys.executable, "-m", "tracker.core.cli", "doctor", "-f", "scikit-learn", "--json"],
            cwd=tmp_path, env={**os.environ, "TRACKER_AUTOLOG": wish}, capture_output=True, text=True,
        )  # fmt: skip
        (found,) = [one for one in json.loads(done.stdout) if one["name"] == "patches"]
        assert (found["level"], found["text"][: len(text)]) == (level, text)

    code, _, err = call("doctor", "--framework", "farm")
    assert (code, "--framework is 'farm'; there is: " in err) == (2, True)


@pytest.mark.parametrize(("version", "wanted", "expected"), [
    ("5.23.0", ">=4.40,<6", True), ("6.0", ">=4.40,<6", False), ("4.39.9", ">=4.40", False), ("2.13.0+cpu", ">=2.13", True),
    ("3", "==3.0", True), ("1.0rc1", "!=1.0", False), ("1.2", "", True),
])  # fmt: skip
def test_versions_are_compared_by_their_numbers(version: str, wanted: str, expected: bool) -> None:
    from tracker.core.cli.doctor import fits

    assert fits(version, wanted) is expected


def test_doctor_names_the_problem_and_its_fix(home: Path, call: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("no folder")
    monkeypatch.setenv("TRACKER_DIR", str(home / "file" / "runs"))
    monkeypatch.setenv("TRACKER_BASE_URL", "http://127.0.0.1:9")
    code, out, _ = call("doctor")

    assert code == 1
    assert "problem  folder" in out
    assert "→ Set TRACKER_DIR" in out
    assert "problem  server" in out


def test_keys_are_made_shown_once_and_revoked(home: Path, call: Tracker, tmp_path: Path) -> None:
    folder = ("server", "--folder", str(tmp_path / "team"), "key")
    made = call(*folder, "add", "alice")
    (listed,) = json.loads(call(*folder, "list", "--json").out)
    gone = call(*folder, "revoke", listed["id"])

    assert made.out.startswith("tk_")
    assert listed["name"] == "alice"
    assert made.out.strip() not in call(*folder, "list").out
    assert gone.code == 0
    assert "no keys" in call(*folder, "list").out
    assert call(*folder, "revoke", "nothing").code == 1


def test_sync_wants_a_server(runs: Path, call: Tracker) -> None:
    code, _, err = call("sync")

    assert code == 2
    assert "TRACKER_BASE_URL" in err


def test_sync_sends_what_is_here(runs: Path, call: Tracker, team: str) -> None:
    """Once, however often it is called; the server then tells the same as the folder."""
    first = json.loads(call("sync", "--url", team, "--json").out)
    second = call("sync", "--url", team)
    there = json.loads(call("ls", "--url", team, "--json").out)
    here = json.loads(call("ls", "--json").out)

    assert (first["runs"], first["sent_rows"], first["left"]) == (3, 9, 0)
    assert (second.code, second.out.split()[0]) == (0, "0")
    assert [run["url"] for run in there] == [f"{team}/local/digits/runs/run{number}" for number in (2, 1, 0)]
    assert [{**run, "url": None} for run in there] == here
    assert call("show", "run1", "--url", team).code == 0
    assert call("rm", "digits/run1", "--url", team).code == 0
    assert call("ls", "--url", team, "--trash").out.count("run1") == 1


def test_a_broken_pipe_is_no_error(runs: Path) -> None:
    """`tracker ls | head` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.core.cli", "export", "digits", "--history", "-f", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.wait(60)

    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.96, "10.0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (None, "-")],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text
