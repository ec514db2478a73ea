"""Artifacts of a run that keeps nothing: they have a name and a version, and hold no files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blobs import FolderBlobs
from ..disabled import Inert
from ..paths import DEFAULT_ENTITY, blobs_folder
from .artifact import Artifact
from .manifest import Manifest
from .pending import Pending
from .place import Place
from .restoring import LocalBlobs
from .version import Version

if TYPE_CHECKING:
    from ..query import Api

_NOTHING = "0" * 64


class _NoCatalogue(Inert):
    """Takes everything, knows nothing."""

    def version(self, *_: Any) -> None:
        """Answer None."""

    def collection(self, *_: Any) -> None:
        """Answer None."""


class _NoPlace(Place):
    """Holds no bytes."""

    def __init__(self) -> None:
        root = Path(tempfile.gettempdir()) / "tracker-disabled"  # never made
        store = FolderBlobs(blobs_folder(root))

        def open_api() -> Api:
            from ..query import Api

            return Api(dir=root)

        catalogue: Any = _NoCatalogue()
        super().__init__("nothing: tracking is disabled", root, catalogue, LocalBlobs(store), store, open_api)

    def manifest(self, version: Version) -> Manifest:
        """Answer a manifest without files."""
        return Manifest(())

    def find(self, text: str, entity: str | None = None, project: str | None = None) -> Version:
        """Answer a version of that name."""
        name = str(text).rpartition("/")[2].partition(":")[0].partition("@")[0] or "disabled"
        return _version(name, "disabled", entity, project)


def logged(artifact_or_path: Any, name: str | None, type: str | None, run: Any) -> Artifact:
    """Answer what `log_artifact` of a disabled run does: the artifact, as if it were stored, its files let go."""
    if isinstance(artifact_or_path, Artifact):
        artifact = artifact_or_path
    else:
        base = os.path.basename(str(artifact_or_path).rstrip("/")) or "files"
        text = "".join(char if char.isalnum() or char in "-_." else "-" for char in name or f"run-{run.id}-{base}")
        artifact = Artifact(text[:128], type or "unspecified")
    if artifact.is_draft():
        artifact._contents = None
        artifact._place = _NoPlace()
        artifact._pending = Pending()
        found = _version(artifact._base_name, artifact.type, run.entity, run.project)
        artifact._pending.succeed(found)
        description, metadata = artifact.description, artifact.metadata
        artifact.wait()
        artifact.description, artifact.metadata = description, metadata
    return artifact


def used(artifact_or_name: Any, type: str | None, run: Any) -> Artifact:
    """Answer what `use_artifact` of a disabled run does: an artifact of that name without files."""
    if isinstance(artifact_or_name, Artifact):
        return logged(artifact_or_name, None, None, run)
    place = _NoPlace()
    found = place.find(str(artifact_or_name), run.entity, run.project)
    return Artifact._from_version(place, _version(found.name, type or "disabled", run.entity, run.project))


def _version(name: str, type: str, entity: str | None, project: str | None) -> Version:
    return Version(
        entity=entity or DEFAULT_ENTITY,
        project=project or "disabled",
        name=name,
        type=type,
        digest=_NOTHING,
        manifest=_NOTHING,
        version=0,
        token="disabled",  # noqa: S106 - no secret
    )
