"""Registries: versions of any project under one name, and the stages they go through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.registry import link, target, unlink
from tracker.core.artifacts.version import REGISTRY, Actor, Draft, Version, parse_name
from tracker.core.errors import UsageError


def claim(catalogue: FolderCatalogue, project: str, content: int, type: str = "model") -> Version:
    digest = f"{content:064x}"
    draft = Draft(entity="local", project=project, name="net", type=type, digest=digest, manifest=digest)
    return catalogue.claim(draft, f"{project}{content}")


def test_a_stage_is_taken_from_its_old_holder_and_the_history_says_by_whom(tmp_path: Path) -> None:
    catalogue = FolderCatalogue(tmp_path)
    old, new = claim(catalogue, "one", 1), claim(catalogue, "two", 2)
    first = link(catalogue, old, "model", "classifier", ["production"], Actor("ada", "lab", "local/one/r1"))
    second = link(catalogue, new, "model", "classifier", ["staging"], Actor("bob", "lab"))
    catalogue.alias(second, "production", Actor("eve", "desk"))

    assert [(v.version, v.aliases, v.source) for v in catalogue.versions(REGISTRY, "model", "classifier")] == [
        (0, (), "local/one/net:v0"),
        (1, ("production", "staging", "latest"), "local/two/net:v0"),
    ]
    told = [
        (e.action, e.version, e.name, e.previous, e.user, e.host, e.run)
        for e in catalogue.history(REGISTRY, "model", "classifier")
    ]
    assert told == [
        ("version", 0, "local/one/net:v0", None, "ada", "lab", "local/one/r1"),
        ("alias", 0, "production", None, "ada", "lab", "local/one/r1"),
        ("version", 1, "local/two/net:v0", None, "bob", "lab", None),
        ("alias", 1, "staging", None, "bob", "lab", None),
        ("alias", 1, "production", 0, "eve", "desk", None),
    ]
    assert first.manifest == old.manifest
    assert [(e.action, e.name) for e in catalogue.history("local", "one", "net")][-1] == (
        "link",
        ".registry/model/classifier:v0",
    )


def test_linked_again_it_stays_one_version(tmp_path: Path) -> None:
    catalogue = FolderCatalogue(tmp_path)
    net = claim(catalogue, "one", 1)
    linked = link(catalogue, net, "model", "classifier")
    again = link(catalogue, linked, "model", "classifier", ["best"])  # a link of a link is one of its source

    assert (again.version, again.aliases, again.source) == (0, ("best", "latest"), "local/one/net:v0")
    unlink(catalogue, again)
    assert catalogue.versions(REGISTRY, "model", "classifier") == []
    assert [e.action for e in catalogue.history("local", "one", "net")] == ["version", "link", "unlink"]
    assert link(catalogue, net, "model", "classifier").version == 1
    with pytest.raises(UsageError, match="is in no registry"):
        unlink(catalogue, net)


def test_a_collection_holds_one_type(tmp_path: Path) -> None:
    catalogue = FolderCatalogue(tmp_path)
    link(catalogue, claim(catalogue, "one", 1), "model", "classifier")

    with pytest.raises(UsageError, match="is of type 'model', not 'dataset'"):
        link(catalogue, claim(catalogue, "two", 1, "dataset"), "model", "classifier")


def test_targets_are_named_as_in_wandb_and_shorter() -> None:
    for path in ("wandb-registry-model/net", "org/wandb-registry-model/net", "tracker-registry-model/net", "model/net",
                 ".registry/model/net", "net"):  # fmt: skip
        assert target(path) == ("model", "net"), path
    for wrong in ("a/b/c", "model/net:v3", "", "a:b"):
        with pytest.raises(UsageError):
            target(wrong)


@pytest.mark.parametrize(
    ("text", "entity", "project", "name", "which"),
    [
        ("data", "e", "p", "data", "latest"),
        ("data:v3", "e", "p", "data", "v3"),
        ("q/data:best", "e", "q", "data", "best"),
        ("f/q/data:best", "f", "q", "data", "best"),
        ("data@0123456789ab", "e", "p", "data", "0123456789ab"),
        ("wandb-registry-model/net:production", ".registry", "model", "net", "production"),
        ("org/wandb-registry-model/net:production", ".registry", "model", "net", "production"),
        (".registry/model/net", ".registry", "model", "net", "latest"),
    ],
)
def test_names_are_taken_apart(text: str, entity: str, project: str, name: str, which: str) -> None:
    assert parse_name(text, "e", "p") == (entity, project, name, which)


@pytest.mark.parametrize("text", ["", ":v3", "data:", "a/b/c/d", "a//b", None, 3])
def test_what_names_no_artifact_is_refused(text: object) -> None:
    with pytest.raises(UsageError):
        parse_name(text, "e", "p")  # type: ignore[arg-type]
