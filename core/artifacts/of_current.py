"""The artifact functions bound to the current run: `tracker.log_artifact`, `tracker.use_artifact`, ..."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..current import needed
from .artifact import Artifact


def log_artifact(
    artifact_or_path: Artifact | str | os.PathLike[str],
    name: str | None = None,
    type: str | None = None,
    aliases: Sequence[str] | str | None = None,
    tags: Sequence[str] | str | None = None,
) -> Artifact:
    """Log an artifact to the current run; see `Run.log_artifact`.

    Raises:
        UsageError: No run is open.
    """
    return needed("log_artifact").log_artifact(artifact_or_path, name, type, aliases, tags)


def use_artifact(
    artifact_or_name: Artifact | str,
    type: str | None = None,
    aliases: Sequence[str] | str | None = None,
    use_as: str | None = None,
) -> Artifact:
    """Take note that the current run reads an artifact, and answer it; see `Run.use_artifact`.

    Raises:
        UsageError: No run is open, or the artifact cannot be used.
    """
    return needed("use_artifact").use_artifact(artifact_or_name, type, aliases, use_as)


def log_model(
    path: str | os.PathLike[str], name: str | None = None, aliases: Sequence[str] | str | None = None
) -> Artifact:
    """Log a file or a folder as a model of the current run; see `Run.log_model`.

    Raises:
        UsageError: No run is open.
    """
    return needed("log_model").log_model(path, name, aliases)


def use_model(name: str) -> str:
    """Bring a model's files for the current run, and answer where they are; see `Run.use_model`.

    Raises:
        UsageError: No run is open, or there is no such model.
    """
    return needed("use_model").use_model(name)


def link_model(
    path: str | os.PathLike[str],
    registered_model_name: str,
    name: str | None = None,
    aliases: Sequence[str] | str | None = None,
) -> Artifact:
    """Log a model to the current run and link it into a registry; see `Run.link_model`.

    Raises:
        UsageError: No run is open, or the collection cannot be named so.
    """
    return needed("link_model").link_model(path, registered_model_name, name, aliases)


def link_artifact(artifact: Artifact, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
    """Link an artifact into a registry from the current run; see `Run.link_artifact`.

    Raises:
        UsageError: No run is open, or the target names no collection.
    """
    return needed("link_artifact").link_artifact(artifact, target_path, aliases)
