"""Artifacts of runs that have a server: two machines, each with a folder of its own, see the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker import Api
from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.errors import UsageError
from tracker.core.paths import blobs_folder
from tracker.core.sync import sync
from tracker.core.transport import HttpTransport

from .serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it alive."""
    with Server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


def begin(server: Server, root: Path, run_id: str, **more: Any) -> Any:
    return tracker.init(
        project="online",
        id=run_id,
        dir=root,
        settings={"silent": True, "base_url": server.url},
        reinit="create_new",
        **more,
    )


def fill(folder: Path, seed: str, count: int = 5) -> dict[str, bytes]:
    """Write files of all sizes; answer what they hold."""
    dice = random.Random(seed)
    files = {f"small/{n}.txt": dice.randbytes(1000 * n) for n in range(count)}
    files["large.bin"] = dice.randbytes(6_000_000)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return files


def test_what_one_machine_logs_another_uses(tmp_path: Path, server: Server) -> None:
    """Dataset here, training there: the files are the same, and the lineage goes from one run to the other."""
    files = fill(tmp_path / "files", "dataset")
    with begin(server, tmp_path / "here", "prepare") as run:
        logged = run.log_artifact(tmp_path / "files", name="dataset", type="dataset", aliases=["clean"])
        logged.wait(60)
        assert logged.version == "v0"
    with begin(server, tmp_path / "there", "train") as run:
        used = run.use_artifact("dataset:clean")
        folder = Path(used.download(str(tmp_path / "down")))
        model = tracker.Artifact("model", type="model", metadata={"acc": 0.5})
        model.add_file(str(tmp_path / "files" / "large.bin"))
        run.log_artifact(model)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert found == files
    assert used.verify(str(folder)) is None
    assert not (tmp_path / "there" / ".artifacts" / "local" / "online" / "dataset").exists()
    graph = server.json("/lineage", params={"artifact": "local/online/model:v0", "direction": "up"})
    assert {(edge["source"], edge["target"]) for edge in graph["edges"]} == {
        ("local/online/prepare", "local/online/dataset:v0"),
        ("local/online/dataset:v0", "local/online/train"),
        ("local/online/train", "local/online/model:v0"),
    }


def test_an_api_of_a_server_reads_and_changes_artifacts(tmp_path: Path, server: Server) -> None:
    files = fill(tmp_path / "files", "api")
    with begin(server, tmp_path / "here", "api") as run:
        run.log_artifact(tmp_path / "files", name="by-api", type="dataset").wait(60)
    with Api(base_url=server.url) as api:
        artifact = api.artifact("online/by-api:latest")
        artifact.aliases.append("prod")
        artifact.save()
        folder = Path(artifact.download(str(tmp_path / "down")))

        assert (folder / "large.bin").read_bytes() == files["large.bin"]
        assert api.artifact("online/by-api:prod").digest == artifact.digest
        assert artifact.logged_by().id == "api"
        assert server.json("/artifacts/local/online/by-api/prod")["version"] == 0


def test_a_damaged_chunk_here_is_fetched_again(tmp_path: Path, server: Server) -> None:
    files = fill(tmp_path / "files", "damage")
    with begin(server, tmp_path / "here", "damage") as run:
        artifact = run.log_artifact(tmp_path / "files", name="damage", type="dataset").wait(60)
    store = FolderBlobs(blobs_folder(tmp_path / "here"))
    for stored in store.walk():
        stored.path.write_bytes(bytes(stored.size))
    folder = Path(artifact.download(str(tmp_path / "down")))

    assert {name: (folder / name).read_bytes() for name in files} == files


def test_versions_are_numbered_by_the_server(tmp_path: Path, server: Server) -> None:
    """Two machines that know nothing of each other log under one name: each is told the number that holds for both."""
    told = []
    for number, machine in enumerate(("one", "two", "three")):
        with begin(server, tmp_path / machine, f"number-{machine}") as run:
            artifact = tracker.Artifact("numbered", type="t")
            with artifact.new_file("x") as file:
                file.write(f"of {machine}")
            told.append(run.log_artifact(artifact).wait(60).version)
        assert server.json("/artifacts/local/online/numbered/latest")["version"] == number

    assert told == ["v0", "v1", "v2"]


