"""References: files that stay where they are, with the marks by which a change of them is noticed.

Local files and http(s) need nothing; every other scheme (s3, gs, az, ...) goes through fsspec and its packages.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..blobs import new_digest
from ..errors import MissingFramework, StorageError, TransportError, UsageError
from ..limits import CONNECT_TIMEOUT_SECONDS, MAX_REFERENCE_OBJECTS, READ_TIMEOUT_SECONDS
from .manifest import Entry, RemoteObject, check_path

_PIECE_BYTES = 1 << 20
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
}
_VERSIONED = ("s3", "s3a")  # whose package opens an object as of a version
# Where the stores' own marks stand in what fsspec tells of an object.
_ETAGS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c")
_VERSIONS = ("VersionId", "version_id", "versionId", "generation")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class ChangedReference(StorageError):
    """An object is another one than the version refers to, or is gone."""


def refer(uri: str, name: str | None = None, checksum: bool = True, max_objects: int | None = None) -> list[Entry]:
    """Look at an object, or at all objects below a folder, and answer an entry for each.

    Args:
        uri: `file:///data/x`, `https://...`, `s3://bucket/key`, ...
        name: The path within the artifact; for a folder, what its files stand below.
        checksum: Note the marks by which a change is noticed. False: note the address alone, and look at nothing.
        max_objects: Of a folder; more are refused.

    Raises:
        UsageError: The address cannot be understood, there is nothing, or far too much.
        MissingFramework: The package for this scheme is not installed.
        StorageError, TransportError: The object cannot be looked at.
    """
    address = urlsplit(str(uri))
    scheme = address.scheme.lower()
    if len(scheme) < 2:  # none, or a drive letter
        raise UsageError(f"{uri!r} is no address; write file:///folder/file, https://..., s3://bucket/key.")
    if not checksum:
        return [Entry(check_path(name or _last(uri)), reference=RemoteObject(str(uri)))]
    limit = MAX_REFERENCE_OBJECTS if max_objects is None else max_objects
    if scheme == "file":
        return _local(str(uri), name, limit)
    if scheme in ("http", "https"):
        return [_over_http(str(uri), name)]
    return _by_fsspec(str(uri), name, limit)


def fetch(entry: Entry, target: Path) -> None:
    """Copy what an entry refers to; nothing is at `target` unless it is what was referred to.

    Raises:
        ChangedReference: It is another object by now, or gone.
        MissingFramework: The package for this scheme is not installed.
        StorageError, TransportError: It cannot be read, or not be written.
    """
    reference = entry.reference
    if reference is None:
        raise UsageError(f"{entry.path!r} is no reference.")
    draft = target.with_name(f".{target.name[:200]}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(reference) as source, open(draft, "wb") as file:
            digest, size = new_digest(), 0
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        if reference.size is not None and size != reference.size:
            raise ChangedReference(f"{reference.uri} has {size:,} bytes, it had {reference.size:,} when it was logged.")
        if entry.digest and digest.hexdigest() != entry.digest:
            raise ChangedReference(f"{reference.uri} has other bytes than when it was logged.")
        if not _is_held(reference):  # it was read in pieces: they are of one object where its marks are still the same
            system, key = _system(reference.uri)
            _compare(reference, _object(reference.uri, _info(system, key, reference.uri)))
        os.replace(draft, target)
    except OSError as error:
        if isinstance(error, (StorageError, TransportError)):
            raise
        raise StorageError(f"{reference.uri} cannot be copied to {target}: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def check(entry: Entry) -> None:
    """Look whether an object still is what an entry refers to, as far as its marks tell.

    Raises:
        ChangedReference: It is not, or is gone.
    """
    reference = entry.reference
    if reference is None or reference == RemoteObject(reference.uri):
        return
    now = refer(reference.uri, entry.path)[0]
    _compare(reference, now.reference or reference)
    if entry.digest and now.digest != entry.digest:
        raise ChangedReference(f"{reference.uri} has other bytes than when it was logged.")


def local_path(reference: RemoteObject) -> Path | None:
    """Answer the local file that a reference names; None for one elsewhere."""
    address = urlsplit(reference.uri)
    if address.scheme.lower() != "file":
        return None
    path = unquote(address.path)
    if os.name == "nt":
        path = path.lstrip("/")
    return Path(path)


def _compare(then: RemoteObject, now: RemoteObject) -> None:
    for what, before, after in (
        ("the version", then.version, now.version),
        ("the ETag", then.etag, now.etag),
        ("the size", then.size, now.size),
        ("the time", then.checksum, now.checksum),
    ):
        if before is not None and after != before:
            raise ChangedReference(
                f"{then.uri} has changed since it was logged: {what} was {before}, and is {after}. "
                "Log it anew, or bring the old object back."
            )


def _opened(reference: RemoteObject) -> Any:
    scheme = urlsplit(reference.uri).scheme.lower()
    if scheme == "file":
        path = local_path(reference)
        try:
            return open(str(path), "rb")
        except FileNotFoundError as error:
            raise ChangedReference(f"{reference.uri} is not there any more.") from error
    if scheme in ("http", "https"):
        return _HttpBody(reference)
    options: dict[str, Any] = {}
    if reference.version is not None and scheme in _VERSIONED:
        system, key = _system(reference.uri, version_aware=True)
        options["version_id"] = reference.version  # the object of that time, whatever was written since
    else:
        system, key = _system(reference.uri)
        _compare(reference, _object(reference.uri, _info(system, key, reference.uri)))
    try:
        return system.open(key, "rb", **options)
    except FileNotFoundError as error:
        raise ChangedReference(f"{reference.uri} is not there any more.") from error


def _is_held(reference: RemoteObject) -> bool:
    """Answer whether what is read is one object, whatever is written to the address meanwhile."""
    scheme = urlsplit(reference.uri).scheme.lower()
    return scheme in ("file", "http", "https") or (reference.version is not None and scheme in _VERSIONED)


# --- local files --------------------------------------------------------------------------


def _local(uri: str, name: str | None, limit: int) -> list[Entry]:
    path = local_path(RemoteObject(uri))
    if path is None or not path.exists():
        raise UsageError(f"{uri} is not there; give the address of a file or a folder.")
    if path.is_file():
        return [_local_entry(path, name or path.name)]
    found: list[Entry] = []
    prefix = f"{name.strip('/')}/" if name else ""
    for folder, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            if len(found) >= limit:
                raise _too_many(uri, limit)
            place = Path(folder) / file
            if place.is_file():
                found.append(_local_entry(place, prefix + place.relative_to(path).as_posix()))
    return found


def _local_entry(path: Path, name: str) -> Entry:
    check_path(name)
    digest, size = new_digest(), 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}.") from error
    reference = RemoteObject("file://" + quote(path.absolute().as_posix()), size=size)
    return Entry(name, size, digest.hexdigest(), reference=reference)


# --- http ---------------------------------------------------------------------------------


def _ask(method: str, uri: str, *, stream: bool = False, headers: dict[str, str] | None = None) -> Any:
    import requests  # only where something lies on the web

    wait = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    # As it is: a packed answer would have another length than the object.
    sent = {"Accept-Encoding": "identity", "User-Agent": "tracker", **(headers or {})}
    try:
        answer = requests.request(method, uri, timeout=wait, allow_redirects=True, stream=stream, headers=sent)
    except requests.RequestException as error:
        raise TransportError(f"{uri} cannot be reached ({type(error).__name__}).") from error
    return answer


def _over_http(uri: str, name: str | None) -> Entry:
    answer = _ask("HEAD", uri)
    if answer.status_code in (405, 501):  # a server that knows no HEAD
        answer = _ask("GET", uri, stream=True)
        answer.close()
    if answer.status_code in (404, 410):
        raise UsageError(f"{uri} is not there (HTTP {answer.status_code}).")
    if not answer.ok:
        raise TransportError(f"{uri} cannot be looked at (HTTP {answer.status_code}).", status=answer.status_code)
    reference = _marks(uri, answer.headers)
    return Entry(check_path(name or _last(uri)), reference.size or 0, reference=reference)


def _marks(uri: str, headers: Any) -> RemoteObject:
    length = headers.get("Content-Length", "")
    changed = headers.get("Last-Modified")
    return RemoteObject(
        uri,
        etag=headers.get("ETag"),
        version=headers.get("x-amz-version-id"),
        size=int(length) if length.isdecimal() else None,
        checksum=f"time:{changed}" if changed and not headers.get("ETag") else None,
    )


class _HttpBody:
    """The body of an object on the web, once its marks were compared."""

    def __init__(self, reference: RemoteObject) -> None:
        self._uri = reference.uri
        self._answer = _ask("GET", reference.uri, stream=True)
        try:
            if self._answer.status_code in (404, 410):
                raise ChangedReference(f"{reference.uri} is not there any more (HTTP {self._answer.status_code}).")
            if not self._answer.ok:
                raise TransportError(
                    f"{reference.uri} cannot be read (HTTP {self._answer.status_code}).",
                    status=self._answer.status_code,
                )
            _compare(reference, _marks(reference.uri, self._answer.headers))
        except BaseException:
            self._answer.close()
            raise

    def read(self, size: int) -> bytes:
        import urllib3

        try:
            return bytes(self._answer.raw.read(size))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransportError(f"{self._uri} broke off ({type(error).__name__}). Try again.") from error

    def __enter__(self) -> _HttpBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()


# --- fsspec -------------------------------------------------------------------------------


def _system(uri: str, **options: Any) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingFramework(f"{uri} is read through fsspec: pip install 'runtracker[references]'") from error
    scheme = urlsplit(uri).scheme.lower()
    try:
        system, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        package = _PACKAGES.get(scheme, f"the fsspec package for {scheme}")
        raise MissingFramework(f"{uri} needs {package}: pip install {package}") from error
    except ValueError as error:
        raise UsageError(
            f"{uri} cannot be understood: {error}. Write file:///folder/file, https://..., s3://bucket/key."
        ) from error
    return system, str(path)


def _info(system: Any, path: str, uri: str) -> dict[str, Any]:
    try:
        system.invalidate_cache()  # what it remembers may be from before the change
        return dict(system.info(path))
    except FileNotFoundError as error:
        raise ChangedReference(f"{uri} is not there.") from error
    except Exception as error:  # each store has errors of its own
        raise TransportError(f"{uri} cannot be looked at ({type(error).__name__}: {error}).") from error


def _by_fsspec(uri: str, name: str | None, limit: int) -> list[Entry]:
    system, path = _system(uri)
    try:
        info = _info(system, path, uri)
    except ChangedReference as error:
        raise UsageError(f"{error} Give the address of an object or a folder.") from error
    if info.get("type") != "directory":
        return [_entry(uri, check_path(name or _last(uri)), info)]
    found: list[Entry] = []
    prefix = f"{name.strip('/')}/" if name else ""
    base = uri.rstrip("/")
    root = path.rstrip("/")
    for place, facts in _walk(system, path, uri):
        if len(found) >= limit:
            raise _too_many(uri, limit)
        below = posixpath.relpath(place, root) if root else place.lstrip("/")
        found.append(_entry(f"{base}/{below}", check_path(prefix + below), facts))
    return found


def _walk(system: Any, path: str, uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        found = system.find(path, detail=True)
    except Exception as error:  # each store has errors of its own
        raise TransportError(f"{uri} cannot be listed ({type(error).__name__}: {error}).") from error
    yield from sorted(found.items())


def _entry(uri: str, name: str, info: dict[str, Any]) -> Entry:
    reference = _object(uri, info)
    return Entry(name, reference.size or 0, reference=reference)


def _object(uri: str, info: dict[str, Any]) -> RemoteObject:
    size = info.get("size")
    etag, version = _first(info, _ETAGS), _first(info, _VERSIONS)
    changed = _time(info) if etag is None and version is None else None
    return RemoteObject(
        uri,
        etag=etag,
        version=version,
        size=size if isinstance(size, int) and size >= 0 else None,
        checksum=None if changed is None else f"time:{changed}",
    )


def _first(info: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(info[name]) for name in names if info.get(name) not in (None, "", "null")), None)


def _time(info: dict[str, Any]) -> str | None:
    found = next((info[name] for name in _TIMES if info.get(name)), None)
    if found is None:
        return None
    # A listing may have as a number what a look at one object has as a date.
    return str(found.timestamp() if hasattr(found, "timestamp") else found)


def _last(uri: str) -> str:
    name = posixpath.basename(unquote(urlsplit(uri).path).rstrip("/"))
    if not name:
        raise UsageError(f"{uri!r} ends with no name; give one: add_reference(uri, name='data').")
    return name


def _too_many(uri: str, limit: int) -> UsageError:
    return UsageError(f"{uri} holds more than {limit:,} objects; refer to a part of it, or give max_objects.")
