"""`Run.delete(delete_artifacts=True)`: what a run has made goes with it, as far as nobody else needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracker
from tracker.core.errors import UsageError

from ..uploads.serving import Server


def _log(run: tracker.Run, name: str, content: str, aliases: list[str] | None = None) -> None:
    artifact = tracker.Artifact(name, type="dataset")
    with artifact.new_file("x") as file:
        file.write(content)
    run.log_artifact(artifact, aliases=aliases)


def _made(run_id: str) -> None:
    """Make one version of each fate; `keeper` uses, links and logs some of them."""
    with tracker.init(project="digits", id=run_id, settings={"silent": True}) as run:
        for name in ("alone", "own", "used", "twice", "linked", "named"):
            _log(run, f"{run_id}-{name}", name, aliases=["best"] if name == "named" else None)
        run.use_artifact(f"{run_id}-own:v0")
    with tracker.init(project="digits", id=f"{run_id}-keeper", settings={"silent": True}) as run:
        run.use_artifact(f"{run_id}-used:v0")
        _log(run, f"{run_id}-twice", "twice")
        run.link_artifact(run.use_artifact(f"{run_id}-linked:v0"), f"kept/{run_id}")


def test_a_run_is_deleted_with_what_nobody_else_needs(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    _made("r1")
    with tracker.Api() as api:
        api.run("digits/r1").delete()
        assert api.artifact_exists("digits/r1-alone:v0")

    _made("r2")
    caplog.set_level("INFO", "tracker")
    with tracker.Api() as api:
        before = api.artifact("digits/r2-alone:v0")
        api.run("digits/r2").delete(delete_artifacts=True)
        for name, is_there in (
            ("alone", False), ("own", False), ("used", True), ("twice", True), ("linked", True), ("named", True)
        ):  # fmt: skip
            assert api.artifact_exists(f"digits/r2-{name}:v0") == is_there, name
        with pytest.raises(UsageError):
            api.artifact(before.qualified_name)
    said = "\n".join(record.message for record in caplog.records)
    assert "local/digits/r2-used:v0 is kept: local/digits/r2-keeper has used it." in said
    assert "local/digits/r2-twice:v0 is kept: local/digits/r2-keeper has logged it as well." in said
    assert "local/digits/r2-named:v0 is kept: it is called 'best'. Delete it by itself: tracker artifact rm" in said


def test_on_a_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The versions go there; the local folder of who logged them is another matter."""
    with Server(tmp_path / "server") as server:
        monkeypatch.setenv("TRACKER_BASE_URL", server.url)
        _made("r3")
        with tracker.Api(base_url=server.url) as api:
            api.run("digits/r3").delete(delete_artifacts=True)
            left = [name for name in ("alone", "own", "used", "twice", "linked", "named")
                    if api.artifact_exists(f"digits/r3-{name}:v0")]  # fmt: skip

    assert left == ["used", "twice", "linked", "named"]
