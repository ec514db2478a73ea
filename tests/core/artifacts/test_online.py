"""Artifacts of runs that send to a server: the version is the server's, and others read it from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.core.artifacts.place import local_place
from tracker.core.artifacts.remote import RemoteCatalogue
from tracker.core.errors import TransportError, UsageError
from tracker.core.sync import sync
from tracker.core.transport import HttpTransport

from ..uploads.serving import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as server:
        yield server


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def begin(server: Server, id: str, **more: object) -> tracker.Run:
    settings = {"silent": True, "base_url": server.url, **more}
    return tracker.init(project="digits", id=id, settings=settings)


def filled(name: str, **files: bytes) -> tracker.Artifact:
    artifact = tracker.Artifact(name, type="dataset", metadata={"n": len(files)})
    for path, data in files.items():
        with artifact.new_file(path, "wb") as file:
            file.write(data)
    return artifact


def move(monkeypatch: pytest.MonkeyPatch, home: Path, machine: str) -> None:
    """Go to another machine: other folders."""
    monkeypatch.setenv("TRACKER_DIR", str(home / machine / "runs"))
    monkeypatch.setenv("TRACKER_CACHE_DIR", str(home / machine / "cache"))


def test_a_version_is_the_servers_and_is_read_on_another_machine(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3_000_000)
    with begin(server, "maker") as run:
        artifact = run.log_artifact(filled("data", big=data, small=b"1"), aliases=["clean"], tags=["t"]).wait(60)
        assert artifact.qualified_name == "local/digits/data:v0"
    move(monkeypatch, home, "other")
    with begin(server, "reader") as run:
        found = run.use_artifact("data:clean")
        folder = Path(found.download())
        assert (folder / "big").read_bytes() == data
        assert (found.tags, found.metadata, found.digest) == (["t"], {"n": 2}, artifact.digest)

    monkeypatch.setenv("TRACKER_ARTIFACT_CACHE_SIZE", "1MiB")
    with tracker.Api(base_url=server.url) as api:
        same = api.artifact("digits/data:v0")
        assert (Path(same.download("again")) / "big").read_bytes() == data
        kept = sum(path.stat().st_size for path in (home / "other" / "cache" / "blobs").glob("??/*"))
        assert kept <= 1 << 20
        assert [run.id for run in same.used_by()] == ["reader"]
        maker = same.logged_by()
        assert maker is not None
        assert maker.id == "maker"
        assert [one.qualified_name for one in maker.logged_artifacts()] == ["local/digits/data:v0"]
        graph = api.lineage(run="local/digits/reader", direction="up")
        assert [node.path for node in graph.nodes] == [
            "local/digits/reader", "local/digits/data:v0", "local/digits/maker",
        ]  # fmt: skip
        assert same.get_entry("small").open().read() == b"1"
        same.aliases.append("best")
        same.save()
        assert api.artifact("digits/data:best").version == "v0"
        assert api.artifact_exists("digits/data:v0")
        assert not api.artifact_exists("digits/data:v1")
        assert [kind.name for kind in api.artifact_types("digits")] == ["dataset"]


def test_the_number_is_the_servers_where_both_have_their_own(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for machine in ("one", "two"):
        move(monkeypatch, home, machine)
        with begin(server, machine) as run:
            artifact = run.log_artifact(filled("data", x=machine.encode())).wait(60)
            assert artifact.version == {"one": "v0", "two": "v1"}[machine]
            assert Path(artifact.download(machine), "x").read_text() == machine
    assert local_place(home / "two" / "runs").find("digits/data").version == 0


def test_links_and_uses_reach_the_server(server: Server) -> None:
    with begin(server, "r1") as run:
        artifact = filled("net", w=b"1")
        run.link_artifact(artifact, "model/classifier", aliases=["staging"])
        used = filled("side", x=b"2")
        run.use_artifact(used, use_as="side input")

    with tracker.Api(base_url=server.url) as api:
        linked = api.artifact("wandb-registry-model/classifier:staging")
        assert linked.source_qualified_name == "local/digits/net:v0"
        assert [run.id for run in api.artifact("digits/side").used_by()] == ["r1"]
        assert [registry.name for registry in api.registries()] == ["model"]


def test_without_its_server_a_run_goes_on_and_sync_brings_the_rest(
    server: Server, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    with begin(server, "r1", finish_stall_seconds=0.3) as run:
        artifact = run.log_artifact(filled("data", x=b"1"))
        run.log({"loss": 1})
    with pytest.raises(TransportError, match="tracker sync"):
        artifact.wait(60)
    assert "1 versions of artifacts" in caplog.text
    assert local_place(home / "runs").find("digits/data").run == "local/digits/r1"

    server.start()
    report = sync(home / "runs", lambda: HttpTransport(server.url))
    assert report.is_complete
    with tracker.Api(base_url=server.url) as api:
        assert api.artifact("digits/data:v0").get_entry("x").open().read() == b"1"


def test_what_is_only_here_is_found_on_the_way_and_while_the_server_is_away(
    server: Server, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracker.init(project="digits", id="before", mode="offline", settings={"silent": True}) as run:
        run.log_artifact(filled("data", x=b"1"))
    with begin(server, "r0") as run:
        assert run.use_artifact("data:v0").get_entry("x").open().read() == b"1"
        with pytest.raises(UsageError, match="there is no artifact"):
            run.use_artifact("nothing")
    server.kill()
    monkeypatch.setitem(RemoteCatalogue.__init__.__kwdefaults__, "stall_seconds", 0.2)
    with begin(server, "r1", finish_stall_seconds=0.3) as run:
        assert run.use_artifact("data:v0").get_entry("x").open().read() == b"1"
        with pytest.raises(TransportError, match="does not answer"):
            run.use_artifact("nothing")
    assert "is taken from this machine" in caplog.text
