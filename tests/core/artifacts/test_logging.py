"""Artifacts of a run: held at once, stored behind its back, in order, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tracker
from tracker.core.artifacts import storing
from tracker.core.artifacts.completing import complete_left
from tracker.core.artifacts.place import local_place
from tracker.core.blobs import FolderBlobs
from tracker.core.errors import ChangedError, StorageError, TrackerError, UsageError
from tracker.core.journal import StreamReader
from tracker.core.limits import FINISH_STALL_SECONDS
from tracker.core.paths import find_runs, streams
from tracker.core.record import Kind


@pytest.fixture
def root(home: Path) -> Path:
    return home / "runs"


@pytest.fixture
def run(root: Path) -> Iterator[tracker.Run]:
    with tracker.init(project="digits", id="r1", settings={"silent": True}) as run:
        yield run


def edges(root: Path) -> list[dict[str, Any]]:
    """The ARTIFACT records of all runs, as they are in the journals."""
    found = []
    for _, folder in find_runs(root):
        for stream in streams(folder):
            for entry in StreamReader(stream).tail():
                if getattr(entry, "kind", None) == Kind.ARTIFACT:
                    found.append((entry.time_ns, entry.body))
    return [body for _, body in sorted(found, key=lambda each: each[0])]


def snapshots(root: Path) -> list[str]:
    folder = root / ".blobs" / ".snapshots"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_what_was_logged_is_what_there_was_at_that_moment(run: tracker.Run, root: Path, tmp_path: Path) -> None:
    """The trainer may delete, rotate and rewrite as soon as the call returns."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    weights = os.urandom(3_000_000)
    (folder / "weights.bin").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    artifact = tracker.Artifact("net", type="model", description="d", metadata={"step": 1})
    artifact.add_dir(folder)
    with artifact.new_file("notes.txt") as file:
        file.write("größer")
    logged = run.log_artifact(artifact, aliases=["best"], tags=["small"])
    for name in ("weights.bin", "config.json"):
        (folder / name).unlink()

    assert logged is artifact
    assert logged.wait(60) is artifact
    assert (artifact.name, artifact.version, artifact.state) == ("net:v0", "v0", "COMMITTED")
    assert (artifact.aliases, artifact.tags, artifact.description) == (["best", "latest"], ["small"], "d")
    assert artifact.qualified_name == "local/digits/net:v0"
    out = Path(artifact.download(tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "weights.bin": weights,
        "config.json": b"{}",
        "notes.txt": "größer".encode(),
    }
    assert snapshots(root) == []


def test_the_run_records_what_it_made_and_read(root: Path, tmp_path: Path) -> None:
    with tracker.init(project="digits", id="r1", settings={"silent": True}) as run:
        artifact = tracker.Artifact("data", type="dataset")
        with artifact.new_file("a.txt") as file:
            file.write("a")
        run.log_artifact(artifact)
    with tracker.init(project="digits", id="r2", settings={"silent": True}) as run:
        used = run.use_artifact("data:latest", type="dataset", use_as="training")
        assert used.digest == artifact.digest

    assert artifact.is_draft() is False
    facts = {"entity": "local", "project": "digits", "name": "data", "type": "dataset", "version": 0,
             "digest": artifact.digest, "size": 1, "files": 1, "token": artifact.id, "aliases": ["latest"]}  # fmt: skip
    assert edges(root) == [{"use": "output", **facts}, {"use": "input", "use_as": "training", **facts}]
    assert [use.run for use in local_place(root).catalogue.uses(used._version)] == ["local/digits/r2"]


def test_the_same_bytes_are_the_same_version_and_one_changed_file_is_another(run: tracker.Run, tmp_path: Path) -> None:
    def log(content: str, **more: Any) -> tracker.Artifact:
        (tmp_path / "a.txt").write_text(content)
        artifact = tracker.Artifact("data", type="dataset", **more)
        artifact.add_file(tmp_path / "a.txt")
        return run.log_artifact(artifact).wait(60)

    assert [log("1").version, log("2").version, log("1").version, log("3").version] == ["v0", "v1", "v0", "v2"]


def test_a_path_is_logged_under_the_runs_name(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("2")

    file = run.log_artifact(tmp_path / "a b.txt").wait(60)
    folder = run.log_artifact(str(tmp_path / "folder"), name="files", type="data", tags="one").wait(60)
    model = run.log_model(tmp_path / "a b.txt", name="net", aliases=["best"]).wait(60)
    address = run.log_artifact((tmp_path / "a b.txt").as_uri(), name="ref").wait(60)
    assert (file.name, file.type) == ("run-r1-a b.txt:v0", "unspecified")
    assert [entry.path for entry in folder.files()] == ["x"]
    assert (model.type, model.aliases) == ("model", ["best", "latest"])
    assert address.get_entry("a b.txt").ref == (tmp_path / "a b.txt").as_uri()
    assert Path(run.use_model("net:best")).read_text() == "1"
    assert Path(run.use_model("net:best")).parent == Path.cwd() / "artifacts" / "net:v0"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads go below the working folder."""
    monkeypatch.chdir(tmp_path)


def test_incremental_adds_to_the_version_before(run: tracker.Run) -> None:
    first = tracker.Artifact("data", type="dataset")
    for name in ("a", "b", "c/d", "c/e"):
        with first.new_file(name) as file:
            file.write(name)
    run.log_artifact(first)
    second = tracker.Artifact("data", type="dataset", incremental=True)
    with second.new_file("a") as file:
        file.write("other")
    with second.new_file("f") as file:
        file.write("f")
    second.remove("c")
    run.log_artifact(second)

    files = {file.path: file.open().read() for file in second.wait(60).files()}
    assert files == {"a": b"other", "b": b"b", "f": b"f"}
    assert first.manifest.diff(second.manifest) == (["f"], ["a"], ["c/d", "c/e"])


def test_many_threads_logging_one_name_get_a_version_each(run: tracker.Run) -> None:
    logged: list[tracker.Artifact] = []

    def log(writer: int) -> None:
        for number in range(5):
            artifact = tracker.Artifact("data", type="dataset")
            with artifact.new_file("x") as file:
                file.write(f"{writer} {number}")
            logged.append(run.log_artifact(artifact))

    threads = [threading.Thread(target=log, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(artifact.wait(60).version[1:]) for artifact in logged) == list(range(20))


def test_artifacts_of_a_name_are_stored_in_the_order_in_which_they_were_logged(run: tracker.Run) -> None:
    logged = []
    for number in range(10):
        artifact = tracker.Artifact("data", type="dataset")
        with artifact.new_file("x") as file:
            file.write(str(number))
        logged.append(run.log_artifact(artifact))

    assert [artifact.version for artifact in logged] == [f"v{number}" for number in range(10)]


def test_an_artifact_made_before_its_run_goes_to_the_runs_folder(home: Path, tmp_path: Path) -> None:
    artifact = tracker.Artifact("data", type="dataset")
    with artifact.new_file("x") as file:
        file.write("1")
    with tracker.init(project="digits", dir=tmp_path / "other", settings={"silent": True}) as run:
        run.log_artifact(artifact).wait(60)
        assert artifact.get_entry("x").open().read() == b"1"
        artifact.aliases.append("best")
        artifact.save()

    assert local_place(tmp_path / "other").find("digits/data:best").version == 0


def test_what_only_storing_needs_is_not_loaded_while_training_waits(root: Path, tmp_path: Path) -> None:
    """The first artifact of a process would be held up by it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(100_000))
    code = """
import sys, tracker
run = tracker.init(project="digits", settings={"silent": True})
artifact = tracker.Artifact("net", type="model")
artifact.add_dir(sys.argv[1])
before = set(sys.modules)
run.log_artifact(artifact)
run.finish()
print("\\n".join(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "data"], capture_output=True, text=True, check=True)
    late = done.stdout.split()

    rooms = ("completing", "storing", "cutting", "place", "catalogue", "restoring")
    assert [room for room in rooms if f"tracker.core.artifacts.{room}" not in late] == []
    assert "pyfastcdc" in late


def test_finish_waits_for_what_was_logged(root: Path) -> None:
    with tracker.init(project="digits", settings={"silent": True}) as run:
        artifact = tracker.Artifact("data", type="dataset")
        with artifact.new_file("x", "wb") as file:
            file.write(os.urandom(5_000_000))
        run.log_artifact(artifact)

    assert artifact.state == "COMMITTED"
    assert [body["name"] for body in edges(root)] == ["data"]


# --- what goes wrong ----------------------------------------------------------------------


def test_what_cannot_be_logged_is_said_and_harms_no_training(
    root: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with tracker.init(project="digits") as run:
        missing = run.log_artifact(tmp_path / "missing.ckpt")
        misnamed = run.log_artifact(__file__, name="a/b")
        strange = run.log_artifact(3)  # type: ignore[arg-type]
        wrong = run.log_artifact(__file__, name="x", aliases=["v1"])
        run.log({"loss": 1})

    said = caplog.text
    for artifact, why in ((missing, "is no file"), (misnamed, "holds '/'"), (strange, "got a int"), (wrong, "'v1'")):
        assert why in said
        assert artifact.state == "FAILED"
        with pytest.raises(UsageError, match=why):
            artifact.wait(60)
    assert "4 artifacts could not be logged" in said


def test_under_strictness_it_raises(run: tracker.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_STRICT", "1")

    with pytest.raises(UsageError, match="is no file"):
        run.log_artifact("missing.ckpt")


def test_a_changed_file_fails_its_artifact_and_no_other(
    run: tracker.Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: Any, **__: Any) -> None:
        raise ChangedError("weights.bin was written meanwhile.", ["weights.bin"])

    real = storing.store
    monkeypatch.setattr("tracker.core.artifacts.completing.store", changed)
    (tmp_path / "a").write_text("1")
    failed = run.log_artifact(tmp_path / "a", name="net")
    with pytest.raises(ChangedError):
        failed.wait(60)
    monkeypatch.setattr("tracker.core.artifacts.completing.store", real)

    assert run.log_artifact(tmp_path / "a", name="net").version == "v0"
    assert failed.state == "FAILED"
    assert snapshots(root) == []


def test_a_full_disk_leaves_the_artifact_to_the_next_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full.")

    (tmp_path / "a").write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr("tracker.core.artifacts.completing.store", full)
        with tracker.init(project="digits", id="r1") as run:
            failed = run.log_artifact(tmp_path / "a", name="net", aliases=["best"])
            with pytest.raises(StorageError, match="the disk is full"):
                failed.wait(60)
    assert "is not stored yet: the disk is full" in caplog.text
    assert len(snapshots(root)) == 1
    (tmp_path / "a").unlink()

    assert complete_left(root) == 1
    version = local_place(root).find("digits/net:best")
    assert (version.run, version.files) == ("local/digits/r1", 1)
    assert [body["name"] for body in edges(root)] == ["net"]
    assert snapshots(root) == []


def test_an_artifact_that_could_not_be_held_fails_when_it_is_logged(
    run: tracker.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise StorageError("the disk is full.")

    (tmp_path / "a").write_text("1")
    monkeypatch.setattr("tracker.core.artifacts.snapshot.Snapshot.add_file", full)
    artifact = tracker.Artifact("net", type="model")
    artifact.add_file(tmp_path / "a")  # said, and not raised: training goes on
    assert "the artifact 'net' will not be" in caplog.text
    run.log_artifact(artifact)

    with pytest.raises(StorageError, match="the disk is full"):
        artifact.wait(60)


def test_a_run_that_has_ended_logs_no_more(run: tracker.Run) -> None:
    run.log_artifact(__file__).wait(60)
    run.finish()

    with pytest.raises(UsageError, match="has ended"):
        run.log_artifact(__file__, name="late").wait(60)


_KILLED = """
import os, sys
import tracker
run = tracker.init(project="digits", id=sys.argv[1], settings={"silent": True})
for number in range(1000):
    artifact = tracker.Artifact("net", type="model", metadata={"number": number})
    with artifact.new_file("w.bin", "wb") as file:
        file.write(number.to_bytes(8, "little") + os.urandom(1_500_000))
    with artifact.new_file("number.txt") as file:
        file.write(str(number))
    run.log_artifact(artifact, aliases=[f"{sys.argv[1]}-{number}"])
    print(number, flush=True)
"""


@pytest.mark.fault
def test_what_was_logged_before_a_kill_is_completed_by_the_next_process(
    root: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """`log_artifact` has returned: it will be a version, whole, whatever happens to the process."""
    rounds = 15 if request.config.getoption("--long") else 3
    told: list[str] = []
    for turn in range(rounds):
        process = subprocess.Popen([sys.executable, "-c", _KILLED, f"r{turn}"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(3 + 2 * turn):
            told.append(f"r{turn}-{int(process.stdout.readline())}")
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        told += [f"r{turn}-{int(line)}" for line in rest.split()]

    place = local_place(root)
    for version in place.catalogue.versions("local", "digits", "net"):  # what is there already is whole
        assert place.store.missing(place.manifest(version).blobs()) == []
    complete_left(root)
    versions = place.catalogue.versions("local", "digits", "net")
    assert [version.version for version in versions] == list(range(len(versions)))
    found = {alias: version for version in versions for alias in version.aliases if alias != "latest"}
    assert set(told) <= set(found)
    for alias, version in found.items():
        artifact = tracker.Artifact._from_version(place, version)
        number = version.metadata["number"]
        assert alias.endswith(f"-{number}")
        assert artifact.get_entry("number.txt").open().read() == str(number).encode()
        assert artifact.get_entry("w.bin").open().read()[:8] == number.to_bytes(8, "little")
    assert snapshots(root) == []


@pytest.mark.parametrize("end", ["", "raise KeyError", "import sys; sys.exit(3)"])
def test_a_script_that_just_ends_has_stored_its_artifacts(root: Path, tmp_path: Path, end: str) -> None:
    """Without `run.finish()` they are stored at exit, when the interpreter takes no new work for its thread pools."""
    code = f"""
import os, tracker
run = tracker.init(project="digits", id="r1", settings={{"silent": True}})
for name in ("one", "two"):
    artifact = tracker.Artifact(name, type="model")
    for number in range(3):
        with artifact.new_file(f"w{{number}}.bin", "wb") as file:
            file.write(os.urandom(4_000_000))
    run.log_artifact(artifact)
{end}
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path, stderr=subprocess.DEVNULL)

    place = local_place(root)
    for name in ("one", "two"):
        version = place.find(f"digits/{name}")
        assert version.size == 12_000_000
        assert place.store.missing(place.manifest(version).blobs()) == []
    assert snapshots(root) == []
    assert [body["name"] for body in edges(root)] == ["one", "two"]


