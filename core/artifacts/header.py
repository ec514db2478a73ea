"""What is known of an artifact when it is logged, and what its run records of it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import FormatError
from .version import Actor, Draft, Version


class Header(msgspec.Struct, kw_only=True):
    """What a snapshot bears of its artifact, so that any process can complete it.

    Args:
        draft: The version to be; its digest, manifest, size and files are not known yet.
        incremental: It adds to the version before.
        removed: Of that one, the paths that are taken out.
        is_input: The run uses the version as well.
        use_as: What it is to the run.
        links: Collections of registries to link it into, and the aliases there.
        share: Under this name several processes give parts of one version.
        is_share_final: All parts are there: make the version.
        server: The address the run sends to.
        user, host: Who logged it.
    """

    draft: Draft
    incremental: bool = False
    removed: list[str] = []
    is_input: bool = False
    use_as: str | None = None
    links: list[tuple[str, list[str]]] = []
    share: str | None = None
    is_share_final: bool = False
    server: str | None = None
    user: str | None = None
    host: str | None = None

    def dump(self) -> dict[str, Any]:
        """Answer it as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def load(cls, data: dict[str, Any]) -> Header:
        """Read it back.

        Raises:
            FormatError: It is none.
        """
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise FormatError(f"a snapshot bears no artifact of ours: {error}.") from error

    @property
    def actor(self) -> Actor:
        """Who logged it."""
        return Actor(self.user, self.host, self.draft.run)


def edge_body(version: Version, use: str, use_as: str | None = None) -> dict[str, Any]:
    """Answer the body of an ARTIFACT record."""
    body: dict[str, Any] = {
        "use": use,
        "entity": version.entity,
        "project": version.project,
        "name": version.name,
        "type": version.type,
        "version": version.version,
        "digest": version.digest,
        "aliases": list(version.aliases),
        "size": version.size,
        "files": version.files,
        "token": version.token,
    }
    return body if use_as is None else {**body, "use_as": use_as}
