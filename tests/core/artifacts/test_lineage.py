"""From runs to versions and back, however far."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.lineage import Graph, lineage
from tracker.core.artifacts.registry import link
from tracker.core.artifacts.version import Draft, Version
from tracker.core.errors import UsageError


def claim(catalogue: FolderCatalogue, name: str, content: int, run: str | None) -> Version:
    digest = f"{content:064x}"
    run = None if run is None else f"local/p/{run}"
    draft = Draft(entity="local", project="p", name=name, type="t", digest=digest, manifest=digest, run=run)
    return catalogue.claim(draft, f"{name}{content}")


@pytest.fixture
def pipeline(tmp_path: Path) -> FolderCatalogue:
    """Prepare -> data -> train1, train2 -> net:v0, net:v1; eval reads data and net:v1 -> report."""
    catalogue = FolderCatalogue(tmp_path)
    data = claim(catalogue, "data", 1, "prepare")
    for number in (1, 2):
        catalogue.use(data, f"local/p/train{number}")
        claim(catalogue, "net", 10 + number, f"train{number}")
    best = catalogue.version("local", "p", "net", "v1")
    assert best is not None
    catalogue.use(best, "local/p/eval")
    catalogue.use(data, "local/p/eval")
    claim(catalogue, "report", 20, "eval")
    return catalogue


def names(graph: Graph) -> set[str]:
    return {node.path.removeprefix("local/p/") for node in graph.nodes}


def edges(graph: Graph) -> set[str]:
    return {f"{each.source} > {each.target} ({each.use})".replace("local/p/", "") for each in graph.edges}


def test_up_from_a_report_is_all_it_came_from_and_nothing_else(pipeline: FolderCatalogue) -> None:
    report = pipeline.version("local", "p", "report")

    graph = lineage(pipeline, artifact=report, direction="up")
    assert names(graph) == {"report:v0", "eval", "data:v0", "net:v1", "train2", "prepare"}
    assert edges(graph) == {
        "eval > report:v0 (output)",
        "data:v0 > eval (input)",
        "net:v1 > eval (input)",
        "train2 > net:v1 (output)",
        "data:v0 > train2 (input)",
        "prepare > data:v0 (output)",
    }
    assert not graph.is_cut


def test_down_from_a_run_is_all_that_came_of_it(pipeline: FolderCatalogue) -> None:
    graph = lineage(pipeline, run="local/p/prepare", direction="down")

    assert names(graph) == {
        "prepare", "data:v0", "train1", "train2", "eval", "net:v0", "net:v1", "report:v0",
    }  # fmt: skip
    assert {node.path: node.depth for node in graph.nodes}["local/p/report:v0"] == 3


def test_a_walk_ends_where_it_is_told_to(pipeline: FolderCatalogue) -> None:
    data = pipeline.version("local", "p", "data")

    assert names(lineage(pipeline, artifact=data, depth=1)) == {"data:v0", "prepare", "train1", "train2", "eval"}
    assert names(lineage(pipeline, run="local/p/train1", depth=1)) == {"train1", "data:v0", "net:v0"}
    cut = lineage(pipeline, run="local/p/prepare", limit=3)
    assert len(cut.nodes) == 3
    assert cut.is_cut


def test_a_deleted_version_stays_in_the_lineage(pipeline: FolderCatalogue) -> None:
    data = pipeline.version("local", "p", "data")
    assert data is not None
    pipeline.delete(data)

    found = {node.path: node for node in lineage(pipeline, run="local/p/eval", direction="up").nodes}
    assert found["local/p/data:v0"].deleted


def test_what_is_read_through_a_registry_is_read_where_it_comes_from(pipeline: FolderCatalogue) -> None:
    net = pipeline.version("local", "p", "net", "v0")
    assert net is not None
    linked = link(pipeline, net, "model", "classifier", ["production"])
    pipeline.use(linked, "local/p/serve")

    assert "serve" in names(lineage(pipeline, artifact=net))
    assert names(lineage(pipeline, artifact=linked, depth=1)) == {"net:v0", "train1", "serve"}
    assert [use.run for use in pipeline.uses(linked)] == ["local/p/serve"]


def test_where_it_begins_must_be_said_once(pipeline: FolderCatalogue) -> None:
    for wrong in ({}, {"run": "local/p/x", "artifact": pipeline.version("local", "p", "data")}):
        with pytest.raises(UsageError, match="give one of the two"):
            lineage(pipeline, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'sideways'"):
        lineage(pipeline, run="local/p/x", direction="sideways")  # type: ignore[arg-type]
