"""What a run captures of code and environment: complete where it can be, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker import Api
from tracker.core import capture
from tracker.core.capture.cluster import cluster_facts, container_facts, reproducing_variables
from tracker.core.capture.git import Git, GitTrouble, TooMuch
from tracker.core.capture.ignoring import SECRETS, Ignore
from tracker.core.paths import RunPath, run_blobs
from tracker.core.restoring import restore

from .conftest import SCRIPT, Repository, Train, snapshot

QUIET = {"silent": True}


def all_bytes(run: tracker.core.query.Run, root: Path) -> bytes:
    """Answer everything that is kept of a run: journal and blobs."""
    folder = RunPath(run.entity, run.project, run.id).folder(root)
    journal = b"".join(path.read_bytes() for path in (folder / "streams").rglob("*") if path.is_file())
    return (
        journal
        + b"".join(file.read() for file in run.files())
        + repr(run.metadata).encode()
        + repr(run.config).encode()
    )


def test_the_facts_of_a_plain_script(repository: Repository, train: Train) -> None:
    """With W&B's names where it has them."""
    commit = repository.commit()
    repository.git("remote", "add", "origin", "https://me:hunter2secret@example.org/a/b.git")
    repository.write("new.py", "x = 1\n")
    run = train(repository.folder, "--lr", "0.1", SLURM_JOB_ID="17", SLURM_JWT="eyJ0", OMP_NUM_THREADS="2")
    facts = run.metadata

    assert facts["git"] == {
        "commit": commit,
        "branch": "main",
        "remote": "https://example.org/a/b.git",
        "root": str(repository.folder),
        "dirty": False,
    }
    assert facts["args"] == ["a", "--lr", "0.1"]
    assert facts["command"][1:] == ["train.py", "a", "--lr", "0.1"]
    assert (facts["cwd"], facts["codePath"]) == (str(repository.folder), "train.py")
    assert facts["executable"] == sys.executable
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["cpu_count_logical"] == os.cpu_count()
    assert facts["memory"]["total"] > 1 << 20
    assert facts["slurm"] == {"job_id": "17"}
    assert facts["env"]["OMP_NUM_THREADS"] == "2"
    assert "hunter2secret" not in repr(facts)
    assert [file.name for file in run.files() if file.kind == "code"] == [
        "code/manifest.json",
        "code/script/train.py",
        "code/untracked/new.py",
    ]


def test_packages_are_those_that_can_be_imported(repository: Repository, train: Train) -> None:
    from importlib import metadata

    run = train(repository.folder)
    lines = run.file("environment/requirements.txt").read().decode().splitlines()
    found = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))

    assert found["msgspec"] == metadata.version("msgspec")
    assert found["numpy"] == metadata.version("numpy")
    assert len(lines) == run.metadata["packages"]
    assert lines == sorted(lines, key=lambda line: line.lstrip("# ").lower())


