"""What is known of artifacts without their bytes: versions, collections, who uses them, and how they are named."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import msgspec

from ..errors import UsageError
from ..limits import MAX_METADATA_BYTES
from ..names import check_name
from ..paths import host_name
from ..wire import to_json

REGISTRY = ".registry"  # the entity of registries: no run can have it, `check_name` lets only us write it
LATEST = "latest"
REVOKED = "revoked"  # unlike other aliases, any number of versions may hold it
_REGISTRY_PREFIXES = ("wandb-registry-", "tracker-registry-")
_NUMBER = re.compile(r"v(0|[1-9]\d{0,8})", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


class Actor(NamedTuple):
    """Who does something.

    Args:
        user: The user's name.
        host: The machine.
        run: The run that does it, as `entity/project/id`.
    """

    user: str | None = None
    host: str | None = None
    run: str | None = None

    @classmethod
    def here(cls, run: str | None = None) -> Actor:
        """Answer who this process is."""
        return cls(_user(), host_name(), run)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A version that has no number yet.

    Args:
        entity, project, name, type: What it is called; all versions of a name have one type.
        digest: BLAKE3 of paths and contents: equal for the same files.
        manifest: The blob that lists the files.
        size: Bytes of all files.
        files: How many.
        description, metadata: The user's own.
        aliases: Names to point at it; "latest" does so anyway.
        tags: Labels.
        created_ns: Nanoseconds since the epoch.
        run: The run that made it, as `entity/project/id`.
        ttl_days: Days after which `gc` may remove it; None for never.
        source: Of a registry: the version it stands for, as `entity/project/name:vN`.
    """

    entity: str
    project: str
    name: str
    type: str
    digest: str
    manifest: str
    size: int = 0
    files: int = 0
    description: str | None = None
    metadata: dict[str, Any] = {}
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    created_ns: int = 0
    run: str | None = None
    ttl_days: float | None = None
    source: str | None = None