def test_an_increment_adds_to_what_another_machine_has_logged(tmp_path: Path, server: Server) -> None:
    for machine, name in (("one", "a"), ("two", "b")):
        with begin(server, tmp_path / machine, f"grow-{machine}") as run:
            artifact = tracker.Artifact("growing", type="t", incremental=True)
            with artifact.new_file(name) as file:
                file.write(f"of {machine}")
            run.log_artifact(artifact).wait(60)
    listing = server.json("/artifacts/local/online/growing/latest/manifest", params={"flat": True})

    assert [file["path"] for file in listing["files"]] == ["a", "b"]


def test_a_link_goes_to_the_servers_registry(tmp_path: Path, server: Server) -> None:
    (tmp_path / "m").write_bytes(b"weights")
    with begin(server, tmp_path / "here", "linking") as run:
        run.link_model(str(tmp_path / "m"), "models/best", name="weights", aliases=["staging"])
    found = server.json("/artifacts/.registry/models/best/staging")

    assert found["source"] == "local/online/weights:v0"


def test_the_same_bytes_of_two_runs_have_two_makers(tmp_path: Path, server: Server) -> None:
    (tmp_path / "x").write_bytes(b"the same")
    for machine in ("one", "two"):
        with begin(server, tmp_path / machine, f"same-{machine}") as run:
            run.log_artifact(str(tmp_path / "x"), name="same", type="t", aliases=[machine])
    found = server.json("/artifacts/local/online/same")

    assert (found["total"], found["aliases"]) == (1, {"latest": 0, "one": 0, "two": 0})
    assert server.json("/artifacts/local/online/same/v0/uses")["made_by"] == [
        "local/online/same-one",
        "local/online/same-two",
    ]


def test_what_the_server_refuses_is_said_and_raised_by_wait(tmp_path: Path, server: Server) -> None:
    with begin(server, tmp_path / "one", "kind-1") as run:
        artifact = tracker.Artifact("kind", type="dataset")
        with artifact.new_file("x") as file:
            file.write("1")
        run.log_artifact(artifact).wait(60)
    with begin(server, tmp_path / "two", "kind-2") as run:
        other = tracker.Artifact("kind", type="model")
        with other.new_file("x") as file:
            file.write("2")
        with pytest.raises(UsageError, match="of type 'dataset', not 'model'"):
            run.log_artifact(other).wait(60)
    with begin(server, tmp_path / "three", "kind-3") as run, pytest.raises(UsageError, match="there is no artifact"):
        run.use_artifact("nothing:latest")


KILLED = """
import os, sys, tracker
run = tracker.init(project="online", id="killed", dir=sys.argv[1], settings={"silent": True})
run.log({"loss": 1.0})
run.log_artifact(sys.argv[2], name="killed", type="dataset", aliases=["best"])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("way", ["sync", "next start"])
def test_what_a_killed_run_has_logged_arrives_all_the_same(tmp_path: Path, server: Server, way: str) -> None:
    """SIGKILL right behind `log_artifact`: the next process stores it and sends it; its bytes are those logged."""
    name = f"killed-{way[:4]}"
    files = fill(tmp_path / "files", name)
    subprocess.run(
        [sys.executable, "-c", KILLED.replace('"killed"', repr(name)), str(tmp_path / "runs"), str(tmp_path / "files")],
        env={**os.environ, "TRACKER_BASE_URL": server.url},
        check=False,
    )
    for path in sorted((tmp_path / "files").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert not server.get(f"/artifacts/local/online/{name}").ok
    if way == "sync":
        report = sync(tmp_path / "runs", lambda: HttpTransport(server.url), progress=False)
        assert report.is_complete, report
    else:
        from .test_uploads import until

        with begin(server, tmp_path / "runs", "next") as run:
            run.log({"loss": 1.0})
            until(lambda: server.get(f"/artifacts/local/online/{name}/best").ok)
    for path, data in files.items():
        answer = server.get(f"/artifacts/local/online/{name}/best/file/{path}")
        assert digest_of(answer.content) == digest_of(data)
    made_by = server.json(f"/artifacts/local/online/{name}/best/uses")["made_by"]

    assert made_by == [f"local/online/{name}"]
