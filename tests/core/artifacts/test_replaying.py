"""What is done to versions after they were claimed reaches the server: links and aliases, each once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.sync import Report, sync
from tracker.core.transport import HttpTransport

from ..uploads.serving import Server
from ..uploads.test_uploads import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


def offline(root: Path, project: str, run_id: str) -> tracker.Run:
    return tracker.init(project=project, id=run_id, dir=root, mode="offline", settings={"silent": True})


def filled(name: str, text: str) -> tracker.Artifact:
    artifact = tracker.Artifact(name, type="model")
    with artifact.new_file("w") as file:
        file.write(text)
    return artifact


def send(root: Path, server: Server) -> Report:
    return sync(root, lambda: HttpTransport(server.url), progress=False)


def events(server: Server, collection: str, *actions: str) -> list[tuple[str, int | None, str | None]]:
    found = server.json(f"/artifacts/{collection}?history=true")["events"]
    return [(one["action"], one["version"], one["name"]) for one in found if one["action"] in actions]


def test_links_of_an_offline_run_reach_the_server_once(tmp_path: Path, server: Server) -> None:
    """Stages as they stand here; sent again, the server's ledger does not grow."""
    with offline(tmp_path, "once", "r1") as run:
        run.link_artifact(filled("net", "1"), "once/classifier", aliases=["staging"])
        second = run.log_artifact(filled("net", "2")).wait(60)
        second.link("wandb-registry-once/classifier", aliases=["staging"])
        run.link_artifact(second, "once/classifier", aliases=["production"])
    report = send(tmp_path, server)
    before = server.json("/artifacts/.registry/once/classifier?history=true")
    again = send(tmp_path, server)

    assert report.is_complete, report
    assert report.sent_changes == 2
    assert before["aliases"] == {"latest": 1, "production": 1, "staging": 1}
    assert [one["source"] for one in before["items"]] == ["local/once/net:v0", "local/once/net:v1"]
    assert {event["run"] for event in before["events"]} == {"local/once/r1"}
    assert again.sent_changes == 0
    assert server.json("/artifacts/.registry/once/classifier?history=true") == before


def test_what_is_changed_after_the_first_sync_is_sent_by_the_next(tmp_path: Path, server: Server) -> None:
    """Aliases, labels, words: each once, and not what the server has from somebody else since."""
    with offline(tmp_path, "later", "r1") as run:
        run.log_artifact(filled("net", "1"), aliases=["old"]).wait(60)
        run.log_artifact(filled("net", "2")).wait(60)
    assert send(tmp_path, server).is_complete
    with tracker.Api(dir=tmp_path) as api:
        first = api.artifact("later/net:v0")
        first.aliases += ["best", "passing"]
        first.tags.append("checked")
        first.description, first.metadata = "the first", {"loss": float("nan")}
        first.save()
        first.aliases.remove("passing")
        first.aliases.remove("old")
        first.save()
        first.link("later/classifier", aliases=["production"])
    report = send(tmp_path, server)
    with tracker.Api(base_url=server.url) as api:
        there = api.artifact("later/net:v0")
        assert (there.aliases, there.tags, there.description) == (["best"], ["checked"], "the first")
        assert str(there.metadata) == "{'loss': nan}"
        assert api.artifact("wandb-registry-later/classifier:production").source_version == "v0"
        api.artifact("later/net:v1").aliases.append("best")
        other = api.artifact("later/net:v1")
        other.aliases.append("best")
        other.save()
    again = send(tmp_path, server)

    assert report.is_complete, report
    assert events(server, "local/later/net", "alias", "unalias", "tag") == [
        ("alias", 0, "old"),
        ("alias", 0, "best"),
        ("tag", 0, "checked"),
        ("unalias", 0, "old"),
        ("alias", 1, "best"),
    ]
    assert again.sent_changes == 0


def test_a_link_to_what_is_not_there_is_said_with_what_to_do(tmp_path: Path, server: Server) -> None:
    with offline(tmp_path, "gone", "r1") as run:
        artifact = run.log_artifact(filled("net", "1")).wait(60)
        run.link_artifact(artifact, "gone/classifier", aliases=["staging"])
    artifact.delete()
    report = send(tmp_path, server)

    assert not report.is_complete
    ((name, reason),) = report.failed
    assert name == "gone/classifier:v0"
    assert "no local/gone/net:v0" in reason
    assert "tracker registry unlink gone/classifier:v0" in reason
    with tracker.Api(dir=tmp_path) as api:
        api.artifact("wandb-registry-gone/classifier:v0").unlink()
    assert send(tmp_path, server).is_complete


