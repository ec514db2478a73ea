"""The catalogue: which versions there are, what points at them, who made and who read them.

A version is a file that is linked to its name when it is whole: two writers get two numbers, no lock is held, and what
dies half-way leaves nothing that can be seen. All that changes afterwards is a line in the collection's ledger.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

import msgspec

from ..errors import StorageError, UsageError
from ..limits import MAX_VERSION_BYTES
from ..names import check_name, from_folder, to_folder
from . import ledger
from .collection import Claim, CollectionFolder, State
from .ledger import Line
from .version import (
    LATEST,
    REGISTRY,
    REVOKED,
    Actor,
    Collection,
    Draft,
    Edge,
    Event,
    Use,
    Version,
    check_alias,
    check_days,
    check_draft,
    check_metadata,
    is_digest,
    number_of,
    parse_name,
)

# What file systems without hard links answer.
_WITHOUT_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV)
_MAX_KNOWN = 10_000  # collections whose state is kept in memory
_UNSET: Any = object()  # where None would mean: take it away
_BY_HAND = ("alias", "unalias", "tag", "untag", "describe", "ttl")


class Catalogue(Protocol):
    """Where versions are claimed and looked up: a folder, or a server.

    Methods raise `UsageError` for what makes no sense, `StorageError` or `TransportError` where the place does not
    serve. `actor` says who does it; on a server that is for the server to say.
    """

    def collections(
        self, entity: str | None = None, project: str | None = None, type: str | None = None
    ) -> list[Collection]:
        """Answer the collections, by name; registries only where `entity` is that of registries."""
        ...

    def collection(self, entity: str, project: str, name: str) -> Collection | None:
        """Answer one collection."""
        ...

    def versions(self, entity: str, project: str, name: str) -> list[Version]:
        """Answer the versions that are there, oldest first."""
        ...

    def version(self, entity: str, project: str, name: str, which: str = LATEST) -> Version | None:
        """Answer the version of a number ("v3"), an alias, or the beginning of a digest; None where there is none."""
        ...

    def claim(self, draft: Draft, token: str, actor: Actor | None = None) -> Version:
        """Make a draft the next version; its blobs are there already.

        The same token again answers the same version. Where a version has the same bytes, that one takes the draft's
        aliases and tags, and `latest`, and is answered.

        Raises:
            UsageError: The draft cannot be kept, or the collection is of another type.
        """
        ...

    def alias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Let an alias point at a version; whoever had it loses it (only `revoked` may be held by many)."""
        ...

    def unalias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Take an alias from a version."""
        ...

    def tag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Give a version a label."""
        ...

    def untag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Take a label from a version."""
        ...

    def describe(
        self, version: Version, *, description: Any = _UNSET, metadata: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the metadata of a version."""
        ...

    def describe_collection(
        self, collection: Collection, *, description: Any = _UNSET, tags: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the labels of a collection."""
        ...

    def ttl(self, version: Version, days: float | None, actor: Actor | None = None) -> None:
        """Say after how many days `gc` may remove a version; None for never."""
        ...

    def delete(self, version: Version, delete_aliases: bool = False, actor: Actor | None = None) -> None:
        """Remove a version; its number stays taken, its bytes go with the next `gc`.

        Raises:
            UsageError: An alias other than "latest" points at it, and `delete_aliases` is not given.
        """
        ...

    def use(self, version: Version, run: str, use_as: str | None = None, actor: Actor | None = None) -> None:
        """Take note that a run reads a version."""
        ...

    def uses(self, version: Version) -> list[Use]:
        """Answer the runs that ever read a version."""
        ...

    def made_by(self, version: Version) -> list[str]:
        """Answer the runs that logged a version, the first one first."""
        ...

    def edges(self, run: str) -> list[Edge]:
        """Answer what a run made and read."""
        ...

    def history(self, entity: str, project: str, name: str) -> list[Event]:
        """Answer what happened to a collection, oldest first."""
        ...


class FolderCatalogue:
    """The catalogue in a folder; safe for any number of threads, processes and machines at once.

    Args:
        folder: `<TRACKER_DIR>/.artifacts`, or a server's; made at the first claim.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], CollectionFolder] = {}

    # --- reading -------------------------------------------------------------------------

    def collections(
        self, entity: str | None = None, project: str | None = None, type: str | None = None
    ) -> list[Collection]:
        """Answer the collections, by name; registries only where `entity` is that of registries."""
        found = []
        for place in self._walk(entity, project):
            summary = place.summary()
            if summary is not None and type in (None, summary.type):
                found.append(summary)
        return sorted(found, key=lambda each: (each.entity, each.project, each.name))

    def collection(self, entity: str, project: str, name: str) -> Collection | None:
        """Answer one collection."""
        return self._place(entity, project, name).summary()

    def versions(self, entity: str, project: str, name: str) -> list[Version]:
        """Answer the versions that are there, oldest first."""
        return self._place(entity, project, name).state().live

    def version(self, entity: str, project: str, name: str, which: str = LATEST) -> Version | None:
        """Answer the version of a number, an alias, or the beginning of a digest.

        Raises:
            StorageError: Its file is damaged.
            UsageError: The digest begins those of several.
        """
        place = self._place(entity, project, name)
        state = place.state()
        number = number_of(which)
        if number is None:
            number = state.holders.get(which)
        if number is None and which == REVOKED:
            number = max((version.version for version in state.live if version.is_revoked), default=None)
        if number is None and is_digest(which):
            found = {version.digest: version for version in state.live if version.digest.startswith(which)}
            if len(found) > 1:
                raise UsageError(f"{which!r} begins the digests of {len(found)} versions; write more of it.")
            return next(iter(found.values()), None)
        if number is None:
            return None
        if number in state.damaged:
            raise StorageError(
                f"{place.folder / f'v{number}'} is damaged. Put it back from a backup, or delete it to give it up."
            )
        version = state.versions.get(number)
        return None if version is None or version.deleted else version

    def uses(self, version: Version) -> list[Use]:
        """Answer the runs that ever read a version."""
        return self._of(version).uses(version.version)

    def made_by(self, version: Version) -> list[str]:
        """Answer the runs that logged a version, the first one first."""
        return list(self._of(version).state().makers.get(version.version, ()))

    def history(self, entity: str, project: str, name: str) -> list[Event]:
        """Answer what happened to a collection, oldest first."""
        return list(self._place(entity, project, name).state().events)

    def by_hand(self, version: Version) -> list[Line]:
        """Answer what was done by hand to a version after it was claimed, oldest first."""
        return [line for line in self._of(version).by_hand() if line.v == version.version]

    def edges(self, run: str) -> list[Edge]:
        """Answer what a run made and read."""
        found: dict[tuple[str, str], Edge] = {}
        lines, _ = ledger.read_raw(self._run_file(run))
        for _, text in lines:
            try:
                note = _notes.decode(text)
            except (msgspec.DecodeError, RecursionError):
                continue
            place = self._place(note.entity, note.project, note.name)
            state = place.state()
            number = note.version if note.token is None else state.tokens.get(note.token)
            version = None if number is None else state.versions.get(number)
            if version is not None:
                edge = Edge(
                    use=note.use, artifact=version.path, time_ns=note.t, type=version.type, digest=version.digest
                )
                found.setdefault((note.use, version.path), edge)
        return list(found.values())

    def walk(self) -> Iterator[Version]:
        """Walk every version of every collection that is there, registries among them."""
        for entity in (None, REGISTRY):
            for place in self._walk(entity, None):
                yield from place.state().live

    def damaged(self) -> list[Path]:
        """Answer the version files that cannot be read."""
        found = []
        for entity in (None, REGISTRY):
            for place in self._walk(entity, None):
                found += [place.folder / f"v{number}" for number in sorted(place.state().damaged)]
        return found

    # --- claiming ------------------------------------------------------------------------

    def claim(self, draft: Draft, token: str, actor: Actor | None = None) -> Version:
        """Make a draft the next version; see `Catalogue.claim`.

        Raises:
            UsageError: The draft cannot be kept, or the collection is of another type.
            StorageError: The folder cannot be written.
        """
        by = actor or Actor.here(draft.run)
        check_draft(draft)
        if not draft.created_ns:
            draft = msgspec.structs.replace(draft, created_ns=time.time_ns())
        place = self._place(draft.entity, draft.project, draft.name)
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _unwritable(place.folder, error)
        while True:
            state = place.state()
            known = _same_version(state, draft, token)
            if known is not None:
                return self._again(place, state, known, draft, token, by)
            kinds = {version.type for version in state.live}
            if kinds and draft.type not in kinds:
                raise UsageError(
                    f"the artifact {draft.name!r} is of type {min(kinds)!r}, not {draft.type!r}; "
                    "keep the type, or choose another name."
                )
            if draft.run and draft.source is None:
                self._note(draft.run, "output", draft, token=token)  # resolved once the version is there
            number = state.next_number
            if self._link(place, draft, token, by, number):
                version = place.state().versions.get(number)
                if version is not None:
                    self._linked(version, "link", by)
                    return version
                raise StorageError(f"the version v{number} in {place.folder} cannot be read back.")

    def _again(
        self, place: CollectionFolder, state: State, known: Version, draft: Draft, token: str, by: Actor
    ) -> Version:
        """Answer a version that is there already; what is new about it goes to the ledger."""
        if known.token == token:
            return known
        lines = []
        by_hand = token if draft.source is not None else None  # a link is; what a run logs again is claimed anyway
        if draft.run and draft.run not in state.makers.get(known.version, ()):
            lines.append(ledger.line("logged", known.version, by))
        for alias in dict.fromkeys((*draft.aliases, LATEST)):
            if alias not in known.aliases:
                lines.append(ledger.line("alias", known.version, by, name=alias, token=by_hand))
        lines += [ledger.line("tag", known.version, by, name=tag) for tag in draft.tags if tag not in known.tags]
        if lines:
            ledger.append(place.ledger, *lines)
        if draft.run and draft.source is None:
            self._note(draft.run, "output", known)
        return place.state().versions[known.version]

    def _link(self, place: CollectionFolder, draft: Draft, token: str, by: Actor, number: int) -> bool:
        """Give a draft its number; False where somebody else has just taken it."""
        kept = msgspec.structs.replace(draft, metadata=check_metadata(draft.metadata))
        claim = Claim(draft=kept, token=token, ledger=ledger.size(place.ledger), user=by.user, host=by.host)
        data = msgspec.json.encode(claim)
        if len(data) > MAX_VERSION_BYTES:
            raise UsageError(f"the metadata of {draft.name!r} takes {len(data):,} bytes; keep it in a file instead.")
        path = place.folder / f".draft-{os.getpid()}-{os.urandom(6).hex()}"
        target = place.folder / f"v{number}"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                return _named(path, target)
            finally:
                path.unlink(missing_ok=True)
                _sync_folder(place.folder)
        except OSError as error:
            _unwritable(place.folder, error)

    # --- changing ------------------------------------------------------------------------

    def alias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Let an alias point at a version; whoever had it loses it (only `revoked` may be held by many)."""
        check_alias(alias)
        self._tell(version, "alias", actor, name=alias)

    def unalias(self, version: Version, alias: str, actor: Actor | None = None) -> None:
        """Take an alias from a version.

        Raises:
            UsageError: It does not hold it, or it is "latest", which always points somewhere.
        """
        if alias == LATEST:
            raise UsageError('"latest" cannot be taken away; let it point elsewhere instead.')
        now = self._now(version)
        if alias not in now.aliases:
            raise UsageError(f"{version.path} has no alias {alias!r}; it has {', '.join(now.aliases) or 'none'}.")
        self._tell(version, "unalias", actor, name=alias)

    def tag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Give a version a label."""
        self._tell(version, "tag", actor, name=check_name(tag, "tag"))

    def untag(self, version: Version, tag: str, actor: Actor | None = None) -> None:
        """Take a label from a version."""
        self._tell(version, "untag", actor, name=tag)

    def describe(
        self, version: Version, *, description: Any = _UNSET, metadata: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the metadata of a version.

        Raises:
            UsageError: The metadata is too large, or no dict.
        """
        value: dict[str, Any] = {}
        if description is not _UNSET:
            value["description"] = description
        if metadata is not _UNSET:
            value["metadata"] = check_metadata(metadata)
        if value:
            self._tell(version, "describe", actor, value=value)

    def describe_collection(
        self, collection: Collection, *, description: Any = _UNSET, tags: Any = _UNSET, actor: Actor | None = None
    ) -> None:
        """Replace the description or the labels of a collection."""
        value: dict[str, Any] = {}
        if description is not _UNSET:
            value["description"] = description
        if tags is not _UNSET:
            value["tags"] = [check_name(tag, "tag") for tag in tags]
        if value:
            place = self._place(collection.entity, collection.project, collection.name)
            ledger.append(place.ledger, ledger.line("collection", None, actor or Actor.here(), value=value))

    def ttl(self, version: Version, days: float | None, actor: Actor | None = None) -> None:
        """Say after how many days `gc` may remove a version; None for never.

        Raises:
            UsageError: The days are no positive number.
        """
        self._tell(version, "ttl", actor, value=check_days(days))

    def delete(self, version: Version, delete_aliases: bool = False, actor: Actor | None = None) -> None:
        """Remove a version; its number stays taken, its bytes go with the next `gc`.

        Raises:
            UsageError: An alias other than "latest" points at it, and `delete_aliases` is not given.
        """
        held = [alias for alias in self._now(version).aliases if alias not in (LATEST, REVOKED)]
        if held and not delete_aliases:
            raise UsageError(
                f"{version.path} is still called {', '.join(map(repr, held))}; move that first, or delete it with "
                "delete_aliases=True (--delete-aliases on the command line)."
            )
        self._tell(version, "delete", actor)
        self._linked(version, "unlink", actor)

    def use(self, version: Version, run: str, use_as: str | None = None, actor: Actor | None = None) -> None:
        """Take note that a run reads a version; once is enough. What a registry links is read where it comes from."""
        by = (actor or Actor.here())._replace(run=run)
        origin = self.origin(version)
        for each in dict.fromkeys((origin.path, version.path)):
            about = origin if each == origin.path else version
            place = self._of(about)
            if any(use.run == run for use in place.uses(about.version)):
                continue
            if about is origin:
                self._note(run, "input", origin)
            ledger.append(place.ledger, ledger.line("used", about.version, by, value=use_as))

    def origin(self, version: Version) -> Version:
        """Answer the version that a registry's version stands for; the version itself where that is gone, or none."""
        if version.source is None:
            return version
        name = parse_name(version.source)
        number = number_of(name.which)
        if name.entity is None or name.project is None or number is None:
            return version
        return self._place(name.entity, name.project, name.name).state().versions.get(number, version)

    def _linked(self, version: Version, action: str, actor: Actor | None) -> None:
        """Let the history of a version tell that a registry links it, or does so no more."""
        origin = self.origin(version)
        if origin is not version:
            self._tell(origin, action, actor, name=version.path)

    def _tell(
        self, version: Version, do: str, actor: Actor | None, *, name: str | None = None, value: Any = None
    ) -> None:
        place = self._of(version)
        if version.version not in place.state().versions:
            raise UsageError(f"there is no artifact {version.path} in {self.folder}.")
        token = os.urandom(8).hex() if do in _BY_HAND else None
        by = actor or Actor.here()
        ledger.append(place.ledger, ledger.line(do, version.version, by, name=name, value=value, token=token))

    def _now(self, version: Version) -> Version:
        found = self._of(version).state().versions.get(version.version)
        if found is None or found.deleted:
            raise UsageError(f"there is no artifact {version.path} in {self.folder} any more.")
        return found

    # --- places --------------------------------------------------------------------------

    def _of(self, version: Version) -> CollectionFolder:
        return self._place(version.entity, version.project, version.name)

    def _place(self, entity: str, project: str, name: str) -> CollectionFolder:
        names = (entity, project, name)
        with self._lock:
            if names not in self._known:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                folder = self.folder.joinpath(*(to_folder(each) for each in names))
                self._known[names] = CollectionFolder(folder, *names)
            return self._known[names]

    def _walk(self, entity: str | None, project: str | None) -> Iterator[CollectionFolder]:
        for owner in _folders(self.folder):
            if from_folder(owner.name) != entity if entity is not None else from_folder(owner.name) == REGISTRY:
                continue
            for home in _folders(owner):
                if project is not None and from_folder(home.name) != project:
                    continue
                for folder in _folders(home):
                    yield self._place(*(from_folder(each.name) for each in (owner, home, folder)))

    def _run_file(self, run: str) -> Path:
        parts = run.split("/")
        if len(parts) != 3 or not all(parts):
            raise UsageError(f"{run!r} is no run; write 'entity/project/id'.")
        return self.folder.joinpath(".runs", *(to_folder(part) for part in parts))

    def _note(self, run: str, use: str, about: Draft, token: str | None = None) -> None:
        """Leave a note with the run, so that its lineage is found without asking every collection."""
        path = self._run_file(run)
        number = about.version if isinstance(about, Version) else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _unwritable(path.parent, error)
        ledger.append(
            path,
            _Note(time.time_ns(), use, about.entity, about.project, about.name, number, token),
        )


class _Note(msgspec.Struct, frozen=True):
    """What a run made or read: a version by its number, or by the token under which it was about to be claimed."""

    t: int
    use: str
    entity: str
    project: str
    name: str
    version: int | None = None
    token: str | None = None


_notes = msgspec.json.Decoder(_Note)


def _same_version(state: State, draft: Draft, token: str) -> Version | None:
    number = state.tokens.get(token)
    if number is not None:
        return state.versions.get(number)
    if draft.source is not None:  # of a registry: the same version linked again
        return next((each for each in state.live if each.source == draft.source), None)
    return next(
        (each for each in reversed(state.live) if each.digest == draft.digest and each.type == draft.type), None
    )


def _named(draft: Path, target: Path) -> bool:
    """Give a finished draft its final name unless that is taken."""
    try:
        os.link(draft, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        # The name is taken first, then filled: a crash between the two leaves a hole.
        if target.exists():
            return False
        try:
            os.close(os.open(f"{target}.taken", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            return False
        os.replace(draft, target)
    return True


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # a file system that does not know it
        return
    finally:
        os.close(handle)


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return [folder for folder in found if _is_name(folder.name)]


def _is_name(folder: str) -> bool:
    try:
        return to_folder(from_folder(folder)) == folder
    except ValueError:  # somebody else's folder
        return False


def _unwritable(folder: Path, error: OSError) -> NoReturn:
    raise StorageError(f"the folder {folder} cannot be written: {error}.") from error
