"""Filling an artifact that is not logged yet: files, folders, references."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..complaints import is_strict, tell
from ..errors import StorageError, UsageError
from .contents import Contents, Policy, default_root
from .files import ArtifactFile
from .manifest import Entry, check_path
from .pending import Pending
from .version import Version


class Filling:
    """What `Artifact` has for being filled. Nothing can be added once it is logged."""

    incremental: bool
    _base_name: str
    _contents: Contents | None = None
    _failure: BaseException | None = None
    _pending: Pending | None = None
    _version: Version | None = None

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: Policy | None = "mutable",
        overwrite: bool = False,
    ) -> ArtifactFile:
        """Add a file, as it is now.

        Args:
            local_path: Where it is.
            name: Its path within the artifact; the file's own name by default.
            is_tmp: Accepted as in W&B.
            skip_cache: Accepted as in W&B.
            policy: "immutable" where nothing will ever write the file again: it is linked, whatever its size.
            overwrite: Replace what has this path already.

        Raises:
            UsageError: It is no file, or the path cannot be kept, or is there already with other bytes.
        """
        path = Path(local_path)
        if not path.is_file():
            raise _not_one(path, "file", "; add_dir adds a folder" if path.is_dir() else "")
        place = check_path(name or path.name)
        entry = Entry(place)
        with self._guarded(f"the file {path}"):
            entry = self._filling().add_file(place, path, policy or "mutable", overwrite)
        return ArtifactFile(self._artifact(), entry)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: Policy | None = "mutable",
        merge: bool = True,
    ) -> None:
        """Add all files below a folder, as they are now. Symbolic links within it stay links; empty folders are left out.

        Args:
            local_path: The folder.
            name: The path within the artifact that they go below; none by default.
            skip_cache: Accepted as in W&B.
            policy: As in `add_file`.
            merge: Accepted as in W&B.

        Raises:
            UsageError: It is no folder, a link leads out of it, or a path is there already.
        """
        path = Path(local_path)
        if not path.is_dir():
            raise _not_one(path, "folder", "; add_file adds a file" if path.is_file() else "")
        with self._guarded(f"the folder {path}"):
            self._filling().add_dir(name or "", path, policy or "mutable")

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """Open a new file of the artifact for writing.

        Args:
            name: Its path within the artifact.
            mode: "x" or "xb"; "w" and "wb" replace what has this path already.
            encoding: Of text; UTF-8 by default.

        Raises:
            UsageError: The path cannot be kept, or is there already.

        Example:
            with artifact.new_file("notes.txt") as file:
                file.write("read me")
        """
        with self._filling().new_file(name, mode, encoding) as file:
            yield file

    def add(self, obj: Any, name: str, overwrite: bool = False) -> ArtifactFile:
        """Add a medium or a table, as it is now; `get` answers it again.

        Args:
            obj: A `tracker.Table`, `tracker.Image`, ...
            name: The path within the artifact; `<name>.tracker.json` says what it is, its bytes lie in `media/`.
            overwrite: Replace what has this name already.

        Raises:
            UsageError: It is neither, or broken, or the name is there already.

        Example:
            artifact.add(tracker.Table(columns=["x"], data=[[1]]), "points")
        """
        from .objects import described_by, store_object

        contents = self._filling()
        path = described_by(name)
        if path in contents.snapshot and not overwrite:
            raise UsageError(f"the artifact has {name!r} already; replace it with overwrite=True.")
        entry = Entry(path)
        with self._guarded(f"the object {name!r}"):
            about, entries = store_object(obj, name, contents.store)
            entry = contents.add_bytes(path, about, overwrite)
            for one in entries:
                contents.add_entry(one, overwrite=True)  # the same bytes in another object
        return ArtifactFile(self._artifact(), entry)

    def __setitem__(self, name: str, obj: Any) -> None:
        """Add a medium or a table; see `add`."""
        self.add(obj, name)

    def add_reference(
        self, uri: Any, name: str | None = None, checksum: bool = True, max_objects: int | None = None
    ) -> list[ArtifactFile]:
        """Add files that stay where they are: local ones, on the web, in S3 or another store.

        What tells a change apart is recorded: ETag and version where the store has them, size, time; of local files a
        digest, for which they are read.

        Args:
            uri: `file:///folder/file`, `https://...`, `s3://bucket/key`, ...; a folder stands for all below it. Or a
                file of another artifact (`other.get_entry("x")`), which is then kept with this one as well.
            name: The path within the artifact; for a folder, what its files go below.
            checksum: False: record the address alone.
            max_objects: Of a folder; more are refused.

        Raises:
            UsageError: There is nothing, or far too much, or the path cannot be kept.
            MissingFramework: The package for this kind of address is not installed.
            StorageError, TransportError: It cannot be looked at.
        """
        if isinstance(uri, ArtifactFile):
            entry = uri.artifact_entry(name)
            return [ArtifactFile(self._artifact(), self._filling().add_entry(entry))]
        from . import references  # requests, fsspec: only for what lies elsewhere

        found = references.refer(os.fspath(uri), name, checksum, max_objects)
        contents = self._filling()
        return [ArtifactFile(self._artifact(), contents.add_entry(entry)) for entry in found]

    def remove(self, item: str | os.PathLike[str] | ArtifactFile) -> None:
        """Take a file, or all files below a folder, out of an artifact that is not logged yet.

        With `incremental`, also what the version before has there.

        Raises:
            UsageError: There is nothing of that name.
        """
        path = item.path if isinstance(item, ArtifactFile) else os.fspath(item)
        contents = self._filling()
        known = contents.entries()
        if not self.incremental and path not in known and not any(each.startswith(f"{path}/") for each in known):
            raise UsageError(f"the artifact has no file {path!r}; it has {', '.join([*known][:8]) or 'none'}.")
        contents.remove(path)

    def _artifact(self) -> Any:
        return self

    def _filling(self) -> Contents:
        if self._version is not None or self._pending is not None:
            raise UsageError(
                f"the artifact {self._base_name!r} is logged, and does not change any more. "
                "Make another: artifact.new_draft(), or tracker.Artifact(name, type, incremental=True)."
            )
        if self._contents is None:
            self._contents = Contents(default_root())
        return self._contents

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Let a full disk fail the artifact, not the training."""
        try:
            yield
        except StorageError as error:
            if is_strict():
                raise
            if self._failure is None:
                tell(f"{what} cannot be kept, and the artifact {self._base_name!r} will not be: {error}", level=30)
            self._failure = error


def _not_one(path: Path, kind: str, hint: str) -> UsageError:
    if os.path.lexists(path):
        return UsageError(f"{str(path)!r} is no {kind}{hint}.")
    here = "" if path.is_absolute() else f" The working folder is {os.getcwd()}."
    return UsageError(f"there is no {kind} {str(path)!r}.{here} Give a path that is there.")
