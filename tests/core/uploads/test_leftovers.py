"""What processes leave word of, where several machines and containers share one folder of runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tracker
from tracker.core import processes
from tracker.core.artifacts.manifest import Manifest
from tracker.core.artifacts.version import Draft
from tracker.core.blobs import FolderBlobs
from tracker.core.connection import Connection
from tracker.core.history import read_run
from tracker.core.paths import RunPath, blobs_folder, host_name, run_blobs
from tracker.core.sync import leftovers
from tracker.core.uploads import Uploads, left_blobs, left_versions

ADDRESS = "http://127.0.0.1:9"
HOURS = 7 * 3600


def leave(root: Path, run_id: str = "r1") -> RunPath:
    """Begin to send bytes and a version of a run, and do not end."""
    path = RunPath("local", "up", run_id)
    folder = path.folder(root)
    (folder / "streams" / f"18f-{os.getpid()}-aa").mkdir(parents=True)
    uploads = Uploads(path, folder, root, Connection(ADDRESS, None), say=lambda _: None, is_silent=True)
    uploads.blobs("run", [FolderBlobs(run_blobs(folder)).put(b"media")])
    manifest = FolderBlobs(blobs_folder(root)).put(Manifest(()).dump())
    draft = Draft(entity="local", project="up", name="net", type="model", digest=manifest, manifest=manifest)
    uploads.claim(draft, "token-1")
    uploads.finish(0.0)
    return path


def found(root: Path) -> tuple[int, int]:
    return len(list(left_blobs(root))), len(list(left_versions(root)))


def go_to(monkeypatch: pytest.MonkeyPatch, container: str) -> None:
    """Be in a container: its own numbers of processes, in which this process' is somebody's, or nobody's."""
    monkeypatch.setattr(processes, "whereabouts", lambda: f"box.{container}")
    monkeypatch.setattr("tracker.core.uploads.whereabouts", lambda: f"box.{container}", raising=False)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_process_of_another_container_is_not_judged_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """The same machine's name, another namespace: neither alive nor dead, as long as its run writes."""
    go_to(monkeypatch, "1")
    path = leave(tmp_path)
    go_to(monkeypatch, "2")
    monkeypatch.setattr("tracker.core.uploads.is_alive", lambda _pid: is_there)
    monkeypatch.setattr(processes, "is_alive", lambda _pid: is_there)
    assert found(tmp_path) == (0, 0)
    for each in [*path.folder(tmp_path).rglob("*"), *(tmp_path / ".blobs" / ".outbox").iterdir()]:
        os.utime(each, (each.stat().st_atime, each.stat().st_mtime - HOURS))
    assert found(tmp_path) == (1, 1)
    (path.folder(tmp_path) / "streams" / f"18f-{os.getpid()}-aa" / "00000001.seg").write_bytes(b"it lives")

    assert found(tmp_path)[0] == 0


def test_a_number_that_was_given_again_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "started", lambda _pid: "17")
    monkeypatch.setattr("tracker.core.uploads.started", lambda _pid: "17", raising=False)
    leave(tmp_path)
    assert found(tmp_path) == (0, 0)
    monkeypatch.setattr(processes, "started", lambda _pid: "18")

    assert found(tmp_path) == (1, 1)


def test_notes_of_the_older_form_are_read(tmp_path: Path) -> None:
    """They bear the machine's name and the number alone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = RunPath("local", "up", "old").folder(tmp_path)
    (folder / "streams").mkdir(parents=True)
    notes = folder / "blobs" / ".unsent"
    notes.mkdir(parents=True)
    for pid in (gone.pid, os.getpid()):
        (notes / f"{host_name()}-{pid}").write_text(ADDRESS)
    outbox = tmp_path / ".blobs" / ".outbox"
    outbox.mkdir(parents=True)
    draft = '{"entity":"local","project":"up","name":"net","type":"model","digest":"","manifest":""}'
    for pid in (gone.pid, os.getpid()):
        (outbox / f"token{pid}").write_text(
            f'{{"address":"{ADDRESS}","host":"{host_name()}","pid":{pid},"token":"{pid}","draft":{draft}}}'
        )

    assert [[note.name for note in left.notes] for left in left_blobs(tmp_path)] == [[f"{host_name()}-{gone.pid}"]]
    assert [left.token for left in left_versions(tmp_path)] == [str(gone.pid)]


CHILD = """
import sys, tracker
quick = {"silent": True, "base_url": sys.argv[2], "finish_stall_seconds": 0.1}
run = tracker.init(project="up", id="far", dir=sys.argv[1], settings=quick)
run.log({"loss": 1.0})
print("begun", flush=True)
sys.stdin.read()
"""


def in_namespace() -> bool:
    """Answer whether a container can be stood in for here: a namespace of processes."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-r", "-p", "-f", "--mount-proc", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not in_namespace(), reason="no namespaces of processes here")
def test_the_sender_leaves_alone_what_a_container_writes(tmp_path: Path) -> None:
    """A run in another namespace, under this machine's name: its number there is nobody's here."""
    command = ["unshare", "-r", "-p", "-f", "--mount-proc", sys.executable, "-c", CHILD, str(tmp_path), ADDRESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        (stream,) = (RunPath("local", "up", "far").folder(tmp_path) / "streams").glob("*-*-*")
        # Nobody here has that number: 1 would be this machine's own first process.
        renamed = stream.with_name(stream.name.replace(f"-{stream.name.split('-')[1]}-", "-4194304-"))
        os.symlink(stream, renamed)
        (stream / "acked").write_text(f"0 {ADDRESS}\n")
        assert [left.folder for left in leftovers(tmp_path)] == []
        child.communicate(b"")


def test_a_run_of_another_container_is_not_crashed_while_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is nobody's here; that says nothing."""
    settings = {"silent": True}
    run = tracker.init(project="up", id="far", dir=tmp_path, mode="offline", settings=settings)
    run.log({"loss": 1.0})
    monkeypatch.setattr("tracker.core.history.is_alive", lambda _pid: False)
    monkeypatch.setattr(processes, "is_alive", lambda _pid: False)
    here = read_run(run.folder).state
    go_to(monkeypatch, "2")
    there = read_run(run.folder).state
    run.finish()

    assert (here, there) == ("crashed", "running")