def test_a_module_is_run_again_as_a_module(repository: Repository, train: Train, tmp_path: Path, home: Path) -> None:
    repository.write("pack/__init__.py", "")
    repository.write("pack/train.py", SCRIPT)
    repository.commit()
    done = subprocess.run(
        [sys.executable, "-u", "-m", "pack.train", "m"], cwd=repository.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with Api(dir=home / "runs") as api:
        run = api.run("local/p/m")
        restored = restore(run, tmp_path / "again")

    assert run.metadata["module"] == "pack.train"
    assert restored.command[1:] == ["-u", "-m", "pack.train", "m"]


SLOW_GIT = "#!/bin/sh\necho $$ >> {mark}\nsleep 300 &\nwait\n"


def test_a_git_that_hangs_delays_nothing(repository: Repository, train: Train, tmp_path: Path) -> None:
    """Init and finish return, what hangs is ended with all it has started, and it is said."""
    repository.commit()
    (tmp_path / "bin").mkdir()
    mark = tmp_path / "mark"
    (tmp_path / "bin" / "git").write_text(SLOW_GIT.format(mark=mark))
    (tmp_path / "bin" / "git").chmod(0o755)
    repository.write("train.py", SCRIPT.replace('{"silent": True}', "{}"))
    run = train(repository.folder, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    assert run.state == "finished"
    assert run.said.count("the code was not captured as a whole") == 1
    assert run.metadata["python"]
    assert "code/manifest.json" not in [file.name for file in run.files()]
    for pid in mark.read_text().split():
        limit = time.monotonic() + 10
        while _group_lives(int(pid)):
            assert time.monotonic() < limit, "what git has started goes on"
            time.sleep(0.02)


@pytest.mark.skipif(not hasattr(subprocess, "_fork_exec"), reason="Python 3.10 has no seam there")
def test_a_process_forked_while_git_is_started_delays_nothing(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the pipe's other end, and lives on, as one that loads data does."""
    repository.commit()
    start = subprocess._fork_exec  # type: ignore[attr-defined]
    forked: list[int] = []

    def fork_before(*arguments: object) -> int:
        pid = os.fork()
        if pid == 0:
            os.close(errors[1])
            signal.pause()
        forked.append(pid)
        answer: int = start(*arguments)
        return answer

    errors: list[int] = []
    pipe = os.pipe

    def remembered() -> tuple[int, int]:
        errors[:] = pipe()
        return errors[0], errors[1]

    monkeypatch.setattr(subprocess, "_fork_exec", fork_before)
    monkeypatch.setattr(os, "pipe", remembered)  # the last one tells whether the program could be executed
    try:
        assert Git(str(repository.folder)).ask("rev-parse", "--is-inside-work-tree") == b"true\n"
    finally:
        for pid in forked:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert len(forked) == 1


def test_what_is_stopped_while_git_is_started_does_not_wait(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit()
    git = Git(str(repository.folder))
    start = subprocess.Popen

    def stopped_meanwhile(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        stopping = threading.Thread(target=git.stop, daemon=True)
        stopping.start()
        stopping.join(60)
        assert not stopping.is_alive()
        return start(*arguments, **more)

    monkeypatch.setattr(subprocess, "Popen", stopped_meanwhile)
    with pytest.raises(GitTrouble, match="stopped"):
        git.ask("status")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return any(_is_running(int(pid), group) for pid in os.listdir("/proc") if pid.isdigit())


def _is_running(pid: int, group: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[2]) == group and fields[0] not in ("Z", "X")


def test_a_program_that_ends_meanwhile_leaves_no_index_and_no_word(repository: Repository, tmp_path: Path) -> None:
    """The copy of the index goes with the interpreter; Python's own temporary folder would warn of that."""
    repository.commit()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = f"""
from tracker.core.capture.git import Git
import os
git = Git({str(repository.folder)!r}, {str(scratch)!r})
git.copy_index()
assert os.listdir({str(scratch)!r})
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr, list(scratch.iterdir())) == (0, "", [])


def test_git_is_bounded_in_time_and_size(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("large.txt", "x" * 100_000)
    repository.commit()
    git = Git(str(repository.folder))
    with pytest.raises(TooMuch):
        git.ask("cat-file", "blob", "HEAD:large.txt", most_bytes=1000)
    assert git.ask("rev-parse", "--verify", "HEAD").strip()
    git.stop()
    with pytest.raises(GitTrouble, match="stopped"):
        git.ask("rev-parse", "HEAD")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(SLOW_GIT.format(mark=tmp_path / "mark"))
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitTrouble, match="did not answer within 0 s"):
        Git(str(repository.folder)).ask("status", seconds=0.2)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitTrouble, match="not installed"):
        Git(str(repository.folder)).ask("status")


def test_nothing_that_the_repository_configures_is_run(repository: Repository, train: Train, tmp_path: Path) -> None:
    """Monitors, hooks, viewers, filters, pagers, askers: each would leave a mark."""
    mark = tmp_path / "mark"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $@" >> {mark}\ncat\n')
    program.chmod(0o755)
    repository.write("data.txt", "1\n")
    repository.write("filtered.txt", "1\n")
    repository.write("viewed.txt", "1\n")
    repository.commit()
    for name in ("core.fsmonitor", "core.pager", "diff.external", "diff.odd.command", "diff.odd.textconv",
                 "core.sshCommand", "core.askPass", "credential.helper", "filter.odd.clean", "filter.odd.smudge",
                 "filter.odd.process", "core.editor", "gpg.program"):  # fmt: skip
        repository.git("config", name, str(program))
    repository.git("config", "filter.odd.required", "true")
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "pre-auto-gc"):
        hook = repository.write(f".git/hooks/{name}", program.read_text())
        hook.chmod(0o755)
    repository.write(".gitattributes", "filtered.txt filter=odd\nviewed.txt diff=odd\n")
    for name in ("data.txt", "filtered.txt", "viewed.txt"):
        repository.write(name, "2\n")
    run = train(repository.folder)
    done = restore(run, tmp_path / "again")

    assert not mark.exists(), mark.read_text()
    assert run.metadata["git"]["left_out"] == [
        {"path": "filtered.txt", "why": "another program keeps its content (a filter)", "size": 2}
    ]
    assert (tmp_path / "again" / "viewed.txt").read_text() == "2\n"
    assert len(done.missing) == 1


def test_a_filter_that_no_option_can_name_is_not_run_either(
    repository: Repository, train: Train, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    repository.write("a.txt", "1\n")
    repository.commit()
    repository.git("config", "filter.a=b.clean", f"touch {mark}; cat")
    repository.write(".gitattributes", "a.txt filter=a=b\n")
    repository.write("a.txt", "22\n")
    run = train(repository.folder)

    assert not mark.exists()
    assert "strange name" in run.metadata["git"]["trouble"]


def test_the_index_and_the_tree_stay_as_they_are(repository: Repository, train: Train) -> None:
    repository.commit()
    repository.write("a.txt", "1\n")
    before = snapshot(repository.folder)
    index = (repository.folder / ".git" / "index").read_bytes()
    os.utime(repository.folder / "train.py", (1, 1))  # git would like to note that
    train(repository.folder)

    assert (repository.folder / ".git" / "index").read_bytes() == index
    assert not (repository.folder / ".git" / "index.lock").exists()
    assert snapshot(repository.folder) == before


def test_submodules_are_noted(repository: Repository, train: Train, tmp_path: Path) -> None:
    inner = Repository(tmp_path / "inner")
    inner.write("x.txt", "1\n")
    inner.commit()
    repository.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.folder), "sub")
    repository.commit()
    sub = Repository(repository.folder / "sub")
    sub.write("x.txt", "2\n")
    commit = sub.commit()
    sub.write("x.txt", "3\n")
    repository.write("new.txt", "1\n")
    run = train(repository.folder)
    done = restore(run, tmp_path / "again")

    assert run.metadata["git"]["submodules"] == [{"path": "sub", "commit": commit}]
    assert any(f"the submodule 'sub' stood at {commit}" in note for note in done.notes)
    assert (tmp_path / "again" / "new.txt").read_text() == "1\n"


@pytest.mark.parametrize(
    ("variables", "names", "has_commit"),
    [
        ({"TRACKER_DISABLE_CODE": "true"}, ["environment/requirements.txt"], True),
        ({"WANDB_DISABLE_CODE": "true"}, ["environment/requirements.txt"], True),
        ({"TRACKER_SAVE_CODE": "false"}, ["environment/requirements.txt"], True),
        ({"TRACKER_DISABLE_GIT": "true"},
         ["code/manifest.json", "code/script/train.py", "environment/requirements.txt"], False),
        ({"TRACKER_DISABLE_META": "true", "TRACKER_DISABLE_GIT": "true"},
         ["code/manifest.json", "code/script/train.py"], False),
        ({"TRACKER_DISABLE_META": "true", "TRACKER_DISABLE_GIT": "true", "TRACKER_DISABLE_CODE": "true"}, [], False),
    ],
)  # fmt: skip
def test_each_part_can_be_turned_off(
    repository: Repository, train: Train, variables: dict[str, str], names: list[str], has_commit: bool
) -> None:
    commit = repository.commit()
    repository.write("new.py", "x = 1\n")
    run = train(repository.folder, **variables)

    assert [file.name for file in run.files()] == names
    assert run.metadata.get("git", {}).get("commit") == (commit if has_commit else None)
    assert ("packages" in run.metadata) == ("TRACKER_DISABLE_META" not in variables)


def test_a_folder_of_code_is_kept_from_the_start(tmp_path: Path, train: Train) -> None:
    folder = tmp_path / "plain"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "src" / "deep" / "a.py").write_text("a = 1\n")
    (folder / "src" / "notes.md").write_text("no code\n")
    (folder / "train.py").write_text(SCRIPT)
    run = train(folder, TRACKER_CODE_DIR="src")

    assert [file.name for file in run.files() if "/files/" in file.name] == ["code/files/src/deep/a.py"]


def test_log_code_takes_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """W&B's arguments: functions of a path, or of a path and the root; secrets, caches and ignored files never."""
    root = tmp_path / "code"
    for name in ("a.py", "b.txt", "sub/c.py", "sub/d.json", "__pycache__/a.py", "venv/x.py", "wandb/y.py", ".env",
                 "private/p.py", "requirements.txt", "key.pem"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"password = 'hunter2'  # {name}\n")
    (root / ".trackerignore").write_text("private/\n")
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def include(path: str, base: str) -> bool:
        seen.append(os.path.relpath(path, base))
        return True

    with tracker.init(project="p", id="c", settings=QUIET) as run:
        plain = run.log_code("code")
        chosen = run.log_code("code", include_fn=include, exclude_fn=lambda path: path.endswith(".json"))
        nothing = run.log_code("nowhere")
    data = Api(dir=home / "runs").run("p/c").file("code/files/code/a.py")

    assert plain == ["code/files/code/a.py", "code/files/code/requirements.txt", "code/files/code/sub/c.py"]
    assert [name.removeprefix("code/files/code/") for name in chosen] == [
        ".trackerignore", "a.py", "b.txt", "requirements.txt", "sub/c.py",
    ]  # fmt: skip
    assert nothing == []
    assert sorted(seen) == [".trackerignore", "a.py", "b.txt", "requirements.txt", "sub/c.py", "sub/d.json"]
    assert (data.read(), data.details["redacted"]) == (b"password = '[redacted]'  # a.py\n", 1)


def test_a_name_makes_the_code_an_artifact_as_well(tmp_path: Path, home: Path) -> None:
    """Of type "code", its paths below the folder, secrets masked; the same files are the same version."""
    (tmp_path / "src" / "sub").mkdir(parents=True)
    (tmp_path / "src" / "sub" / "a.py").write_text("password = 'hunter2'\n")
    (tmp_path / "src" / "b.py").write_text("b = 1\n")
    for run_id in ("r1", "r2"):
        with tracker.init(project="named", id=run_id, settings=QUIET) as run:
            kept = run.log_code(tmp_path / "src", name="source")
            assert [name.rpartition("/")[2] for name in kept] == ["b.py", "a.py"]
            run.log_code(tmp_path / "src")
    with Api(dir=home / "runs") as api:
        (artifact,) = api.artifacts("code", "named/source")
        assert [file.path for file in artifact.files()] == ["b.py", "sub/a.py"]
        assert artifact.get_entry("sub/a.py").open().read() == b"password = '[redacted]'\n"
        assert [each.name for each in api.artifact_collections("named")] == ["source"]


def test_a_fault_in_what_log_code_calls_is_said_and_harms_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.init(project="p", id="d") as run:
        assert run.log_code(include_fn=lambda path: 1 / 0) == []
        run.log({"a": 1})

    assert "log_code('.') has kept nothing (ZeroDivisionError" in capsys.readouterr().err + caplog.text
    assert Api(dir=home / "runs").run("p/d").summary["a"] == 1


def test_secrets_are_in_nothing_that_is_kept(repository: Repository, home: Path) -> None:
    """Everywhere a user may have put one: config, nested config, argv, variables, remote, diff, script, new files."""
    from tests.core.test_redaction import TOKENS

    tokens = list(TOKENS.values())
    repository.write("tracked.py", "x = 1\n")
    repository.commit()
    repository.git("remote", "add", "origin", f"https://oauth2:{tokens[7]}@example.org/a.git")
    lines = [f'k{index} = "{token}"' for index, token in enumerate(tokens)]
    repository.write("tracked.py", "x = 1\n" + "\n".join(lines) + "\n")
    repository.write("new.py", "\n".join(lines) + "\n")
    config = {"api_key": "topsecretvalue", "nested": {"deep": [{"note": f"use {token}"} for token in tokens]}}
    script = f"""\
import sys, tracker
config = {config!r}
with tracker.init(project="p", id="s", config=config, settings={{"silent": True}}) as run:
    run.config["later"] = {{"db": "postgres://u:topsecretvalue@h/d"}}
    assert run.config.api_key == "topsecretvalue"
"""
    repository.write("train.py", script)
    arguments = [f"--note={token}" for token in tokens] + ["--password", "topsecretvalue", "--hf_token=topsecretvalue"]
    variables = {"SLURM_JOB_NAME": f"x {tokens[0]}", "XLA_FLAGS": f"--a={tokens[1]}", "AWS_SECRET": "topsecretvalue"}
    done = subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=repository.folder, capture_output=True, text=True,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = Api(dir=home / "runs").run("p/s")
    kept = all_bytes(run, home / "runs")

    assert [token for token in [*tokens, "topsecretvalue"] if token.encode() in kept] == []
    assert run.file("code/diff.patch").details["redacted"] >= len(tokens)
    assert {"code/untracked/new.py", "code/script/train.py", "code/manifest.json"} <= {f.name for f in run.files()}
    assert run.config["api_key"] == "[redacted]"


def test_secrets_are_kept_where_that_is_asked_for(repository: Repository, train: Train, home: Path) -> None:
    repository.commit()
    repository.write("new.py", "password = 'hunter2'\n")
    run = train(repository.folder, "--password", "hunter2", TRACKER_REDACT="false")

    assert run.file("code/untracked/new.py").read() == b"password = 'hunter2'\n"
    assert run.metadata["args"] == ["a", "--password", "hunter2"]


def test_the_cells_of_a_notebook_are_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Those that were run until the end, as a notebook that Jupyter opens."""
    import types

    shell = types.SimpleNamespace(user_ns={"In": ["", "import tracker", "run = tracker.init()"]})
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(capture, "PARTS", ("code",))
    with tracker.init(project="p", id="n", settings={**QUIET, "disable_git": True}) as run:
        shell.user_ns["In"] += ["password = 'hunter2'\nrun.log({'a': 1})", "run.finish()"]
        run.log({"a": 1})
    found = Api(dir=home / "runs").run("p/n")
    book = json.loads(found.file("code/notebook.ipynb").read())

    assert ["".join(cell["source"]) for cell in book["cells"]] == [
        "import tracker",
        "run = tracker.init()",
        "password = '[redacted]'\nrun.log({'a': 1})",
        "run.finish()",
    ]
    assert (book["nbformat"], {cell["cell_type"] for cell in book["cells"]}) == (4, {"code"})
    assert "program" not in found.metadata or not found.metadata["program"].endswith(".ipynb")


def test_a_real_kernel_is_captured(tmp_path: Path) -> None:
    """Cells as they were run, the one that finishes among them; the kernel's launcher is no script of the user's."""
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    settings = "settings={'silent': True, 'disable_git': True}"
    cells = [
        f"import tracker\nrun = tracker.init(project='p', id='nb', dir={str(tmp_path)!r}, {settings})",
        "run.log({'a': 1})",
        "run.finish()",
    ]
    try:
        for cell in cells:
            reply = client.execute_interactive(cell, timeout=60, output_hook=lambda message: None)
            assert reply["content"]["status"] == "ok", reply
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    found = Api(dir=tmp_path).run("p/nb")
    book = json.loads(found.file("code/notebook.ipynb").read())
    restored = restore(found, tmp_path / "again")

    assert ["".join(cell["source"]) for cell in book["cells"]] == cells
    assert [file.name for file in found.files() if "script" in file.name] == []
    assert json.loads((tmp_path / "again" / "notebook.ipynb").read_text()) == book
    assert (restored.missing, restored.command) == ([], ["jupyter", "notebook", "notebook.ipynb"])
    assert found.metadata["notebook"] is True


def test_a_killed_run_has_what_there_was_time_for(repository: Repository, home: Path) -> None:
    """Facts first: they are there though the process was killed outright."""
    repository.commit()
    script = """\
import os, signal, tracker, threading
run = tracker.init(project="p", id="k", settings={"silent": True})
for thread in threading.enumerate():
    if thread.name == "tracker-code":
        thread.join()
os.kill(os.getpid(), signal.SIGKILL)
"""
    repository.write("train.py", script)
    done = subprocess.run([sys.executable, "train.py"], cwd=repository.folder)
    run = Api(dir=home / "runs").run("p/k")

    assert done.returncode == -9
    assert run.metadata["python"]
    assert "code/manifest.json" in [file.name for file in run.files()]


def test_a_later_process_of_a_run_replaces_what_is_restored(
    repository: Repository, train: Train, tmp_path: Path
) -> None:
    """A file that was there when the first one began, and is not any more, does not come back."""
    repository.commit()
    first = repository.write("first.py", "x = 1\n")
    train(repository.folder, id="r")
    first.unlink()
    repository.write("second.py", "x = 2\n")
    before = snapshot(repository.folder)
    done = restore(train(repository.folder, id="r"), tmp_path / "again")

    assert done.missing == []
    assert snapshot(tmp_path / "again") == before


def test_runs_kept_in_the_repository_are_no_code(repository: Repository, train: Train) -> None:
    repository.commit()
    repository.write("own runs/notes.txt", "x")
    script = SCRIPT.replace('project="p"', 'project="p", dir="own runs"')
    repository.write("train.py", script)
    subprocess.run([sys.executable, "train.py", "a"], cwd=repository.folder, check=True)
    subprocess.run([sys.executable, "train.py", "b"], cwd=repository.folder, check=True)
    run = Api(dir=repository.folder / "own runs").run("local/p/b")

    assert [file.name for file in run.files() if "untracked" in file.name] == []
    assert run_blobs(RunPath("local", "p", "b").folder(repository.folder / "own runs")).is_dir()


@pytest.mark.parametrize(
    ("patterns", "covered", "free"),
    [
        (["*.log"], ["a.log", "x/y.log"], ["log", "a.log2"]),
        (["/build"], ["build", "build/x"], ["sub/build"]),
        (["data/"], ["data/x", "a/data/y/z"], ["data", "a/data"]),
        (["a/b.txt"], ["a/b.txt"], ["x/a/b.txt", "a/c/b.txt"]),
        (["**/tmp"], ["tmp", "x/y/tmp", "x/tmp/z"], ["tmpx"]),
        (["a/**/z"], ["a/z", "a/b/c/z"], ["z", "b/z"]),
        (["docs/**"], ["docs/x", "docs/x/y"], ["doc"]),
        (["*.txt", "!keep.txt"], ["a.txt"], ["keep.txt", "x/keep.txt"]),
        (["?.py", "[ab]?.md", "[!x].c"], ["a.py", "b1.md", "y.c"], ["ab.py", "c1.md", "x.c"]),
        (["# comment", "", "  ", "\\#x", "sp ace"], ["#x", "sp ace"], ["# comment"]),
        (["[", "[z-a]", "ok"], ["ok"], ["z"]),
        (["*"], ["a", "a/b"], []),
        (SECRETS, [".env", "x/.env.local", "id_rsa", "a/.ssh/config", "key.pem"], [".env.example", "env.py", "keys.py"]),
    ],
)  # fmt: skip
def test_files_are_ignored_as_git_would(patterns: list[str], covered: list[str], free: list[str]) -> None:
    ignore = Ignore(patterns)

    assert [path for path in covered if not ignore.covers(path)] == []
    assert [path for path in free if ignore.covers(path)] == []


def test_of_the_environment_only_what_is_named_is_read() -> None:
    variables = {
        "SLURM_JOB_ID": "1", "SLURM_JWT": "secret", "SECRET": "x", "RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node1",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "pod-1", "GITHUB_TOKEN": "x", "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "7", "OMP_NUM_THREADS": "4", "JOB_ID": "5",
    }  # fmt: skip

    facts = cluster_facts(variables)
    namespace = facts["kubernetes"].pop("pod_namespace", None)
    assert namespace is None or isinstance(namespace, str)
    assert facts == {
        "slurm": {"job_id": "1"},
        "torchrun": {"rank": "3", "world_size": "8", "master_addr": "node1"},
        "kubernetes": {"pod_name": "pod-1"},
        "github_actions": {"run_id": "7"},
    }
    assert reproducing_variables(variables) == {"OMP_NUM_THREADS": "4"}
    assert cluster_facts({"RANK": "1", "POD_NAME": "x"}) == {}
    image = container_facts({"TRACKER_DOCKER": "team/train@sha256:" + "ab" * 32})
    assert image is not None
    assert (image["image"], image["digest"]) == ("team/train@sha256:" + "ab" * 32, "sha256:" + "ab" * 32)