class Version(Draft, frozen=True, kw_only=True):
    """A version: a draft with a number, and what was said of it since.

    Args:
        version: Its number; they count from 0.
        token: Made up by whoever logged it: the same version claimed again is found by it.
        user, host: Who logged it, and where.
        deleted: It is gone; the number stays taken.
    """

    version: int
    token: str = ""
    user: str | None = None
    host: str | None = None
    deleted: bool = False

    @property
    def path(self) -> str:
        """`entity/project/name:vN`."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"

    @property
    def is_revoked(self) -> bool:
        """Whether it must not be used any more."""
        return REVOKED in self.aliases


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of one name.

    Args:
        versions: How many are there.
        latest: The number that "latest" points at; None where all are gone.
        aliases: Every alias, and the number it points at.
        created_ns, updated_ns: Of its first and its last version.
        size: Bytes of all versions, counted as if they shared none.
    """

    entity: str
    project: str
    name: str
    type: str
    versions: int
    latest: int | None = None
    aliases: dict[str, int] = {}
    description: str | None = None
    tags: tuple[str, ...] = ()
    created_ns: int = 0
    updated_ns: int = 0
    size: int = 0

    @property
    def path(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A run that read a version; `use_as` is what it was to that run, if it said so."""

    run: str
    time_ns: int
    use_as: str | None = None
    user: str | None = None
    host: str | None = None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What a run made ("output") or read ("input"): the version's path `entity/project/name:vN`."""

    use: str
    artifact: str
    time_ns: int
    type: str = ""
    digest: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a collection.

    Args:
        time_ns: When.
        action: "version", "alias", "unalias", "tag", "untag", "describe", "ttl", "delete", "logged" (the same bytes
            once more), "used", "link", "unlink".
        version: The number it is about.
        name: The alias or the tag; of a link, the other end.
        previous: Of an alias: the number it pointed at before.
        user, host, run: Who did it.
    """

    time_ns: int
    action: str
    version: int | None = None
    name: str | None = None
    previous: int | None = None
    user: str | None = None
    host: str | None = None
    run: str | None = None


class Name(NamedTuple):
    """A version as users write it, taken apart; `which` is "v3", an alias or the beginning of a digest."""

    entity: str | None
    project: str | None
    name: str
    which: str


def parse_name(text: str, entity: str | None = None, project: str | None = None) -> Name:
    """Take `[entity/][project/]name[:which]` or `name@digest` apart.

    `wandb-registry-<registry>/<collection>` names a collection of a registry, as in W&B.

    Args:
        text: What the user wrote.
        entity: Whose it is, unless the text says so.
        project: In which project, unless the text says so.

    Raises:
        UsageError: It names no artifact.
    """
    if not isinstance(text, str):
        raise UsageError(f"an artifact's name is a text such as 'name:latest', got a {type(text).__name__}.")
    *folders, last = text.strip().strip("/").split("/")
    name, at, which = last.partition("@" if "@" in last and ":" not in last else ":")
    if len(folders) > 2 or (at and not which):
        raise UsageError(f"{text!r} names no artifact; write 'name:v3', 'name:alias' or 'entity/project/name:alias'.")
    if folders and (registry := registry_name(folders[-1])) is not None:
        return Name(REGISTRY, registry, check_name(name, "collection"), which or LATEST)
    if folders:
        project = check_name(folders[-1], "project")
    if len(folders) == 2:
        entity = folders[0] if folders[0] == REGISTRY else check_name(folders[0], "entity")
    return Name(entity, project, check_name(name, "artifact's name"), which or LATEST)


def registry_name(project: str) -> str | None:
    """Answer the registry that a project's name stands for (`wandb-registry-model` is "model"), else None."""
    for prefix in _REGISTRY_PREFIXES:
        if project.startswith(prefix) and len(project) > len(prefix):
            return project[len(prefix) :]
    return None


def number_of(which: str) -> int | None:
    """Answer the number of "v3"; None for anything else."""
    found = _NUMBER.fullmatch(which)
    return int(found[1]) if found else None


def is_digest(which: str) -> bool:
    """Answer whether this may be a digest, or the beginning of one."""
    return bool(_DIGEST.fullmatch(which))


def check_alias(alias: str) -> str:
    """Answer the alias, or raise where it cannot be one.

    Raises:
        UsageError: It is empty, looks like a version's number, or holds a slash, a colon or the like.
    """
    check_name(alias, "alias")
    if _NUMBER.fullmatch(alias):
        raise UsageError(f"the alias {alias!r} looks like a version's number; choose another word.")
    if alias.strip() != alias or "," in alias:
        raise UsageError(f"the alias {alias!r} holds a comma, or begins or ends with a blank; leave that out.")
    return alias


def check_draft(draft: Draft) -> Draft:
    """Answer the draft, or raise where it cannot become a version.

    Raises:
        UsageError: A name, an alias or a tag cannot be kept, or a digest is none.
    """
    if draft.entity != REGISTRY:
        check_name(draft.entity, "entity")
    check_name(draft.project, "project")
    check_name(draft.name, "artifact's name")
    check_name(draft.type, "artifact's type")
    for alias in draft.aliases:
        check_alias(alias)
    for tag in draft.tags:
        check_name(tag, "tag")
    for digest in (draft.digest, draft.manifest):
        if len(digest) != 64 or not _DIGEST.fullmatch(digest):
            raise UsageError(f"{digest[:80]!r} is no BLAKE3 digest in hex.")
    return draft


def check_metadata(metadata: Any) -> dict[str, Any]:
    """Answer metadata in JSON's types.

    Raises:
        UsageError: It is no dict, or too large.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise UsageError(f"metadata is a {type(metadata).__name__}; give a dict.")
    found = to_json(metadata)
    if (length := len(msgspec.json.encode(found))) > MAX_METADATA_BYTES:
        raise UsageError(f"the metadata takes {length:,} bytes, at most {MAX_METADATA_BYTES:,} are kept; use a file.")
    return dict(found)


def check_days(days: Any) -> float | None:
    """Answer the days of a TTL.

    Raises:
        UsageError: They are no positive number.
    """
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 < days < 1e6:
        raise UsageError(f"the time to live is {days!r} days; give a positive number, or None for ever.")
    return float(days)


def _user() -> str | None:
    for variable in ("TRACKER_USERNAME", "LOGNAME", "USER", "USERNAME"):
        if name := os.environ.get(variable):
            return name
    try:
        import pwd  # not on Windows; only where no variable says it

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # a container's user without a name
        return None
