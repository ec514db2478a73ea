"""`tracker.Artifact`: files under a name, in versions that never change."""

from __future__ import annotations

import contextlib
import datetime
import enum
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..names import check_name, to_folder
from ..values import plain
from ..wire import to_json
from .contents import default_root
from .files import ArtifactFile
from .filling import Filling
from .manifest import Manifest
from .version import LATEST, Actor, Version, check_alias, check_days

if TYPE_CHECKING:
    from ..query.run import Run as PublicRun
    from ..run import Run
    from .place import Place

_DAY_SECONDS = 86_400.0
_MAX_LISTED = 1_000  # elements of an array in metadata


class ArtifactTTL(enum.Enum):
    """What `Artifact.ttl` can be beside a `timedelta` and None."""

    INHERIT = 0


class Artifact(Filling):
    """Files under a name. Fill it, and log it with `run.log_artifact`; or get one that was logged from `Api`.

    The names of all that it has, and the order of arguments, are W&B's. Files are taken as they are when they are added:
    what happens to them afterwards does not change the artifact.

    Args:
        name: Letters, digits, anything but slashes and colons. Artifacts of one name are versions of one another.
        type: "dataset", "model", ...; all versions of a name have one.
        description: Free text.
        metadata: Your own facts: a dict.
        incremental: Add to the files of the version before, instead of replacing them.
        use_as: Accepted as in W&B.
        storage_region: Accepted as in W&B.
        digest_algorithm: Accepted as in W&B; digests are BLAKE3.

    Raises:
        UsageError: The name or the type cannot be kept, or the metadata is no dict.

    Example:
        artifact = tracker.Artifact("digits", type="dataset", metadata={"rows": 1797})
        artifact.add_dir("data")
        run.log_artifact(artifact)
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool | None = None,
        use_as: str | None = None,
        storage_region: str | None = None,
        digest_algorithm: str | None = None,
    ) -> None:
        self._base_name = check_name(name, "artifact's name")
        if name != name.strip() or "@" in name:  # `use_artifact` would not find it again
            raise UsageError(
                f"the artifact's name {name!r} holds '@', or begins or ends with a blank; leave that out, or use '-'."
            )
        self._type = check_name(type, "artifact's type")
        self.description = description
        self.metadata = metadata
        self.incremental = bool(incremental)
        self.use_as = use_as
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self._ttl: float | ArtifactTTL | None = ArtifactTTL.INHERIT
        self._place: Place | None = None
        self._logged_by: Run | None = None

    @classmethod
    def _from_version(cls, place: Place, version: Version, run: Run | None = None) -> Artifact:
        """Make the artifact of a version that is there."""
        self = cls("version", version.type)
        self._base_name = version.name  # whatever it is: it is there
        self._place = place
        self._logged_by = run
        self._take(version)
        return self

    def _take(self, version: Version) -> None:
        self._version = version
        self.description = version.description
        self.metadata = dict(version.metadata)
        self.aliases = list(version.aliases)
        self.tags = list(version.tags)
        self._ttl = ArtifactTTL.INHERIT if version.ttl_days is None else version.ttl_days

    # --- what it is ----------------------------------------------------------------------

    @property
    def metadata(self) -> dict[str, Any]:
        """Your own facts, as plain data; can be changed and set, and is kept by `save()`."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any] | None) -> None:
        self._metadata = plain_metadata(metadata)

    def is_draft(self) -> bool:
        """Answer whether it is not logged yet."""
        return self._version is None and self._pending is None

    @property
    def state(self) -> str:
        """`DRAFT`, `PENDING` (logged, and not stored yet), `COMMITTED`, `FAILED` or `DELETED`, as in W&B."""
        if self._version is None and self._pending is not None and self._pending.is_done:
            if self._pending.error is not None:
                return "FAILED"
            return "COMMITTED"
        if self._version is None:
            return "PENDING" if self._pending is not None else "DRAFT"
        return "DELETED" if self._version.deleted else "COMMITTED"

    def wait(self, timeout: float | None = None) -> Artifact:
        """Wait until it is stored and has its version.

        Args:
            timeout: Seconds at most; None for as long as it takes.

        Raises:
            UsageError: It is not logged.
            TimeoutError: It is not stored yet.
            TrackerError: It could not be kept: a file was changed meanwhile, the disk is full.
        """
        if self._version is None:
            if self._pending is None:
                raise UsageError(f"the artifact {self.name!r} is not logged; there is nothing to wait for.")
            version = self._pending.wait(timeout)
            if version is not None:
                self._take(version)
        return self

    def _settled(self, what: str) -> Version:
        """Answer the version; wait for it where it is on its way."""
        if self._version is None and self._pending is None:
            raise UsageError(f"{what} is known once the artifact is logged: run.log_artifact(artifact).")
        self.wait()
        if self._version is None:
            raise UsageError(f"{self._base_name!r} is a part of an artifact; the version comes with finish_artifact.")
        return self._version

    def _of_place(self) -> Place:
        if self._place is None:
            from .place import local_place

            self._place = local_place(self._contents.root if self._contents is not None else default_root())
        return self._place

    @property
    def name(self) -> str:
        """The name; with the version behind it once there is one: `digits:v3`."""
        if self._version is None and self._pending is not None and self._pending.version is not None:
            self.wait()
        return self._base_name if self._version is None else f"{self._base_name}:v{self._version.version}"

    @property
    def qualified_name(self) -> str:
        """`entity/project/name:v3`."""
        return self._settled("qualified_name").path

    @property
    def collection(self) -> Any:
        """All versions of this name."""
        from ..query.artifacts import ArtifactCollection  # a cycle: that answers artifacts

        version = self._settled("collection")
        return ArtifactCollection.of(self._of_place(), version.entity, version.project, version.name)

    @property
    def type(self) -> str:
        """The type: "dataset", "model", ..."""
        return self._type

    @property
    def version(self) -> str:
        """`v0`, `v1`, ...; waited for where it is on its way."""
        return f"v{self._settled('version').version}"

    @property
    def entity(self) -> str:
        """Whose project it is in."""
        return self._settled("entity").entity

    @property
    def project(self) -> str:
        """The project it is in; for a registry's, the registry."""
        return self._settled("project").project

    @property
    def id(self) -> str:
        """What tells it from all other versions."""
        return self._settled("id").token

    @property
    def digest(self) -> str:
        """BLAKE3 over paths and contents, in hex: equal for equal files. Waited for where it is on its way."""
        return self._settled("digest").digest

    @property
    def size(self) -> int:
        """Bytes of all files."""
        if self._version is None and self._contents is not None and self._pending is None:
            return self._contents.size
        return 0 if self.is_draft() else self._settled("size").size

    @property
    def file_count(self) -> int:
        """How many files it has."""
        if self.is_draft():
            return len(self._contents.entries()) if self._contents is not None else 0
        return self._settled("file_count").files

    @property
    def created_at(self) -> str:
        """When it was logged, in ISO format (UTC)."""
        return _iso(self._settled("created_at").created_ns)

    @property
    def updated_at(self) -> str:
        """When it was logged, or something was changed of it last: an alias, its description; in ISO format (UTC)."""
        version = self._settled("updated_at")
        events = self._of_place().catalogue.history(version.entity, version.project, version.name)
        return _iso(max([version.created_ns, *(each.time_ns for each in events if each.version == version.version)]))

    @property
    def commit_hash(self) -> str:
        """What W&B calls so: the same as `digest`."""
        return self._settled("commit_hash").digest

    @property
    def url(self) -> str | None:
        """Its page on a server; None without one."""
        return None

    @property
    def is_link(self) -> bool:
        """Whether it is a registry's link to a version elsewhere."""
        return self._version is not None and self._version.source is not None

    @property
    def source_qualified_name(self) -> str:
        """`entity/project/name:v3` of where it was logged; of a link, not the registry's."""
        version = self._settled("source_qualified_name")
        return version.source or version.path

    @property
    def source_collection(self) -> Any:
        """All versions of the name it was logged under."""
        from ..query.artifacts import ArtifactCollection

        origin = self._origin()
        return ArtifactCollection.of(self._of_place(), origin.entity, origin.project, origin.name)

    @property
    def source_name(self) -> str:
        """`name:v3` of where it was logged."""
        return self.source_qualified_name.rpartition("/")[2]

    @property
    def source_version(self) -> str:
        """`v3` of where it was logged."""
        return self.source_qualified_name.rpartition(":")[2]

    @property
    def source_entity(self) -> str:
        """Whose project it was logged in."""
        return self.source_qualified_name.split("/")[0]

    @property
    def source_project(self) -> str:
        """The project it was logged in."""
        return self.source_qualified_name.split("/")[1]

    @property
    def ttl(self) -> datetime.timedelta | ArtifactTTL | None:
        """How long after it was logged `tracker gc` may remove it; it can be set to a `timedelta` or None.

        `ArtifactTTL.INHERIT` is what it is unless set: it stays for ever.
        """
        return datetime.timedelta(days=self._ttl) if isinstance(self._ttl, float) else self._ttl

    @ttl.setter
    def ttl(self, ttl: datetime.timedelta | ArtifactTTL | None) -> None:
        if isinstance(ttl, datetime.timedelta):
            self._ttl = check_days(ttl.total_seconds() / _DAY_SECONDS)
        elif ttl is None or isinstance(ttl, ArtifactTTL):
            self._ttl = ttl
        else:
            raise UsageError(f"ttl is {ttl!r}; give a datetime.timedelta, or None for ever.")

    @property
    def _ttl_days(self) -> float | None:
        return self._ttl if isinstance(self._ttl, float) else None

    # --- its files -----------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """The list of its files; of an artifact that is not logged yet, without digests."""
        if self.is_draft():
            return Manifest(self._contents.entries().values() if self._contents is not None else ())
        return self._of_place().manifest(self._settled("manifest"))

    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> list[ArtifactFile]:
        """Answer its files, by path.

        Args:
            names: Only these.
            per_page: Accepted as in W&B.
        """
        entries = self.manifest.entries
        return [ArtifactFile(self, entry) for path, entry in entries.items() if names is None or path in names]

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactFile:
        """Answer one file.

        Raises:
            UsageError: There is none of that path.
        """
        path = os.fspath(name).replace(os.sep, "/")
        entries = self.manifest.entries
        if path not in entries:
            from difflib import get_close_matches

            near = get_close_matches(path, entries, 3, 0.5) or [*entries][:5]
            raise UsageError(f"{self.name} has no file {path!r}; it has {', '.join(map(repr, near)) or 'none'}.")
        return ArtifactFile(self, entries[path])

    def get(self, name: str) -> Any:
        """Answer the medium or the table that was added under a name; None where there is none.

        Raises:
            UsageError: The artifact is not logged yet.
        """
        from .objects import read_object

        self._settled("get")
        return read_object(self, name)

    def get_path(self, name: str | os.PathLike[str]) -> ArtifactFile:
        """Answer one file, as `get_entry` does."""
        return self.get_entry(name)

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """Answer under which path a file was added; None where it was not, or the artifact was not filled here."""
        wanted = os.path.realpath(local_path)
        held = self._contents.snapshot.files if self.is_draft() and self._contents is not None else []
        return next((each.logical for each in held if os.path.realpath(each.source) == wanted), None)

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Write the one file it has, and answer its path.

        Args:
            root: The folder; the same default as that of `download`.

        Raises:
            UsageError: It has none, or several.
        """
        files = self.files()
        if len(files) != 1:
            raise UsageError(f"{self.name} has {len(files):,} files, not one; use download(), or get_entry(path).")
        return files[0].download(None if root is None else Path(root))

    def finalize(self) -> None:
        """Accepted as in W&B: an artifact does not change any more once it is logged."""

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Write its files into a folder; those that are there and the same are left alone.

        Args:
            root: The folder; `<TRACKER_ARTIFACT_DIR>/<name>:v3` by default, where that is `./artifacts` unless set.
            allow_missing_references: Leave out references that are gone or have changed, and say so, instead of raising.
            skip_cache: Accepted as in W&B.
            path_prefix: Only this file, or what is below this folder.
            multipart: Accepted as in W&B.

        Returns:
            The folder.

        Raises:
            UsageError: There is nothing at `path_prefix`.
            StorageError, TransportError: Files cannot be had, or not be written; the message names them.
        """
        from .downloading import download

        version = self._settled("download")
        folder = Path(root) if root is not None else self._default_folder(version)
        prefix = None if path_prefix is None else os.fspath(path_prefix).replace(os.sep, "/")
        download(self.manifest, self._of_place().blobs, folder, prefix, allow_missing_references)
        self._of_place().downloaded()
        return str(folder)

    def _default_folder(self, version: Version) -> Path:
        folder = os.environ.get("TRACKER_ARTIFACT_DIR") or os.environ.get("WANDB_ARTIFACT_DIR") or "artifacts"
        colon = "-" if os.name == "nt" else ":"
        return Path(folder).expanduser().absolute() / f"{to_folder(version.name)}{colon}v{version.version}"

    def checkout(self, root: str | os.PathLike[str] | None = None) -> str:
        """Make a folder hold exactly this version: files that are not of it are removed.

        Args:
            root: The folder; the same default as that of `download`.

        Returns:
            The folder.
        """
        from .downloading import checkout

        version = self._settled("checkout")
        folder = Path(root) if root is not None else self._default_folder(version)
        checkout(self.manifest, self._of_place().blobs, folder)
        self._of_place().downloaded()
        return str(folder)

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Look whether a folder holds what this version holds.

        Args:
            root: The folder; the same default as that of `download`.

        Raises:
            StorageError: It does not; the message names the differences.
        """
        from .restoring import verify

        version = self._settled("verify")
        verify(self.manifest, Path(root) if root is not None else self._default_folder(version))

    # --- what points at it ---------------------------------------------------------------

    def save(self, project: str | None = None, settings: Any = None) -> None:
        """Log it, where it is not: to the current run, or to one made for it. Else keep what was changed of it.

        What can be changed is `description`, `metadata`, `aliases`, `tags` and `ttl`.

        Args:
            project: Of the run that is made.
            settings: Of the run that is made.
        """
        if self.is_draft():
            from ..current import current
            from ..init import init

            run = current()
            if run is not None and not run.disabled:
                run.log_artifact(self)
                return
            with init(project=project, job_type="auto", settings=settings) as own:
                own.log_artifact(self)
            return
        self._keep_changes(self._settled("save"))

    def _keep_changes(self, version: Version) -> None:
        catalogue, by = self._of_place().catalogue, self._actor()
        if self.description != version.description:
            catalogue.describe(version, description=self.description, actor=by)
        if to_json(plain_metadata(self.metadata)) != to_json(version.metadata):
            catalogue.describe(version, metadata=to_json(plain_metadata(self.metadata)), actor=by)
        if self._ttl_days != version.ttl_days:
            catalogue.ttl(version, self._ttl_days, actor=by)
        for alias in dict.fromkeys(self.aliases):
            if alias not in version.aliases:
                catalogue.alias(version, alias, actor=by)
        for alias in version.aliases:
            if alias not in self.aliases and alias != LATEST:
                catalogue.unalias(version, alias, actor=by)
        for tag in dict.fromkeys(self.tags):
            if tag not in version.tags:
                catalogue.tag(version, tag, actor=by)
        for tag in version.tags:
            if tag not in self.tags:
                catalogue.untag(version, tag, actor=by)
        self._reload(version)

    def _reload(self, version: Version) -> None:
        catalogue = self._of_place().catalogue
        found = catalogue.version(version.entity, version.project, version.name, f"v{version.version}")
        if found is not None:
            self._take(found)

    def _actor(self) -> Actor:
        return Actor.here(self._logged_by.path if self._logged_by is not None else None)

    def link(self, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
        """Link it into a collection of a registry.

        Args:
            target_path: "registry/collection", or W&B's "wandb-registry-<registry>/<collection>".
            aliases: What it is called there: "staging", "production"; whoever was called so is so no more.

        Returns:
            The version in the registry.
        """
        from .registry import link, target

        registry, collection = target(target_path)
        version = self._settled("link")
        linked = link(self._of_place().catalogue, version, registry, collection, names_of(aliases), self._actor())
        return Artifact._from_version(self._of_place(), linked, self._logged_by)

    def unlink(self) -> None:
        """Take it out of the registry; where it was logged it stays.

        Raises:
            UsageError: It is no link.
        """
        from .registry import unlink

        unlink(self._of_place().catalogue, self._settled("unlink"), self._actor())

    def delete(self, delete_aliases: bool = False) -> None:
        """Delete the version; its bytes go with the next `tracker gc`, its number stays taken.

        Args:
            delete_aliases: Also where aliases other than "latest" point at it.

        Raises:
            UsageError: Aliases point at it, and `delete_aliases` is not given.
        """
        version = self._settled("delete")
        self._of_place().catalogue.delete(version, delete_aliases, self._actor())
        import msgspec

        self._version = msgspec.structs.replace(version, deleted=True)

    def new_draft(self) -> Artifact:
        """Answer an artifact that is not logged yet and begins with the files of this one."""
        draft = Artifact(self._base_name, self._type, self.description, dict(self.metadata))
        contents = draft._filling()
        for entry in self.manifest.entries.values():
            contents.add_entry(entry)
        return draft

    # --- where it comes from, and where it goes -------------------------------------------

    def logged_by(self) -> PublicRun | None:
        """Answer the run that logged it; None where none did, or the run is gone."""
        runs = self._runs(self._of_place().catalogue.made_by(self._origin()))
        return runs[0] if runs else None

    def used_by(self) -> list[PublicRun]:
        """Answer the runs that ever used it and are still there."""
        return self._runs([use.run for use in self._of_place().catalogue.uses(self._origin())])

    def _origin(self) -> Version:
        version = self._settled("the lineage")
        return self._of_place().find(version.source) if version.source is not None else version

    def _runs(self, paths: Sequence[str]) -> list[PublicRun]:
        api = self._of_place().api
        found = []
        for path in paths:
            with contextlib.suppress(UsageError):  # in the trash, or removed
                found.append(api.run(path))
        return found

    def json_encode(self) -> dict[str, Any]:
        """Answer what stands for it in a config or a summary; while it is on its way, without the version."""
        if self._version is None and (self._pending is None or self._pending.version is None):
            return {"_type": "artifact", "name": self._base_name, "type": self._type}
        version = self._settled("json_encode")
        return {"_type": "artifactVersion", "name": version.path, "type": version.type, "digest": version.digest}

    def __getitem__(self, name: str) -> Any:
        """Answer what `get` answers, as in W&B."""
        return self.get(name)

    def __repr__(self) -> str:
        return f"<Artifact {self.name} {self._type} {self.state}>"


def names_of(aliases: Sequence[str] | str | None) -> list[str]:
    """Answer aliases given as a list, or as one text, each once and checked."""
    if aliases is None:
        return []
    names = [aliases] if isinstance(aliases, str) else list(aliases)
    return [check_alias(alias) for alias in dict.fromkeys(names)]


def _iso(time_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _listed(value: Any) -> Any:
    """Answer small arrays as lists; `plain` would keep what they look like."""
    if isinstance(value, Mapping):
        return {key: _listed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(each) for each in value]
    size = getattr(value, "size", None)  # of a tensor a method: bringing one from its device may take long
    if type(size) is int and size <= _MAX_LISTED and hasattr(value, "shape") and hasattr(value, "tolist"):
        return value.tolist()
    return value


def plain_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Answer metadata as plain data, or raise where it is no dict."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise UsageError(f"metadata is a {type(metadata).__name__}; give a dict.")
    found = plain(_listed(metadata))
    return found if isinstance(found, dict) else {}


__all__ = ["Artifact", "ArtifactFile", "ArtifactTTL"]
