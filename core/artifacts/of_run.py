"""What `Run` has for artifacts; all but the names is made at first use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from .artifact import Artifact
    from .logging import RunArtifacts


class ArtifactsOfRun:
    """The artifact methods of a run, with W&B's names and arguments."""

    _artifact_rooms: dict[int, RunArtifacts]  # by process: a forked child begins anew

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        tags: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Log an artifact as something this run has made. Returns in milliseconds; its bytes are stored behind your back.

        What it holds is fixed when this returns: files may be deleted, rotated or written anew at once.

        Args:
            artifact_or_path: An `Artifact`; or a file, a folder, or an address such as `s3://bucket/key`.
            name: Of a path; `run-<id>-<file name>` by default.
            type: Of a path; "unspecified" by default.
            aliases: Names that are to point at this version, beside "latest".
            tags: Labels of the version.

        Returns:
            The artifact; `wait()` waits until it is stored and has its version. Where it could not be kept, that is
            said, training goes on, and `wait()` raises.

        Example:
            artifact = tracker.Artifact("weights", type="model")
            artifact.add_file("last.ckpt")
            run.log_artifact(artifact, aliases=["best"])
        """
        return self._room().log(artifact_or_path, name, type, aliases, tags)

    def use_artifact(
        self,
        artifact_or_name: Artifact | str,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """Take note that this run reads an artifact, and answer it.

        Args:
            artifact_or_name: `name:v3`, `name:alias`, `name@digest`, with `project/` or `entity/project/` before it; or
                an `Artifact`, which is logged where it was not.
            type: What it must be.
            aliases: Names that are to point at this version.
            use_as: What it is to this run: "training data", say.

        Returns:
            The artifact: `artifact.download()` brings its files.

        Raises:
            UsageError: There is none of that name, it is of another type, or it is revoked.
            StorageError, TransportError: It cannot be looked up.
        """
        return self._room().use(artifact_or_name, type, aliases, use_as)

    def log_model(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        aliases: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Log a file or a folder as an artifact of type "model".

        Args:
            path: Where it is.
            name: `run-<id>-<file name>` by default.
            aliases: Names that are to point at this version.
        """
        return self._room().log(path, name, "model", aliases)

    def use_model(self, name: str) -> str:
        """Take note that this run reads a model, and bring its files.

        Args:
            name: As for `use_artifact`.

        Returns:
            The path of the file, where it is one, else of the folder.

        Raises:
            UsageError: There is none of that name, or its type does not hold "model".
        """
        artifact = self._room().use(name)
        if "model" not in artifact.type:
            raise UsageError(f"{artifact.name} is of type {artifact.type!r}; use_model takes models. Use use_artifact.")
        folder = artifact.download()
        files = artifact.files()
        return str(Path(folder) / files[0].path) if len(files) == 1 else folder

    def link_model(
        self,
        path: str | os.PathLike[str],
        registered_model_name: str,
        name: str | None = None,
        aliases: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Log a file or a folder as a model, and link it into a registry once it is stored.

        Args:
            path: Where it is.
            registered_model_name: The collection, in the registry "model" unless it says `registry/collection`.
            name: `run-<id>-<file name>` by default.
            aliases: What it is called in the registry: "staging", ...

        Raises:
            UsageError: The collection cannot be named so, or an alias cannot be one.
        """
        from .artifact import names_of
        from .registry import target

        target(registered_model_name)
        return self._room().log(path, name, "model", links=[(registered_model_name, names_of(aliases))])

    def link_artifact(
        self, artifact: Artifact, target_path: str, aliases: Sequence[str] | str | None = None
    ) -> Artifact:
        """Link an artifact into a collection of a registry; one that is not stored yet is linked once it is.

        Args:
            artifact: Which; it is logged where it was not.
            target_path: "registry/collection", or W&B's "wandb-registry-<registry>/<collection>".
            aliases: What it is called there: "staging", "production"; whoever was called so is so no more.

        Returns:
            The version in the registry; or the artifact, where that is not stored yet.

        Raises:
            UsageError: The target names no collection, or an alias cannot be one.
        """
        return self._room().link(artifact, target_path, aliases)

    def upsert_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Give a part of a version that several processes make together; `finish_artifact` makes the version.

        Args:
            artifact_or_path: As for `log_artifact`.
            name: As for `log_artifact`.
            type: As for `log_artifact`.
            aliases: As for `log_artifact`.
            distributed_id: What the processes agree upon; the run's group by default.

        Raises:
            UsageError: There is neither a `distributed_id` nor a group.
        """
        return self._room().log(artifact_or_path, name, type, aliases, share=self._share(distributed_id))

    def finish_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Give the last part of a version that several processes make together, and make it of all there are.

        The other processes must have ended, or waited for their parts to be stored.

        Args:
            artifact_or_path: As for `log_artifact`; it may be empty.
            name: As for `log_artifact`.
            type: As for `log_artifact`.
            aliases: As for `log_artifact`.
            distributed_id: What the processes agree upon; the run's group by default.

        Raises:
            UsageError: There is neither a `distributed_id` nor a group.
        """
        share = self._share(distributed_id)
        return self._room().log(artifact_or_path, name, type, aliases, share=share, is_share_final=True)

    def _share(self, given: str | None) -> str:
        share = given or getattr(self, "group", None)
        if not isinstance(share, str) or not share:
            raise UsageError("give distributed_id=..., or begin the runs with one group: tracker.init(group=...).")
        return share

    def _room(self) -> RunArtifacts:
        rooms = self.__dict__.setdefault("_artifact_rooms", {})
        room = rooms.get(os.getpid())
        if room is None:
            from .logging import RunArtifacts

            run: Any = self
            # Of several threads that are here at once, the first one's stays.
            room = rooms.setdefault(os.getpid(), RunArtifacts(run))
        return room  # type: ignore[no-any-return]

    def _finish_artifacts(self, stall_seconds: float, timeout: float | None) -> None:
        room = self.__dict__.get("_artifact_rooms", {}).get(os.getpid())
        if room is not None:
            room.finish(stall_seconds, timeout)

    def _settle_artifacts(self, stall_seconds: float) -> None:
        room = self.__dict__.get("_artifact_rooms", {}).get(os.getpid())
        if room is not None:
            room.settle(stall_seconds)
