"""The list of what a version of an artifact holds: which files, of which bytes, and where those bytes lie.

It is read from servers and other people's disks, so `load` believes nothing: types, lengths, offsets and paths are
looked at before any of it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import msgspec

from ..errors import FormatError, UsageError
from ..limits import MAX_BLOB_BYTES, MAX_MANIFEST_BYTES, MAX_PATH_BYTES, MAX_PATH_PART_BYTES

FORMAT = 1
_MAX_SIZE = 2**62
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Most paths are such: nothing in them needs a closer look, unless they are long.
_PLAIN = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Part(NamedTuple):
    """A piece of a file: bytes of a blob."""

    blob: str
    offset: int
    length: int


class RemoteObject(msgspec.Struct, frozen=True, array_like=True):
    """Where bytes lie that we do not keep, and by which marks a change of them is noticed.

    Args:
        uri: Such as `s3://bucket/key`.
        etag: The store's own mark of these bytes, if it has one.
        version: The store's own version of the object, if it keeps several.
        size: Bytes, if known.
        checksum: Any other mark, such as `blake3:...` or `mtime:...`.
    """

    uri: str
    etag: str | None = None
    version: str | None = None
    size: int | None = None
    checksum: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One file, link or reference of an artifact.

    Args:
        path: Within the artifact, with slashes.
        size: Bytes.
        digest: Of the file's bytes; empty for a link, and for a reference of which we do not know it.
        parts: Where the bytes lie, in order.
        link: What a symbolic link points to, relative to the link.
        reference: Where the bytes lie that we do not keep.
        is_executable: Whether its owner may execute it.
    """

    path: str
    size: int = 0
    digest: str = ""
    parts: tuple[Part, ...] = ()
    link: str | None = None
    reference: RemoteObject | None = None
    is_executable: bool = False

    @property
    def content(self) -> tuple[object, ...]:
        """What makes it the same as, or another than, an entry of this path in another version."""
        return self.digest, self.link, self.reference


class Diff(NamedTuple):
    """How one manifest differs from another, by paths."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Manifest:
    """What a version holds.

    Args:
        entries: In any order.

    Raises:
        UsageError: A path is there twice, lies below a file, or leads out.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: dict[str, Entry] = {}
        for entry in sorted(entries, key=lambda one: one.path):
            if entry.path in self.entries:
                raise UsageError(f"the path {entry.path!r} is there twice; give one of the files another path.")
            self.entries[entry.path] = entry
        self._check_places()
        self._digest = ""

    @property
    def digest(self) -> str:
        """The digest of paths and contents; how the bytes are kept does not matter to it."""
        if not self._digest:
            from ..blobs import digest_of  # whoever logs an artifact does not wait for it

            listing = [[entry.path, *entry.content] for entry in self.entries.values()]
            self._digest = digest_of(msgspec.msgpack.encode(listing))
        return self._digest

    @property
    def size(self) -> int:
        """Bytes of all files together, references included where their size is known."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def files(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    def blobs(self) -> set[str]:
        """Answer the digests of all blobs that hold the bytes."""
        return {part.blob for entry in self.entries.values() for part in entry.parts}

    def diff(self, other: Manifest) -> Diff:
        """Answer what `other` has more, else and less than this one."""
        mine, theirs = self.entries, other.entries
        return Diff(
            added=[path for path in theirs if path not in mine],
            changed=[path for path in theirs if path in mine and mine[path].content != theirs[path].content],
            removed=[path for path in mine if path not in theirs],
        )

    def below(self, paths: Iterable[str] | None) -> Iterator[Entry]:
        """Walk the entries that have one of these paths, or lie below one.

        Args:
            paths: None: all.

        Raises:
            UsageError: There is nothing at or below one of them.
        """
        if paths is None:
            yield from self.entries.values()
            return
        wanted = {path.strip("/") for path in paths}
        found: set[str] = set()
        for path, entry in self.entries.items():
            places = {path, *_parents(path), ""} & wanted
            if places:
                found |= places
                yield entry
        if wanted - found:
            raise UsageError(f"the artifact has nothing at {min(wanted - found)!r}; it has {self._some()}.")

    def dump(self) -> bytes:
        """Answer the manifest in bytes; the same manifest gives the same bytes."""
        numbers: dict[str, int] = {}
        rows: list[_Row] = []
        for entry in self.entries.values():
            if entry.link is not None:
                rows.append(_Link(entry.path, entry.link))
            elif entry.reference is not None:
                rows.append(_Remote(entry.path, entry.size, bytes.fromhex(entry.digest), entry.reference))
            else:
                parts = [
                    (numbers.setdefault(part.blob, len(numbers)), part.offset, part.length) for part in entry.parts
                ]
                rows.append(_File(entry.path, entry.size, bytes.fromhex(entry.digest), parts, entry.is_executable))
        body = _Body(format=FORMAT, blobs=[bytes.fromhex(blob) for blob in numbers], entries=rows)
        return msgspec.msgpack.encode(body)

    @classmethod
    def load(cls, data: bytes) -> Manifest:
        """Read a manifest, wherever it comes from.

        Raises:
            FormatError: It is none, one of a newer format, or claims what cannot be.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise FormatError(f"a manifest of {len(data)} bytes is not read; at most {MAX_MANIFEST_BYTES} are.")
        try:
            head = _head_decoder.decode(data)
            if head.format != FORMAT:
                raise FormatError(
                    f"the manifest is of format {head.format}, this version reads {FORMAT}; update tracker."
                )
            body = _decoder.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise FormatError(f"these bytes are no manifest: {error}.") from error
        try:
            names = [blob.hex() for blob in body.blobs]
            return cls(_entry(row, names) for row in body.entries)
        except UsageError as error:
            raise FormatError(f"the manifest cannot be used: {error}") from error

    def _check_places(self) -> None:
        for path, entry in self.entries.items():
            check_path(path)
            for parent in _parents(path):
                if parent in self.entries:
                    raise UsageError(f"{path!r} lies below {parent!r}, which is a file; give one of them another path.")
            if entry.link is not None:
                check_link(path, entry.link)

    def _some(self) -> str:
        names = [repr(path) for path, _ in zip(self.entries, range(5), strict=False)]
        return ", ".join(names) + (" and others" if len(self.entries) > len(names) else "") if names else "no files"


