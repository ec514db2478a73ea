"""`tracker artifact`, `tracker registry`, `tracker gc`, called as a user calls them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

import tracker

from .conftest import Tracker


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("bb")
    return folder


@pytest.fixture
def two(call: Tracker, data: Path) -> Path:
    """Two versions of digits/images: b.txt has changed, c.txt has come, a.txt is gone."""
    assert call("artifact", "put", "data", "-n", "digits/images", "-a", "first", "--metadata", '{"rows": 2}').code == 0
    (data / "a.txt").unlink()
    (data / "b.txt").write_text("BB")
    (data / "c.txt").write_text("ccc")
    assert call("artifact", "put", "data", "-n", "digits/images", "-a", "best", "--tag", "clean").code == 0
    return data


def test_put_tells_what_came_of_it_and_get_brings_it_back(call: Tracker, data: Path, tmp_path: Path) -> None:
    done = call("artifact", "put", "data", "--name", "digits/images", "-d", "pictures", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["path"], facts["files"], facts["size"]) == ("local/digits/images:v0", 2, 3)
    assert (facts["description"], facts["type"], facts["aliases"]) == ("pictures", "dataset", ["latest"])

    got = call("artifact", "get", "digits/images")
    folder = Path(got.out.strip())
    assert folder == tmp_path / "artifacts" / "images:v0"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.txt": "a", "b.txt": "bb"}
    assert call("artifact", "get", "digits/images:v0", "--root", "one", "--path", "b.txt").code == 0
    assert os.listdir("one") == ["b.txt"]
    (folder / "own").write_text("mine")
    assert call("artifact", "get", "digits/images:v0", "--exact").code == 0
    assert sorted(os.listdir(folder)) == ["a.txt", "b.txt"]


def test_ls_goes_from_projects_to_files(call: Tracker, two: Path) -> None:
    for arguments in ((), ("digits",), ("local/digits",), ("--type", "dataset")):
        head, row = call("artifact", "ls", *arguments).out.splitlines()
        assert head.split() == ["ARTIFACT", "TYPE", "VERSIONS", "LATEST", "SIZE", "UPDATED"]
        assert row.split()[:4] == ["digits/images", "dataset", "2", "v1"]
    assert "no artifacts in nowhere" in call("artifact", "ls", "nowhere").out
    rows = call("artifact", "ls", "digits/images").out.splitlines()
    assert rows[1].startswith("v1")
    assert "best, latest" in rows[1]
    assert "clean" in rows[1]
    assert rows[2].startswith("v0")
    files = call("artifact", "ls", "digits/images:v0").out.splitlines()
    assert [line.split()[0] for line in files] == ["PATH", "a.txt", "b.txt"]
    assert [each["version"] for each in json.loads(call("artifact", "ls", "digits/images", "--json").out)] == [1, 0]


def test_diff_shows_what_is_more_else_and_less(call: Tracker, two: Path) -> None:
    lines = call("artifact", "diff", "digits/images:v0", "digits/images:best").out.splitlines()

    assert [line.split("  ")[0] for line in lines] == [
        "+ c.txt", "~ b.txt", "- a.txt", "1 added, 1 changed, 1 removed",
    ]  # fmt: skip
    assert call("artifact", "diff", "digits/images:v0", "digits/images:v0").out == "they hold the same files.\n"


def test_aliases_move_and_show_tells_by_whom(call: Tracker, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    assert call("artifact", "alias", "digits/images:v0", "best").out == (
        "local/digits/images:v0 is called best, first.\n"
    )
    assert call("artifact", "alias", "digits/images:v0", "first", "--remove").code == 0
    wrong = call("artifact", "alias", "digits/images:v0", "first", "--remove")
    assert wrong.code == 1
    assert "has no alias 'first'" in wrong.err
    with tracker.init(project="digits", id="reader", settings={"silent": True}) as run:
        run.use_artifact("images:v0")

    shown = call("artifact", "show", "digits/images:v0").out
    assert "used by      local/digits/reader" in shown
    assert "metadata     {'rows': 2}" in shown
    assert "v0 alias best (was v1)  ada on" in shown
    facts = json.loads(call("artifact", "show", "digits/images:v0", "--json").out)
    assert [use["run"] for use in facts["used_by"]] == ["local/digits/reader"]
    assert facts["history"][-1]["action"] == "unalias"


def test_verify_says_what_differs(call: Tracker, two: Path) -> None:
    assert call("artifact", "get", "digits/images").code == 0
    assert "the folder holds local/digits/images:v1: 2 files" in call("artifact", "verify", "digits/images").out
    Path("artifacts/images:v1/b.txt").write_text("xx")

    wrong = call("artifact", "verify", "digits/images")
    assert wrong.code == 1
    assert "b.txt" in wrong.err


def test_versions_are_removed_by_their_number_only(call: Tracker, two: Path) -> None:
    assert "does not say which version" in call("artifact", "rm", "digits/images").err
    assert "still called 'first'" in call("artifact", "rm", "digits/images:v0").err
    assert call("artifact", "rm", "digits/images:v0", "--delete-aliases").code == 0
    assert "has no 'v0'" in call("artifact", "get", "digits/images:v0").err
    assert call("artifact", "rm", "digits/images:v7", "digits/images:best").code == 1
    assert len(json.loads(call("artifact", "ls", "digits/images", "--json").out)) == 1


def test_stages_are_moved_and_the_history_says_by_whom(call: Tracker, two: Path) -> None:
    assert "no registries" in call("registry", "ls").out
    linked = call("artifact", "link", "digits/images:v0", "data/approved", "-a", "production")
    assert linked.out == ".registry/data/approved:v0 links local/digits/images:v0; it is called production, latest.\n"
    assert call("artifact", "link", "digits/images:best", "data/approved", "-a", "staging").code == 0

    moved = call("registry", "promote", "data/approved:staging", "production")
    assert moved.out == "production is data/approved:v1 (was v0): local/digits/images:v1\n"
    row = call("registry", "ls").out.splitlines()[1]
    assert row.startswith("data/approved  dataset")
    assert "production v1, staging v1" in row
    assert "v1 alias production (was v0)" in call("registry", "history", "data/approved").out
    versions = json.loads(call("registry", "ls", "data/approved", "--json").out)
    assert [(each["version"], each["source"]) for each in versions] == [
        (1, "local/digits/images:v1"),
        (0, "local/digits/images:v0"),
    ]
    assert "which version" in call("registry", "promote", "data/approved", "production").err
    assert call("registry", "unlink", "data/approved:v0").code == 0
    assert len(json.loads(call("registry", "ls", "data/approved", "--json").out)) == 1


def test_gc_shows_first_and_removes_then(call: Tracker, two: Path, home: Path) -> None:
    call("artifact", "rm", "digits/images:v0", "--delete-aliases")
    assert "removed: 0 blobs" in call("gc").out  # too young
    old = time.time() - 5 * 86_400
    for path in (home / "runs" / ".blobs").glob("??/*"):
        os.utime(path, (old, old))

    dry = call("gc", "--dry-run")
    assert dry.out.startswith("would be removed: 2 blobs (")
    assert json.loads(call("gc", "--json").out)["blobs"] == 2
    assert call("gc").out.startswith("removed: 0 blobs (0 B)")
    assert call("artifact", "get", "digits/images").code == 0
    assert call("gc", "--cache", "much").code == 2
    assert call("gc", "--grace", "0").code == 2


def test_what_is_not_there_is_said(call: Tracker, two: Path) -> None:
    for arguments in (("get", "digits/imgs"), ("diff", "digits/imgs", "digits/images"), ("show", "digits/imgs")):
        done = call("artifact", *arguments)
        assert done.code == 1
        assert "did you mean 'images'" in done.err
    assert call("artifact", "put", "missing", "-n", "x").code == 2
    assert call("artifact", "put", "data", "-n", "x", "--metadata", "[1]").code == 2
    assert call("artifact", "put", "data", "-n", "a/b/c/d").code == 1