def test_where_no_thread_can_be_begun_the_work_is_done_all_the_same(
    run: tracker.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the exit of Python 3.12 and later."""
    data = os.urandom(9_000_000)
    (tmp_path / "big").write_bytes(data)

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        artifact = run.log_artifact(tmp_path / "big", name="net")
        assert artifact.state == "COMMITTED"

    assert Path(artifact.download("out"), "big").read_bytes() == data


def test_the_next_run_completes_what_was_left(root: Path, tmp_path: Path) -> None:
    code = (
        "import os, tracker; import tracker.core.artifacts.logging as l; l.RunArtifacts._has_thread = lambda s: True;"
        "run = tracker.init(project='digits', id='killed', settings={'silent': True}); run.log_artifact(__import__('sys').argv[1], name='net');"
        "os.kill(os.getpid(), 9)"
    )
    (tmp_path / "a").write_text("1")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert len(snapshots(root)) == 1

    with tracker.init(project="digits", settings={"silent": True}):
        for thread in threading.enumerate():
            if thread.name == "tracker-leftovers":
                thread.join(60)
    assert local_place(root).find("digits/net").run == "local/digits/killed"


def test_a_forked_child_logs_by_itself(run: tracker.Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("parent")
    parent = run.log_artifact(tmp_path / "a", name="parent").wait(60)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            (tmp_path / "b").write_text("child")
            run.log_artifact(tmp_path / "b", name="child").wait(60)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert local_place(root).find("digits/child:v0").run == "local/digits/r1"
    assert parent.version == "v0"


# --- using --------------------------------------------------------------------------------


def test_what_is_not_there_is_said_with_what_is(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    run.log_artifact(tmp_path / "a", name="dataset", type="dataset", aliases=["best"]).wait(60)

    with pytest.raises(UsageError, match="did you mean 'dataset'"):
        run.use_artifact("datset:latest")
    with pytest.raises(UsageError, match=r"has no .v7. in .*; it has best, latest"):
        run.use_artifact("dataset:v7")
    with pytest.raises(UsageError, match="is of type 'dataset', not 'model'"):
        run.use_artifact("dataset:best", type="model")
    with pytest.raises(UsageError, match="use_model takes models"):
        run.use_model("dataset")


def test_a_revoked_version_cannot_be_used(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    artifact = run.log_artifact(tmp_path / "a", name="data", type="dataset").wait(60)
    linked = run.link_artifact(artifact, "datasets/approved")
    artifact.aliases.append("revoked")
    artifact.save()

    for name in ("data:v0", "data:latest", artifact, "wandb-registry-datasets/approved", linked):
        with pytest.raises(UsageError, match="is revoked and must not be used"):
            run.use_artifact(name)
    artifact.aliases.remove("revoked")
    artifact.save()
    assert run.use_artifact("data", aliases=["fine"]).aliases == ["fine", "latest"]


def test_an_artifact_that_is_not_logged_is_logged_and_used(run: tracker.Run, root: Path) -> None:
    artifact = tracker.Artifact("data", type="dataset")
    with artifact.new_file("x") as file:
        file.write("1")
    run.use_artifact(artifact, use_as="input").wait(60)
    run.finish()

    assert [(body["use"], body["name"]) for body in edges(root)] == [("output", "data"), ("input", "data")]


# --- registries and shares ------------------------------------------------------------------


def test_a_model_is_linked_once_it_is_stored(run: tracker.Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = run.link_model(tmp_path / "a", "classifier", aliases=["staging"])
    second = tracker.Artifact("net", type="model")
    with second.new_file("x") as file:
        file.write("2")
    run.link_artifact(second, "wandb-registry-model/classifier", aliases=["production"])
    first.wait(60)
    second.wait(60)

    place = local_place(root)
    found = place.catalogue.versions(".registry", "model", "classifier")
    assert [(version.source, version.aliases) for version in found] == [
        ("local/digits/run-r1-a:v0", ("staging",)),
        ("local/digits/net:v0", ("production", "latest")),
    ]
    again = run.link_artifact(second, "classifier", aliases="staging")
    assert (again.is_link, again.source_name, again.aliases) == (True, "net:v0", ["production", "staging", "latest"])


def test_several_processes_make_one_version(run: tracker.Run, tmp_path: Path) -> None:
    def part(name: str) -> tracker.Artifact:
        artifact = tracker.Artifact("shards", type="dataset")
        with artifact.new_file(name) as file:
            file.write(name)
        return artifact

    for name in ("a", "b"):
        run.upsert_artifact(part(name), distributed_id="job1").wait(60)
    assert not local_place(run.folder.parents[2]).catalogue.versions("local", "digits", "shards")
    whole = run.finish_artifact(part("c"), distributed_id="job1").wait(60)

    assert [file.path for file in whole.files()] == ["a", "b", "c"]
    assert whole.version == "v0"
    with pytest.raises(UsageError, match="give distributed_id"):
        run.upsert_artifact(part("d"))


def test_waiting_has_its_limits(run: tracker.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    real = storing.store

    def slow(*arguments: Any, **more: Any) -> Any:
        gate.wait(60)
        return real(*arguments, **more)

    monkeypatch.setattr("tracker.core.artifacts.completing.store", slow)
    artifact = run.log_artifact(__file__, name="x")
    with pytest.raises(TimeoutError):
        artifact.wait(timeout=0)
    assert artifact.state == "PENDING"
    assert artifact.name == "x"
    gate.set()
    assert artifact.wait(60).name == "x:v0"


def test_finish_gives_up_where_nothing_moves_and_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def stuck(*_: Any, **__: Any) -> None:
        gate.wait(60)
        raise storing.StoppedError("stopped.")

    with monkeypatch.context() as patch:
        patch.setattr("tracker.core.artifacts.completing.store", stuck)
        run = tracker.init(project="digits", settings={"finish_stall_seconds": 0.05})
        first, second = (run.log_artifact(__file__, name=name) for name in "ab")
        run.finish()
        gate.set()
        for artifact in (first, second):
            with pytest.raises(TrackerError, match="the next run, or `tracker sync`"):
                artifact.wait(60)
    assert "2 artifacts are not stored yet. The next run on this machine completes them" in caplog.text

    assert complete_left(root) == 2
    assert [local_place(root).find(f"digits/{name}").version for name in "ab"] == [0, 0]


def test_finish_is_patient_while_the_disk_is_asked_to_confirm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That may take long after many bytes, and nothing is heard meanwhile."""
    asked, confirmed = threading.Event(), threading.Event()
    now = 0.0

    def slow_sync(self: FolderBlobs) -> None:
        asked.set()
        assert confirmed.wait(60)

    def monotonic() -> float:
        nonlocal now
        now += 1.0
        if now > 5 * FINISH_STALL_SECONDS:
            confirmed.set()
        return now

    monkeypatch.setattr(FolderBlobs, "sync", slow_sync)
    run = tracker.init(project="digits", settings={"silent": True})
    artifact = run.log_artifact(__file__, name="net")
    assert asked.wait(60)
    monkeypatch.setattr("tracker.core.artifacts.logging.time", SimpleNamespace(monotonic=monotonic))
    run.finish()

    assert artifact.wait(60).version == "v0"
    assert now > 5 * FINISH_STALL_SECONDS


def test_a_disk_that_never_confirms_is_not_waited_for_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, over = threading.Event(), threading.Event()

    def dead_sync(self: FolderBlobs) -> None:
        asked.set()
        over.wait(60)
        raise storing.StoppedError("stopped.")

    with monkeypatch.context() as patch:
        patch.setattr(FolderBlobs, "sync", dead_sync)
        run = tracker.init(project="digits", settings={"finish_stall_seconds": 0.05})
        artifact = run.log_artifact(__file__, name="net")
        assert asked.wait(60)
        run.finish()
        over.set()
        with pytest.raises(TrackerError):
            artifact.wait(60)

    assert "1 artifacts are not stored yet" in caplog.text
    assert complete_left(root) == 1


def test_a_killed_run_says_what_is_left_and_waits_for_nothing(root: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, threading, tracker; import tracker.core.artifacts.completing as c;"
        "c.store = lambda *a, **k: threading.Event().wait();"
        "run = tracker.init(project='digits', id='r1'); run.log_artifact(__import__('sys').argv[1], name='net');"
        "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"
    )
    (tmp_path / "a").write_text("1")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, timeout=60)

    assert done.returncode == -signal.SIGTERM
    assert "1 artifacts are not stored yet" in done.stderr
    assert complete_left(root) == 1
    assert local_place(root).find("digits/net").run == "local/digits/r1"


