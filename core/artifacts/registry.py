"""Registries: collections that link versions of any project; their aliases are the stages a model goes through.

A link is a version of its own in the registry's collection, and bears the source's manifest: moving `production` to
another one is moving an alias, and the history says who did it and when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from ..blobs import digest_of
from ..errors import UsageError
from ..names import check_name
from .catalogue import Catalogue
from .version import REGISTRY, Actor, Draft, Version, check_alias, parse_name

DEFAULT_REGISTRY = "model"  # where `link_model` links to


def target(path: str) -> tuple[str, str]:
    """Answer registry and collection of a target path.

    Args:
        path: `wandb-registry-model/name`, `tracker-registry-model/name`, `.registry/model/name` or `model/name`; a
            collection alone is one of the registry "model".

    Raises:
        UsageError: It names no collection.
    """
    parts = str(path).strip("/").split("/")
    if len(parts) > 3:
        raise UsageError(f"{path!r} names no collection of a registry; write 'registry/collection'.")
    if len(parts) == 1:
        return DEFAULT_REGISTRY, check_name(parts[0], "collection")
    name = parse_name(path)
    if name.which != "latest":
        raise UsageError(f"{path!r} names a version; link to the collection, and give aliases beside it.")
    if name.entity not in (None, REGISTRY):
        raise UsageError(f"{path!r} names no registry; write 'registry/collection'.")
    return str(name.project), name.name


def link(
    catalogue: Catalogue,
    version: Version,
    registry: str,
    collection: str,
    aliases: Iterable[str] = (),
    actor: Actor | None = None,
    token: str | None = None,
) -> Version:
    """Link a version into a registry's collection; linked again, it stays one version and takes the aliases.

    Args:
        catalogue: Where both are.
        version: Which.
        registry: The registry.
        collection: Its collection.
        aliases: What it is called there.
        actor: Who links it.
        token: Under which; made up where none is given.

    Raises:
        UsageError: A name or an alias cannot be kept, or the collection holds versions of another type.
    """
    names = tuple(check_alias(alias) for alias in aliases)
    source = version.source or version.path
    draft = Draft(
        entity=REGISTRY,
        project=check_name(registry, "registry"),
        name=check_name(collection, "collection"),
        type=version.type,
        digest=version.digest,
        manifest=version.manifest,
        size=version.size,
        files=version.files,
        description=version.description,
        metadata=version.metadata,
        aliases=names,
        tags=version.tags,
        created_ns=time.time_ns(),
        run=actor.run if actor is not None else None,
        source=source,
    )
    return catalogue.claim(draft, token=token or os.urandom(8).hex(), actor=actor)


def link_token(token: str, path: str) -> str:
    """Answer under which token an artifact's link is made, wherever that is done.

    Args:
        token: Under which the artifact was logged.
        path: The link's target.
    """
    return f"{token[:40]}-{digest_of(path.encode())[:16]}"


def unlink(catalogue: Catalogue, version: Version, actor: Actor | None = None) -> None:
    """Take a version out of its registry; where it comes from it stays.

    Raises:
        UsageError: It is in no registry.
    """
    if version.source is None:
        raise UsageError(f"{version.path} is in no registry; `delete` removes a version.")
    catalogue.delete(version, delete_aliases=True, actor=actor)