KILLED = """
import os, sys, tracker
from tracker.core.artifacts import {room}
def die(*_args, **_more): os.kill(os.getpid(), 9)
{room}.{name} = die
run = tracker.init(project=sys.argv[2], id="killed", dir=sys.argv[1], settings={{"silent": True}})
artifact = tracker.Artifact("net", type="model")
with artifact.new_file("w") as file: file.write(sys.argv[2])
run.link_artifact(artifact, sys.argv[2] + "/classifier", aliases=["staging"])
artifact.wait(60)
"""
MOMENTS = {
    "stored": ("completing", "complete"),  # before it is stored
    "claim": ("remote", "RemoteCatalogue.claim"),  # before it, or its link, is claimed on the server
    "follow": ("logging", "RunArtifacts._follow"),  # after the version, before the link
}


@pytest.mark.parametrize("way", ["sync", "next start"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_links_of_a_killed_run_reach_the_server(tmp_path: Path, server: Server, moment: str, way: str) -> None:
    project = f"{moment}-{way[:4]}"
    room, name = MOMENTS[moment]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED.format(room=room, name=name), str(tmp_path), project],
        env={**os.environ, "TRACKER_BASE_URL": server.url},
        check=False,
    )
    assert ended.returncode == -9
    stage = f"/artifacts/.registry/{project}/classifier/staging"
    assert not server.get(stage).ok
    if way == "sync":
        assert send(tmp_path, server).is_complete
    else:
        settings: dict[str, Any] = {"silent": True, "base_url": server.url}
        with tracker.init(project=project, id="next", dir=tmp_path, settings=settings):
            until(lambda: server.get(stage).ok)
            outbox = tmp_path / ".blobs" / ".outbox"
            until(lambda: not outbox.is_dir() or not os.listdir(outbox))

    assert server.json(stage)["source"] == f"local/{project}/net:v0"
    before = server.json(f"/artifacts/.registry/{project}/classifier?history=true")
    assert send(tmp_path, server).is_complete
    assert server.json(f"/artifacts/.registry/{project}/classifier?history=true") == before


def test_what_an_online_run_has_linked_is_not_told_twice(tmp_path: Path, server: Server) -> None:
    """Somebody has moved the stage since: a later sync does not move it back."""
    settings: dict[str, Any] = {"silent": True, "base_url": server.url}
    with tracker.init(project="twice", id="r1", dir=tmp_path, settings=settings) as run:
        run.link_artifact(filled("net", "1"), "twice/classifier", aliases=["staging"]).wait(60)
        run.link_artifact(filled("net", "2"), "twice/classifier").wait(60)
    with tracker.Api(base_url=server.url) as api:
        other = api.artifact("wandb-registry-twice/classifier:v1")
        other.aliases.append("staging")
        other.save()
    report = send(tmp_path, server)

    assert (report.is_complete, report.sent_changes) == (True, 0)
    assert server.json("/artifacts/.registry/twice/classifier")["aliases"]["staging"] == 1


def test_a_link_that_the_server_does_not_take_now_waits_for_sync(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes away under a run: linking does not raise into training."""
    from tracker.core.artifacts.remote import RemoteCatalogue
    from tracker.core.errors import TransportError

    def away(*_args: object, **_more: object) -> None:
        raise TransportError("the server does not answer.")

    settings: dict[str, Any] = {"silent": True, "base_url": server.url}
    with tracker.init(project="away", id="r1", dir=tmp_path, settings=settings) as run:
        artifact = run.log_artifact(filled("net", "1")).wait(60)
        with monkeypatch.context() as patch:
            patch.setattr(RemoteCatalogue, "claim", away)
            linked = run.link_artifact(artifact, "away/classifier", aliases=["staging"])
    assert linked.aliases == ["staging", "latest"]
    assert "on this machine only: the server does not answer. Send it with: tracker sync" in caplog.text
    assert send(tmp_path, server).sent_changes == 1
    assert server.json("/artifacts/.registry/away/classifier/staging")["source"] == "local/away/net:v0"
