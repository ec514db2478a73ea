"""`tracker restore` and `tracker diff`, as users call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tracker
from tracker.core import capture

from .conftest import Tracker

SCRIPT = """\
import sys, tracker
RATE = 0.1
with tracker.init(project="p", id=sys.argv[1], config={"lr": float(sys.argv[2]), "same": [1]}, settings={"silent": True}) as run:
    run.log({"loss": 1 / float(sys.argv[2]), "same": 1, "odd": float("nan")})
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, env=environment, capture_output=True)


@contextmanager
def serving(root: Path, cache: Path) -> Iterator[str]:
    """Show a folder of runs; answer the address once all three are there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TRACKER_CACHE_DIR": str(cache)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        with tracker.Api(base_url=url) as api:
            limit = time.monotonic() + 30
            while len(api.runs(filters={"state": "finished"})) < 3:
                assert time.monotonic() < limit, "the runs do not appear"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Path:
    """Three runs of a script: `a` and `b` from one commit with other changes, `c` from the next one."""
    folder = tmp_path / "project"
    folder.mkdir()

    def train(run: str, rate: str, **variables: str) -> None:
        subprocess.run([sys.executable, "train.py", run, rate], cwd=folder, check=True, env={**os.environ, **variables})

    (folder / "train.py").write_text(SCRIPT)
    (folder / "model.py").write_text("".join(f"layer{number} = {number}\n" for number in range(30)))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    (folder / "model.py").write_text((folder / "model.py").read_text().replace("layer9 = 9", "layer9 = 90"))
    (folder / "helper.py").write_text("x = 1\n")
    train("a", "1")
    (folder / "model.py").write_text((folder / "model.py").read_text().replace("layer9 = 90", "layer9 = 99"))
    (folder / "helper.py").write_text("x = 2\n")
    train("b", "2", OMP_NUM_THREADS="3")
    git(folder, "commit", "-q", "-a", "-m", "y")
    train("c", "2", OMP_NUM_THREADS="3")
    return folder


def test_only_what_differs_is_shown(project: Path, call: Tracker) -> None:
    code, out, _ = call("diff", "a", "b")

    assert code == 0
    names = {run.id: run.name for run in tracker.Api().runs("p")}
    assert out == OUT.format(**names)


OUT = """\
A  {a}  local/p/a  finished
B  {b}  local/p/b  finished

CONFIG  A  B
lr      1  2

SUMMARY  A  B    B - A
loss     1  0.5   -0.5

COMMAND  A    B
args     a 1  b 2

CODE
helper.py  differs  +1 -1
  @@ -1 +1 @@
  -x = 1
  +x = 2
model.py  differs  +1 -1
  @@ -2,5 +2,5 @@
   layer7 = 7
   layer8 = 8
  -layer9 = 90
  +layer9 = 99
   layer10 = 10
   layer11 = 11