def check_path(path: str) -> str:
    """Answer the path, or raise where it cannot be a path within an artifact.

    Raises:
        UsageError: It is empty, absolute, has a drive letter, a backslash, a control character, `..`, `.` or an empty
            part, is no valid Unicode, or is longer than file systems take.
    """
    if isinstance(path, str) and len(path) <= MAX_PATH_PART_BYTES and _PLAIN.fullmatch(path):
        return path
    if not isinstance(path, str) or not path:
        raise UsageError(f"the path {path!r} names no file; give a name such as 'model/weights.bin'.")
    reason = ""
    if _CONTROL.search(path):
        reason = "holds a control character"
    elif "\\" in path:
        reason = "holds a backslash; use '/'"
    elif path.startswith("/") or _DRIVE.match(path):
        reason = "is absolute; give one relative to the artifact"
    elif any(part in ("", ".", "..") for part in path.split("/")):
        reason = "holds an empty part, '.' or '..'"
    else:
        try:
            parts = path.encode().split(b"/")
        except UnicodeEncodeError:
            reason = "is no valid Unicode"
        else:
            if max(map(len, parts)) > MAX_PATH_PART_BYTES or sum(map(len, parts)) + len(parts) > MAX_PATH_BYTES:
                reason = f"is too long: {MAX_PATH_PART_BYTES} bytes a part, {MAX_PATH_BYTES} in all can be kept"
    if reason:
        raise UsageError(f"the path {path[:200]!r} {reason}.")
    return path


def check_link(path: str, target: str) -> str:
    """Answer the target of a link, or raise where it may lead out of the artifact.

    `..` may stand at the beginning only: behind a name it would be meant from where that name leads, if it is a link.

    Raises:
        UsageError: It is absolute, leads out, or is no path at all.
    """
    parts = target.split("/")
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if target.startswith("/") or ups > path.count("/"):
        raise UsageError(f"the link {path!r} leads out of the artifact, to {target[:200]!r}; add the file itself.")
    if parts[ups:]:
        try:
            check_path("/".join(parts[ups:]))
        except UsageError as error:
            raise UsageError(f"the link {path!r} cannot be kept: {error}") from error
    return target


def _parents(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


# --- the bytes ----------------------------------------------------------------------------

_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Known = Annotated[bytes, msgspec.Meta(max_length=32)]  # empty: not known
_Size = Annotated[int, msgspec.Meta(ge=0, le=_MAX_SIZE)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_BYTES)]


class _File(msgspec.Struct, array_like=True, tag=0):
    path: str
    size: _Size
    digest: _Digest
    parts: list[tuple[_Size, _Bytes, _Bytes]]
    is_executable: bool = False


class _Link(msgspec.Struct, array_like=True, tag=1):
    path: str
    target: str


class _Remote(msgspec.Struct, array_like=True, tag=2):
    path: str
    size: _Size
    digest: _Known
    reference: RemoteObject


_Row = _File | _Link | _Remote


class _Head(msgspec.Struct):
    format: int


class _Body(msgspec.Struct):
    format: int
    blobs: list[_Digest]
    entries: list[_Row]


_head_decoder = msgspec.msgpack.Decoder(_Head)
_decoder = msgspec.msgpack.Decoder(_Body)


def _entry(row: _Row, blobs: list[str]) -> Entry:
    if isinstance(row, _Link):
        return Entry(row.path, link=row.target)
    if isinstance(row, _Remote):
        if len(row.digest) not in (0, 32):
            raise UsageError(f"the digest of {row.path[:200]!r} has {len(row.digest)} bytes.")
        return Entry(row.path, row.size, row.digest.hex(), reference=row.reference)
    parts = []
    for number, offset, length in row.parts:
        if number >= len(blobs) or length == 0 or offset + length > MAX_BLOB_BYTES:
            raise UsageError(f"{row.path[:200]!r} points to bytes that cannot be: {number}, {offset}, {length}.")
        parts.append(Part(blobs[number], offset, length))
    if sum(part.length for part in parts) != row.size:
        raise UsageError(f"the parts of {row.path[:200]!r} do not add up to its {row.size} bytes.")
    return Entry(row.path, row.size, row.digest.hex(), tuple(parts), is_executable=row.is_executable)
