"""`Api` over the artifacts of a folder: what there is, by W&B's names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.core.errors import UsageError


@pytest.fixture
def api(home: Path) -> Iterator[tracker.Api]:
    """Two datasets, a model in two versions, all of it linked or used by somebody."""
    with tracker.init(project="digits", id="maker", settings={"silent": True}) as run:
        for name, type, content in (("rows", "dataset", "1"), ("pixels", "dataset", "2"), ("net", "model", "3")):
            _log(run, name, type, content)
        _log(run, "net", "model", "4", aliases=["best"], tags=["small", "quick"])
    with tracker.init(project="other", id="reader", settings={"silent": True}) as run:
        net = run.use_artifact("digits/net:v0")
        run.link_artifact(net, "model/classifier", aliases=["staging"])
    with tracker.Api() as api:
        yield api


def _log(run: tracker.Run, name: str, type: str, content: str, **more: list[str]) -> None:
    artifact = tracker.Artifact(name, type=type)
    with artifact.new_file("x") as file:
        file.write(content)
    run.log_artifact(artifact, **more)  # type: ignore[arg-type]


def test_one_version_is_found_by_every_name(api: tracker.Api) -> None:
    best = api.artifact("digits/net:best", type="model")
    for name in ("digits/net", "digits/net:v1", "local/digits/net:latest", f"digits/net@{best.digest[:12]}"):
        assert api.artifact(name).qualified_name == "local/digits/net:v1"
    with pytest.raises(UsageError, match="is of type 'model', not 'dataset'"):
        api.artifact("digits/net", type="dataset")
    with pytest.raises(UsageError, match="names no project"):
        api.artifact("net")
    with tracker.Api({"project": "digits"}) as own:
        assert own.artifact("net:best").version == "v1"


def test_versions_are_listed_the_newest_first(api: tracker.Api) -> None:
    assert [one.version for one in api.artifacts("model", "digits/net")] == ["v1", "v0"]
    assert [one.version for one in api.artifact_versions("model", "digits/net")] == ["v1", "v0"]
    assert [one.version for one in api.artifacts("model", "digits/net", tags=["small", "quick"])] == ["v1"]
    assert api.artifacts("model", "digits/net", tags="large") == []
    with pytest.raises(UsageError, match="is of type 'model'"):
        api.artifacts("dataset", "digits/net")


def test_types_and_collections_are_listed_by_name(api: tracker.Api) -> None:
    assert [kind.name for kind in api.artifact_types("digits")] == ["dataset", "model"]
    assert [each.name for each in api.artifact_type("dataset", "digits").collections()] == ["pixels", "rows"]
    assert [each.name for each in api.artifact_collections("local/digits")] == ["net", "pixels", "rows"]
    with pytest.raises(UsageError, match="there are: dataset, model"):
        api.artifact_type("table", "digits")
    net = api.artifact_type("model", "digits").collection("net")
    assert (net.name, net.type, len(net), net.aliases) == ("net", "model", 2, ["best", "latest"])
    with pytest.raises(UsageError, match="is of type 'model'"):
        api.artifact_type("dataset", "digits").collection("net")


def test_whether_something_is_there_can_be_asked(api: tracker.Api) -> None:
    assert api.artifact_exists("digits/net:best", "model")
    assert not api.artifact_exists("digits/net:best", "dataset")
    assert not api.artifact_exists("digits/net:v9")
    assert api.artifact_collection_exists("digits/rows", "dataset")
    assert not api.artifact_collection_exists("digits/rows", "model")
    assert not api.artifact_collection_exists("digits/nothing")


def test_a_collection_can_be_described_and_emptied(api: tracker.Api) -> None:
    rows = api.artifact_collection("dataset", "digits/rows")
    rows.description, rows.tags = "of digits", ["public"]
    rows.save()
    again = api.artifact_collection("dataset", "digits/rows")
    assert (again.description, again.tags) == ("of digits", ["public"])
    rows.delete()
    assert api.artifacts("dataset", "digits/rows") == []


def test_registries_answer_their_stages(api: tracker.Api) -> None:
    assert [registry.name for registry in api.registries()] == ["model"]
    assert api.registries(filter={"name": "other"}) == []
    registry = api.registry("wandb-registry-model")
    assert [each.name for each in registry.collections()] == ["classifier"]
    (staged,) = registry.versions(filter={"alias": "staging"})
    assert (staged.is_link, staged.source_qualified_name) == (True, "local/digits/net:v0")
    assert registry.versions(filter={"alias": "production"}) == []
    assert [event.action for event in registry.collection("classifier").history()] == ["version", "alias"]
    used_by = api.artifact("wandb-registry-model/classifier:staging").used_by()
    assert [run.id for run in used_by] == ["reader"]


def test_the_lineage_goes_through_runs_and_artifacts(api: tracker.Api) -> None:
    reader, maker = api.run("other/reader"), api.run("digits/maker")
    assert [one.qualified_name for one in reader.used_artifacts()] == ["local/digits/net:v0"]
    assert reader.logged_artifacts() == []
    assert [one.name for one in maker.logged_artifacts()] == ["rows:v0", "pixels:v0", "net:v0", "net:v1"]
    graph = api.lineage(artifact="digits/net:v0")
    assert {node.path for node in graph.nodes} == {"local/digits/net:v0", "local/digits/maker", "local/other/reader"}
    assert api.artifact("digits/net:v1").used_by() == []


def test_a_run_that_has_ended_can_be_told_what_it_made_and_read(api: tracker.Api) -> None:
    reader = api.run("other/reader")
    reader.use_artifact(api.artifact("digits/rows"), use_as="rows")
    reader.log_artifact(api.artifact("digits/pixels"), aliases=["checked"])

    assert [one.name for one in reader.used_artifacts()] == ["net:v0", "rows:v0"]
    assert [one.name for one in reader.logged_artifacts()] == ["pixels:v0"]
    assert api.artifact("digits/pixels:checked").version == "v0"
    made_by = api.artifact("digits/pixels").logged_by()
    assert made_by is not None
    assert made_by.id == "maker"  # the first one