def test_disabled_runs_take_everything_and_keep_nothing(home: Path, tmp_path: Path) -> None:
    with tracker.init(mode="disabled") as run:
        artifact = tracker.Artifact("data", type="dataset")
        artifact.add_file(__file__)
        logged = run.log_artifact(artifact, aliases=["best"])
        used = run.use_artifact("data:latest")
        model = run.log_model(__file__)

        assert logged is artifact
        assert logged.wait() is artifact
        assert isinstance(logged.version, str)
        assert os.listdir(used.download()) == []
        assert used.wait() is used
        assert isinstance(used.name, str)
        assert os.path.isdir(run.use_model("x"))
        assert model.wait() is model
        assert run.link_artifact(artifact, "a/b").wait().aliases == []
    assert not (home / "runs").exists()


def test_a_run_uses_what_it_has_just_logged(run: tracker.Run, tmp_path: Path) -> None:
    """By its name, without waiting: the version is the one that was logged last."""
    for text in ("one", "two" * 2_000_000):
        (tmp_path / "x").write_text(text)
        run.log_artifact(tmp_path / "x", name="rows", type="dataset", aliases=["now"])
        assert run.use_artifact("rows:latest").get_entry("x").open().read() == text.encode()
        assert run.use_artifact("digits/rows:now").get_entry("x").open().read() == text.encode()
