"""A run's folder made again, to the bit, from what the run has captured."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tracker import Api
from tracker.core.errors import UsageError
from tracker.core.restoring import restore

from .conftest import SCRIPT, Repository, Train, snapshot


def make_dirty(repository: Repository) -> str:
    """Commit, and then change whatever can be changed; answer the commit."""
    write = repository.write
    for name in ("modified", "staged", "both", "deleted", "removed by git", "old name", "becomes a link", "mode"):
        write(f"{name}.txt", f"{name}\nline\nline\n" * 20)
    write("windows.txt", b"one\r\ntwo\r\nthree\r\n" * 10)
    write("no newline.txt", "one\ntwo")
    write("picture.bin", bytes(range(256)) * 40)
    write("gone.bin", bytes(reversed(range(256))) * 40)
    write("deep/er/and/deeper.py", "x = 1\n")
    write("t\u00e4st/\u65e5\u672c\u8a9e \u2028.txt", "a\n")
    write('quo"ted\ttab\\.txt', "a\nb\n")
    write(".gitignore", "ignored/\n*.log\n")
    os.symlink("modified.txt", repository.folder / "link")
    write("turns/into/folder", "file\n")
    write("latin.txt", "\u00e4\u00f6\u00fc\n".encode("latin-1") * 5)
    commit = repository.commit()

    write("modified.txt", (repository.folder / "modified.txt").read_bytes() + b"more\n")
    write("staged.txt", "all new\n")
    write("both.txt", "staged\n")
    repository.git("add", "staged.txt", "both.txt")
    write("both.txt", "staged and changed\n")
    (repository.folder / "deleted.txt").unlink()
    repository.git("rm", "-q", "removed by git.txt")
    repository.git("mv", "old name.txt", "new name.txt")
    write("new name.txt", (repository.folder / "new name.txt").read_bytes() + b"renamed and changed\n")
    (repository.folder / "becomes a link.txt").unlink()
    os.symlink("deep/er", repository.folder / "becomes a link.txt")
    (repository.folder / "mode.txt").chmod(0o755)
    write("windows.txt", (repository.folder / "windows.txt").read_bytes().replace(b"two", b"2", 3) + b"unix\nmac\r")
    write("no newline.txt", "one\n2")
    write("picture.bin", bytes(range(255, -1, -1)) * 40)
    (repository.folder / "gone.bin").unlink()
    write("deep/er/and/deeper.py", "x = 2\n")
    write("t\u00e4st/\u65e5\u672c\u8a9e \u2028.txt", "b\n")
    write('quo"ted\ttab\\.txt', "a\nc\n")
    os.unlink(repository.folder / "link")
    os.symlink("staged.txt", repository.folder / "link")
    (repository.folder / "turns/into/folder").unlink()
    write("turns/into/folder/file", "inside\n")
    write("latin.txt", "\u00e4\u00f6\n".encode("latin-1") * 5)
    write("added.bin", b"\0\1\2" * 100)
    repository.git("add", "added.bin")
    write("new/untracked.py", "y = 1\n")
    write("new/sub/run.sh", "#!/bin/sh\n").chmod(0o755)
    write("new/\u00fcn\u00efcode \U0001f600.txt", "\U0001f600\r\n")
    write("new/empty.txt", b"")
    os.symlink("../new/untracked.py", repository.folder / "new/link")
    return commit


def test_a_dirty_checkout_is_made_again_to_the_bit(repository: Repository, train: Train, tmp_path: Path) -> None:
    """Modified, staged, deleted, renamed, binary, links, modes, line ends, odd names, and files nobody has committed."""
    commit = make_dirty(repository)
    before = snapshot(repository.folder)
    run = train(repository.folder, "--lr", "0.1")
    done = restore(run, tmp_path / "again")

    assert done.missing == []
    assert snapshot(tmp_path / "again") == before
    assert (done.commit, done.source) == (commit, str(repository.folder))
    assert snapshot(repository.folder) == before
    assert repository.git("rev-parse", "HEAD") == commit


def test_the_command_runs_the_same_program_again(repository: Repository, train: Train, tmp_path: Path) -> None:
    """In the same folder of the tree, with the variables that count."""
    repository.write("work/deep/here", "")
    repository.write("train.py", SCRIPT + "import os; open('out.log', 'w').write(repr((sys.argv, os.getcwd())))\n")
    repository.commit()
    repository.write("train.py", (repository.folder / "train.py").read_text() + "# changed\n")
    script = str(repository.folder / "train.py")
    run = train(repository.folder / "work" / "deep", "--name", "two words", script=script, OMP_NUM_THREADS="3")
    done = restore(run, tmp_path / "again")
    text = done.shell.replace("train.py a ", "train.py b ")
    result = subprocess.run(text, shell=True, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert done.directory == tmp_path / "again" / "work" / "deep"
    assert "OMP_NUM_THREADS=3" in done.shell
    argv, folder = eval((done.directory / "out.log").read_text())  # what the script has written itself
    assert argv == [str(tmp_path / "again" / "train.py"), "b", "--name", "two words"]
    assert folder == str(done.directory)


def test_the_commit_comes_from_the_remote_where_the_folder_is_gone(
    repository: Repository, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit()
    bare = tmp_path / "remote.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.folder), str(bare)], check=True)
    repository.git("remote", "add", "origin", f"file://{bare}")
    repository.write("new.py", "x = 1\n")
    before = snapshot(repository.folder)
    run = train(repository.folder)
    repository.folder.rename(tmp_path / "moved away")
    monkeypatch.chdir(tmp_path)
    done = restore(run, tmp_path / "again")
    bare.rename(tmp_path / "gone.git")
    lost = restore(run, tmp_path / "without")
    monkeypatch.chdir(tmp_path / "moved away")  # a clone of our own serves as well
    here = restore(run, tmp_path / "from here")

    assert (done.missing, done.source) == ([], f"file://{bare}")
    assert snapshot(tmp_path / "again") == before
    assert lost.commit is None
    assert "cannot be had" in lost.missing[0]
    assert (tmp_path / "without" / "new.py").read_text() == "x = 1\n"
    assert here.missing == []
    assert snapshot(tmp_path / "from here") == before


def test_nothing_is_written_over(repository: Repository, train: Train, tmp_path: Path) -> None:
    repository.commit()
    run = train(repository.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")

    with pytest.raises(UsageError, match="not an empty folder"):
        restore(run, tmp_path / "full")
    with pytest.raises(UsageError, match="not an empty folder"):
        restore(run, tmp_path / "full" / "mine")
    assert (tmp_path / "full" / "mine").read_text() == "mine"


def test_lines_with_secrets_come_back_where_the_commit_has_them(
    repository: Repository, train: Train, tmp_path: Path
) -> None:
    """What was masked in lines that were there before is taken from the commit; what was added stays masked, and is said."""
    old = "password = 'hunter2-old'\n"
    repository.write("settings.py", f"a = 1\n{old}b = 2\n{old}c = 3\n{old}d = 4\n" + "x = 1\n" * 30 + old)
    repository.commit()
    repository.write("settings.py", f"a = 1\n{old}b = 22\n{old}c = 3\n{old}d = 4\n" + "x = 1\n" * 30 + "gone = 1\n")
    before = snapshot(repository.folder)
    clean = train(repository.folder, id="a")
    diff = clean.file("code/diff.patch").read()
    repository.write("more.py", "ok = 1\n")
    repository.write("settings.py", "API_KEY = 'abcdef123'\n" + (repository.folder / "settings.py").read_text())
    dirty = train(repository.folder, id="b")
    done = restore(clean, tmp_path / "clean")
    masked = restore(dirty, tmp_path / "masked")

    assert b"hunter2" not in diff
    assert b"[redacted]" in diff
    assert done.missing == []
    assert snapshot(tmp_path / "clean") == before
    assert masked.missing == ["1 changed lines held secrets; they are masked in code/diff.patch, and so they are here"]
    text = (tmp_path / "masked" / "settings.py").read_text()
    assert text == (repository.folder / "settings.py").read_text().replace("abcdef123", "[redacted]")


def test_a_run_without_git_gives_back_what_it_has_kept(train: Train, tmp_path: Path) -> None:
    """The script, and what `log_code` was told to keep; no git is needed for it."""
    folder = tmp_path / "plain"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "model.py").write_bytes(b"x = 1\r\n")
    (folder / "lib" / "data.csv").write_text("1,2\n")
    (folder / "train.py").write_text(SCRIPT.replace("    run.log", "    run.log_code()\n    run.log"))
    run = train(folder, "--lr", "0.1", PATH="/nowhere")
    done = restore(run, tmp_path / "again")

    assert (done.missing, done.commit) == ([], None)
    assert {name: data for name, (_, data) in snapshot(tmp_path / "again").items()} == {
        "train.py": (folder / "train.py").read_bytes(),
        "lib/model.py": b"x = 1\r\n",
    }
    assert done.command[1:] == ["train.py", "a", "--lr", "0.1"]
    assert done.directory == tmp_path / "again"


def test_a_repository_without_a_commit_is_kept_as_files(repository: Repository, train: Train, tmp_path: Path) -> None:
    repository.write("staged.py", "a = 1\n")
    repository.git("add", "staged.py")
    repository.write("not staged.py", "b = 1\n")
    before = snapshot(repository.folder)
    done = restore(train(repository.folder), tmp_path / "again")

    assert done.missing == []
    assert snapshot(tmp_path / "again") == before


def test_what_was_left_out_is_said(repository: Repository, train: Train, tmp_path: Path) -> None:
    """Too large, no text, ignored, secret by its name: each with its reason; a large file that was deleted is deleted."""
    repository.write("large.txt", "x" * 11_000_000)
    repository.write("deleted large.txt", "y" * 11_000_000)
    repository.write("kept.txt", "1\n")
    repository.write("private.ipynb", "1\n")
    repository.write(".trackerignore", "private*\n!private-but-fine.txt\nnotes/\n")
    repository.commit()
    repository.write("large.txt", "x" * 11_000_001)
    (repository.folder / "deleted large.txt").unlink()
    repository.write("kept.txt", "2\n")
    repository.write("private.ipynb", "2\n")
    repository.write("untracked large.txt", "x" * 2_000_000)
    repository.write("untracked.bin", b"\0" * 10)
    repository.write(".env", "A=1\n")
    repository.write("private.txt", "1\n")
    repository.write("private-but-fine.txt", "1\n")
    repository.write("notes/a.txt", "1\n")
    run = train(repository.folder)
    done = restore(run, tmp_path / "again")
    reasons = {entry["path"]: entry["why"] for entry in run.metadata["git"]["left_out"]}
    found = snapshot(tmp_path / "again")

    assert reasons == {
        "large.txt": "larger than 10,485,760 bytes",
        "private.ipynb": "ignored",
        ".env": "its name says that it holds secrets",
        "untracked large.txt": "larger than 1,048,576 bytes",
        "untracked.bin": "no text",
    }
    assert len(done.missing) == 5
    assert found["kept.txt"] == ("-", b"2\n")
    assert found["private-but-fine.txt"] == ("-", b"1\n")
    assert "deleted large.txt" not in found
    assert not {"private.txt", "notes/a.txt", ".env"} & set(found)
    assert b"A=1" not in b"".join(file.read() for file in run.files())


@pytest.mark.parametrize(
    "path",
    ["../escaped", "/tmp/escaped", "a/../../escaped", ".git/hooks/post-checkout", ".GIT/config", "sub/.git/config",
     "git~1/config", ".git./config", "link/escaped"],
)  # fmt: skip
def test_a_hostile_run_writes_nowhere_else(home: Path, tmp_path: Path, path: str) -> None:
    """Names and manifests come from whoever wrote the run."""
    import tracker
    from tracker.core.files import keep

    (tmp_path / "elsewhere").mkdir()
    with tracker.init(
        project="p", id="bad", settings={"silent": True, "disable_git": True, "disable_code": True}
    ) as run:
        keep(run, "code/untracked/x", b"bad", "code")
        keep(run, "code/untracked/link", str(tmp_path / "elsewhere").encode(), "code", mode="120000")
        entries = [
            {"path": "link", "file": "code/untracked/link", "mode": "120000"},
            {"path": path, "file": "code/untracked/x", "mode": "100755"},
        ]
        manifest = {
            "version": 1,
            "untracked": entries,
            "removed": [path],
            "folder": "../..",
            "remote": "--upload-pack=x",
        }
        keep(run, "code/manifest.json", json.dumps(manifest).encode(), "code")
    with Api() as api:
        done = restore(api.run("local/p/bad"), tmp_path / "deep" / "again")

    assert any("cannot be written" in sentence for sentence in done.missing)
    assert [name for name in snapshot(tmp_path) if "escaped" in name or ".git" in name.lower()] == []
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list(snapshot(tmp_path / "deep" / "again")) == ["link"]


@pytest.mark.parametrize("remote", ["ext::sh -c touch% {}", "--upload-pack=touch {}", "-cx=y"])
def test_a_hostile_remote_runs_nothing(
    home: Path, tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracker
    from tracker.core.files import keep

    mark = tmp_path / "mark"
    with tracker.init(
        project="p", id="bad", settings={"silent": True, "disable_git": True, "disable_code": True}
    ) as run:
        manifest = {
            "version": 1,
            "commit": "a" * 40,
            "remote": remote.format(shlex.quote(str(mark))),
            "root": "/nowhere",
        }
        keep(run, "code/manifest.json", json.dumps(manifest).encode(), "code")
    monkeypatch.chdir(tmp_path)
    with Api() as api:
        done = restore(api.run("local/p/bad"), tmp_path / "again")

    assert not mark.exists()
    assert len(done.missing) == 1
    assert list((tmp_path / "again").iterdir()) == []


def test_a_run_with_no_code_says_so(home: Path, tmp_path: Path) -> None:
    import tracker

    settings = {"silent": True, "disable_git": True, "save_code": False}
    tracker.init(project="p", id="none", settings=settings).finish()
    with Api() as api, pytest.raises(UsageError, match="has no code"):
        restore(api.run("local/p/none"), tmp_path / "again")

    assert not (tmp_path / "again").exists()
