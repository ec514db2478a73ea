"""The catalogue of a server, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ..backoff import Backoff
from ..connection import Answer, Connection
from ..errors import TransportError, UsageError
from ..limits import CATALOGUE_STALL_SECONDS, MAX_CATALOGUE_ANSWER_BYTES
from ..wire import from_json, to_json
from .version import LATEST, Actor, Collection, Draft, Edge, Event, Use, Version

_UNSET: Any = object()  # where None would mean: take it away
_JSON = {"Content-Type": "application/json"}
_PAGE = 1_000
# What another try will not change.
_FINAL = (400, 401, 403, 404, 405, 409, 413, 415, 422)


class MissingBlobs(TransportError):
    """The server has not all blobs of a version yet.

    Args:
        message: What happened.
        digests: Some of those it lacks.
    """

    def __init__(self, message: str, digests: list[str]) -> None:
        super().__init__(message, status=409)
        self.digests = digests


class RemoteCatalogue:
    """Where versions are claimed and looked up: a server. See `Catalogue` for what each method does.

    A server that does not answer is asked again for a while. May be used from any thread.

    Args:
        connection: The server.
        stall_seconds: How long it is asked again.
        clock: Answers seconds that only go forward.
        sleep: Waits.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stall_seconds: float = CATALOGUE_STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connection = connection
        self._stall = stall_seconds
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()

    @property
    def address(self) -> str:
        """The server's address."""
        return self._connection.address

    def collections(
        self, entity: str | None = None, project: str | None = None, type: str | None = None
    ) -> list[Collection]:
        """Answer the collections, by name; registries only where `entity` is that of registries."""
        query = {"entity": entity, "project": project, "type": type}
        found = self._get("/artifacts", query)
        return [_made(each, Collection) for each in self._list(found, "collections")]

    def collection(self, entity: str, project: str, name: str) -> Collection | None:
        """Answer one collection."""
        found = self._get(_route(entity, project, name), {"limit": 0})
        return None if found is None else _made(found, Collection)

    def versions(self, entity: str, project: str, name: str) -> list[Version]:
        """Answer the versions that are there, oldest first."""
        versions: list[Version] = []
        while True:
            found = self._get(_route(entity, project, name), {"limit": _PAGE, "offset": len(versions)})
            page = [_version(each) for each in self._list(found, "items")]
            versions += page
            if len(page) < _PAGE:
                return versions

    def version(self, entity: str, project: str, name: str, which: str = LATEST) -> Version | None:
        """Answer the version of a number ("v3"), an alias, or the beginning of a digest; None where there is none."""
        found = self._get(_route(entity, project, name, which))
        return None if found is None else _version(found)

    def claim(self, draft: Draft, token: str, actor: Actor | None = None) -> Version:
        """Make a draft the next version.

        Raises:
            MissingBlobs: Not all its blobs are there.
            UsageError: The draft cannot be kept, or the collection is of another type.
            TransportError: The server does not answer.
        """
        body = {
            **_fields(draft),
            "token": token,
            "by": _by(actor or Actor.here(draft.run)),
        }
        route = f"{_route(draft.entity, draft.project, draft.name)}/versions"
        answer = self._ask("POST", route, body)
        if answer.status == 409:
            missing = (answer.json() or {}).get("missing")
            if isinstance(missing, list) and missing and all(isinstance(each, str) for each in missing):
                raise MissingBlobs(f"{self.address} lacks {len(missing):,} or more blobs of the version.", missing)
        return _version(self._needed(answer))

    def alias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Let an alias point at a version; whoever had it loses it (only `revoked` may be held by many)."""
        self._patch(version, {"add_aliases": [alias]}, actor)

    def unalias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Take an alias from a version."""
        self._patch(version, {"remove_aliases": [alias]}, actor)

    def tag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Give a version a label."""
        self._patch(version, {"add_tags": [tag]}, actor)

    def untag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Take a label from a version."""
        self._patch(version, {"remove_tags": [tag]}, actor)

    def describe(
        self, version: Version, *, description: Any = _UNSET, metadata: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the metadata of a version."""
        given = {"description": description, "metadata": metadata if metadata is _UNSET else to_json(metadata)}
        self._patch(version, {name: value for name, value in given.items() if value is not _UNSET}, actor)

    def describe_collection(
        self, collection: Collection, *, description: Any = _UNSET, tags: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the labels of a collection."""
        given = {"description": description, "tags": tags}
        body = {name: value for name, value in given.items() if value is not _UNSET}
        if body:
            route = _route(collection.entity, collection.project, collection.name)
            self._needed(self._ask("PATCH", route, {**body, "by": _by(actor or Actor.here())}))

    def ttl(self, version: Version, days: float | None, actor: Actor | None = None) -> None:
        """Say after how many days `gc` may remove a version; None for never."""
        self._patch(version, {"ttl_days": days}, actor)

    def delete(self, version: Version, delete_aliases: bool = False, actor: Actor | None = None) -> None:
        """Remove a version; its number stays taken.

        Raises:
            UsageError: An alias other than "latest" points at it, and `delete_aliases` is not given.
        """
        by = actor or Actor.here()
        query = _query({"delete_aliases": str(delete_aliases).lower(), "user": by.user, "host": by.host})
        self._needed(self._ask("DELETE", _route_of(version) + query))

    def use(self, version: Version, run: str, use_as: str | None = None, actor: Actor | None = None) -> None:
        """Take note that a run reads a version."""
        body = {"run": run, "use_as": use_as, "by": _by(actor or Actor.here(run))}
        self._needed(self._ask("POST", f"{_route_of(version)}/uses", body))

    def uses(self, version: Version) -> list[Use]:
        """Answer the runs that ever read a version."""
        return [_made(each, Use) for each in self._list(self._get(f"{_route_of(version)}/uses"), "uses")]

    def made_by(self, version: Version) -> list[str]:
        """Answer the runs that logged a version, the first one first."""
        return [str(run) for run in self._list(self._get(f"{_route_of(version)}/uses"), "made_by")]

    def edges(self, run: str) -> list[Edge]:
        """Answer what a run made and read."""
        path = "/".join(quote(part, safe="") for part in run.split("/"))
        return [_made(each, Edge) for each in self._list(self._get("/edges", {"run": path}), "edges")]

    def history(self, entity: str, project: str, name: str) -> list[Event]:
        """Answer what happened to a collection, oldest first."""
        found = self._get(_route(entity, project, name), {"limit": 0, "history": "true"})
        return [_made(each, Event) for each in self._list(found, "events")]

    # --- asking --------------------------------------------------------------------------

    def _patch(self, version: Version, body: Mapping[str, Any], actor: Actor | None) -> None:
        if body:
            self._needed(self._ask("PATCH", _route_of(version), {**body, "by": _by(actor or Actor.here())}))

    def _get(self, route: str, query: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        answer = self._ask("GET", route + _query(query or {}))
        if answer.status == 404 and answer.detail:
            return None
        return self._needed(answer)

    def _list(self, found: dict[str, Any] | None, name: str) -> list[Any]:
        kept = [] if found is None else found.get(name)
        if not isinstance(kept, list):
            raise TransportError(f"{self.address} answers, but not as a tracker server does.")
        return kept

    def _needed(self, answer: Answer) -> dict[str, Any]:
        """Answer what the server said, or raise what the folder would raise for the same call."""
        found = answer.json()
        if answer.status == 200 and found is not None:
            self._connection.accept()
            kept: dict[str, Any] = found
            return kept
        if answer.status in (404, 409, 422) and answer.detail:
            raise UsageError(answer.detail.removeprefix(": "))
        raise self._connection.refusal(answer)

    def _ask(self, method: str, route: str, body: Mapping[str, Any] | None = None) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        backoff = Backoff(lambda _sentence: None, self._clock)
        first = self._clock()
        while True:
            began = self._clock()
            try:
                with self._lock:
                    answer = self._connection.ask(
                        method,
                        route,
                        data,
                        _JSON if data is not None else None,
                        most_bytes=MAX_CATALOGUE_ANSWER_BYTES,
                    )
                if answer.status < 300 or answer.status in _FINAL:
                    return answer
                raise self._connection.refusal(answer)
            except TransportError as error:
                wait = backoff.failed(error, began, is_finishing=True)
                if self._clock() + wait - first > self._stall:
                    raise
                self._sleep(wait)


def _route(*names: str) -> str:
    return "/artifacts" + "".join(f"/{quote(name, safe='')}" for name in names)


def _route_of(version: Version) -> str:
    return _route(version.entity, version.project, version.name, f"v{version.version}")


def _query(given: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in given.items() if value is not None}
    return f"?{urlencode(kept)}" if kept else ""


def _fields(draft: Draft) -> dict[str, Any]:
    names = Draft.__struct_fields__
    found = {name: getattr(draft, name) for name in names if name not in ("entity", "project", "name")}
    return {**found, "metadata": to_json(draft.metadata)}


def _by(actor: Actor) -> dict[str, str | None]:
    return {"user": (actor.user or "")[:128] or None, "host": (actor.host or "")[:128] or None, "run": actor.run}


def _version(found: Any) -> Version:
    if isinstance(found, dict):
        found = {**found, "metadata": from_json(found.get("metadata") or {})}
    version: Version = _made(found, Version)
    return version


def _made(found: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise TransportError(f"the server's answer is of another shape than ours ({error}); update tracker.") from error