MACHINE              A  B
env.OMP_NUM_THREADS  -  3
"""


def test_commits_are_compared_where_a_repository_has_both(
    project: Path, call: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = json.loads(call("diff", "a", "c", "--json").out)
    project.rename(tmp_path / "moved")
    away = json.loads(call("diff", "a", "c", "--json").out)
    monkeypatch.chdir(tmp_path / "moved")
    here = json.loads(call("diff", "a", "c", "--json").out)

    assert list(out["commits"]) == ["commit"]
    assert [file["name"] for file in out["files"]] == ["helper.py", "model.py", "model.py"]
    assert {"-layer9 = 9", "+layer9 = 99"} <= set(out["files"][2]["lines"])
    assert out["files"][2]["what"] == "differs between the commits"
    assert away["notes"] == ["no repository here has both commits, so what was changed between them is not shown"]
    assert here["files"] == out["files"]


def test_packages_and_what_only_one_run_has(home: Path, call: Tracker) -> None:
    from tracker.core.files import keep

    for number, text in enumerate(
        ["numpy==1\nsame==2\n# mine==1 (editable, file:///x)\n", "numpy==2\nsame==2\nnew==3\n"]
    ):
        with tracker.init(
            project="p", id=f"r{number}", settings={"silent": True}, config={"x": 1, f"only{number}": 1}
        ) as run:
            keep(run, "environment/requirements.txt", text.encode(), "environment")
            keep(run, "code/files/new.bin" if number else "code/files/a.py", b"a\0b" if number else b"y = 1\n", "code")
    found = json.loads(call("diff", "r0", "r1", "--json").out)
    everything = json.loads(call("diff", "r0", "r1", "--json", "--all").out)

    assert found["packages"] == {"numpy": ["1", "2"], "mine": ["1 (editable, file:///x)", None], "new": [None, "3"]}
    assert found["config"] == {"only0": [1, None], "only1": [None, 1]}
    assert found["summary"] == {}
    assert [(file["name"], file["what"], file["lines"]) for file in found["files"]] == [
        ("a.py", "only in A", ["@@ -1 +0,0 @@", "-y = 1"]),
        ("new.bin", "only in B", []),
    ]
    assert everything["packages"]["same"] == ["2", "2"]
    assert everything["config"]["x"] == [1, 1]


def test_runs_that_do_not_differ(home: Path, call: Tracker) -> None:
    for name in ("a", "b"):
        with tracker.init(project="p", id=name, settings={"silent": True}, config={"x": float("nan")}) as run:
            run.log({"loss": float("nan")})
    code, out, _ = call("diff", "a", "b")

    assert code == 0
    assert out.endswith("\nthey do not differ.\n")
    assert call("diff", "a", "nowhere").code == 1


def test_a_long_difference_is_cut_and_can_be_had_in_full(home: Path, call: Tracker) -> None:
    from tracker.core.files import keep

    for name in ("a", "b"):
        with tracker.init(project="p", id=name, settings={"silent": True}) as run:
            keep(run, "code/files/x.py", "".join(f"{name} = {n}\n" for n in range(100)).encode(), "code")
            keep(run, "code/files/steer.py", f"\x1b[31m{name}\n".encode(), "code")
    short, full = call("diff", "a", "b").out, call("diff", "a", "b", "--full").out

    assert "... 161 more lines; --full shows all" in short
    assert "+b = 99" not in short
    assert "  +b = 99\n" in full
    assert "\x1b" not in full


def test_restore_makes_the_folder_and_tells_the_command(project: Path, call: Tracker, tmp_path: Path) -> None:
    target = tmp_path / "again"
    code, out, _ = call("restore", "p/c", "--into", str(target), "--packages", str(tmp_path / "req.txt"))
    command = out.splitlines()[-1].strip()

    assert code == 0
    assert f"is restored in {target}\n" in out
    seed = f"PYTHONHASHSEED={os.environ['PYTHONHASHSEED']} " if "PYTHONHASHSEED" in os.environ else ""
    assert f"cd {target} && {seed}OMP_NUM_THREADS=3 {sys.executable} train.py c 2" == command
    assert (target / "helper.py").read_text() == "x = 2\n"
    assert (target / "model.py").read_bytes() == (project / "model.py").read_bytes()
    assert "msgspec==" in (tmp_path / "req.txt").read_text()
    assert call("restore", "p/c", "--into", str(target)).code == 1
    assert "not an empty folder" in call("restore", "p/c", "--into", str(target)).err


def test_restore_says_what_is_missing(
    project: Path, call: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with 1, so that a script sees it."""
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("restore", "a", "--json")
    found = json.loads(out)

    assert code == 1
    assert found["folder"] == str(tmp_path / "restored-a")
    assert "cannot be had" in found["missing"][0]
    assert found["missing"][1] == "the changes in code/diff.patch need the commit"
    assert (tmp_path / "restored-a" / "helper.py").read_text() == "x = 1\n"
    assert found["command"][1:] == ["train.py", "a", "1"]


def test_both_work_on_a_server(project: Path, home: Path, call: Tracker, tmp_path: Path) -> None:
    """The bytes come over HTTP there."""
    with serving(home / "runs", tmp_path / "cache") as url:
        code, _, err = call("restore", "p/a", "--into", str(tmp_path / "again"), "--url", url)
        compared = json.loads(call("diff", "a", "b", "--json", "--url", url).out)
        folder = json.loads(call("diff", "a", "b", "--json").out)

    assert code == 0, err
    assert (tmp_path / "again" / "helper.py").read_text() == "x = 1\n"
    assert compared == folder
    assert compared["config"] == {"lr": [1.0, 2.0]}


def test_a_run_begun_in_this_process_is_captured_too(
    home: Path, call: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "PARTS", ("code",))
    tracker.init(project="p", id="here", settings={"silent": True, "disable_git": True}).finish()
    found = json.loads(call("show", "here", "--json").out)

    assert found["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
