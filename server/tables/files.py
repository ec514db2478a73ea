"""Which files a table is in, and what columns they have."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from ...core.artifacts.manifest import Entry
from ...core.artifacts.objects import described_by
from ...core.errors import DamagedBlob, FormatError, StorageError, UsageError
from ...core.journal import Block
from ...core.paths import RunPath
from ...core.tables.parquet import METADATA_KEY
from ..limits import MAX_JSON_BODY_BYTES, MAX_TABLE_FACTS, MAX_TABLE_PARTS, TABLE_CACHE_BYTES
from ..paths import decode_path
from ..places import Places
from ..stores.base import BlobStore
from .models import ArtifactTable, RunTable

_TABLES = ("table-file", "plot")


class MissingTableError(UsageError):
    """There is no such table, or its bytes are not here."""


class Field(NamedTuple):
    """A column as a file has it: its name for people, what it holds, and its name in the file."""

    name: str | int
    kind: str
    field: str


class Facts(NamedTuple):
    """What a file tells of itself: its columns and its number of rows."""

    fields: tuple[Field, ...]
    rows: int


@dataclass(frozen=True)
class Found:
    """A table.

    Args:
        paths: Its files, in the order of the rows.
        step: Where it was logged.
        mode: The table's `log_mode`.
    """

    paths: list[Path]
    step: float | None = None
    mode: str | None = None


class History(Protocol):
    """Where rows of runs are read from: the store of metrics."""

    def history(
        self, path: RunPath, keys: Sequence[str] | None, low: float | None, high: float | None
    ) -> Iterator[Block]:
        """Walk rows in order of step, those of equal step in order of writing."""
        ...


class TableFiles:
    """Finds the files of tables.

    Args:
        history: Where references are read from.
        places: Where the bytes are.
        cache: A folder for files that do not lie ready on disk.
    """

    def __init__(
        self,
        history: History,
        places: Places,
        cache: Path,
    ) -> None:
        self._history = history
        self._places = places
        self._cache = cache
        self._facts: OrderedDict[Path, Facts] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, source: RunTable | ArtifactTable) -> Found:
        """Answer the files of a table.

        Raises:
            MissingTableError: There is none, or its bytes have not arrived.
        """
        if isinstance(source, ArtifactTable):
            return self._in_artifact(source)
        path = decode_path(source.run)
        references = self._references(path, source)
        if not references:
            raise MissingTableError(f"the run has logged no table {source.key!r}{_until(source.step)}.")
        step, last = references[-1]
        if last.get("mode") == "INCREMENTAL":
            chosen = [found for _, found in references if found.get("mode") == "INCREMENTAL"]
        else:
            chosen = [last]
        digests = [digest for reference in chosen for digest in _digests(reference)]
        if len(digests) > MAX_TABLE_PARTS:
            raise UsageError(
                f"the table {source.key!r} has {len(digests):,} parts, at most {MAX_TABLE_PARTS:,} are read at once. "
                "Ask for an earlier step."
            )
        if not digests:
            raise MissingTableError(f"the table {source.key!r} holds no rows yet.")
        blobs = self._places.run_blobs(path)
        return Found([self._blob(blobs, digest, source.key) for digest in digests], step, last.get("mode"))

    def _references(self, path: RunPath, source: RunTable) -> list[tuple[float, Mapping[str, Any]]]:
        found: list[tuple[float, Mapping[str, Any]]] = []
        for block in self._history.history(path, [source.key], None, source.step):
            for step, _, values in block.rows():
                value = values.get(source.key)
                if isinstance(value, list):
                    value = value[source.index] if source.index < len(value) else None
                elif source.index:
                    value = None
                if isinstance(value, Mapping) and value.get("_type") in _TABLES and value.get("format") == "parquet":
                    found.append((step, value))
        return found

    def _blob(self, blobs: BlobStore, digest: str, key: str) -> Path:
        try:
            path, is_packed = blobs.stored(digest)
        except FileNotFoundError:
            raise MissingTableError(
                f"the bytes of the table {key!r} ({digest[:12]}) are not here; they may still be on their way."
            ) from None
        if not is_packed:
            return path
        return self._kept(digest, lambda draft: _copy(blobs, digest, draft))

    def _in_artifact(self, source: ArtifactTable) -> Found:
        name, _, which = source.artifact.rpartition(":")
        parts = [unquote(part) for part in name.split("/")]
        version = None
        if len(parts) == 3:
            entity, project, base = parts
            version = self._places.catalogue.version(entity, project, base, unquote(which))
        if version is None:
            raise MissingTableError(f"there is no artifact {source.artifact[:300]!r}.")
        try:
            entries = self._places.manifests.load(version.manifest).entries
        except (FileNotFoundError, DamagedBlob, FormatError):
            raise MissingTableError(f"the list of files of {version.path} is not here, or damaged.") from None
        blobs = self._places.blobs
        digests = [entries[source.path].digest] if source.path in entries else self._object(entries, source.path)
        by_digest = {
            entry.digest: entry for entry in entries.values() if entry.reference is None and entry.link is None
        }
        found = [by_digest[digest] for digest in digests if digest in by_digest]
        if not found or len(found) != len(digests):
            raise MissingTableError(f"{version.path} holds no table {source.path[:300]!r}.")
        if missing := blobs.missing(part.blob for entry in found for part in entry.parts):
            raise MissingTableError(
                f"the bytes of {source.path[:300]!r} are not here: {len(missing)} blobs are missing."
            )
        return Found([self._kept(entry.digest, partial(_put_together, blobs, entry)) for entry in found])

    def _object(self, entries: Mapping[str, Entry], name: str) -> list[str]:
        """Answer the digests of the files of a table that was added under a name."""
        entry = entries.get(described_by(name))
        if entry is None or entry.size > MAX_JSON_BODY_BYTES:
            return []
        try:
            reference = json.loads(b"".join(_pieces(self._places.blobs, entry)))["object"]
            return _digests(reference) if reference.get("_type") in _TABLES else []
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return []

    def _kept(self, digest: str, write: Callable[[Path], None]) -> Path:
        """Answer a file of the cache, written first where it is not there."""
        path = self._cache / f"{digest}.parquet"
        try:
            os.utime(path)
            return path
        except OSError:
            pass
        self._cache.mkdir(parents=True, exist_ok=True)
        draft = self._cache / f".{digest}.{os.getpid()}.{threading.get_ident()}"
        try:
            write(draft)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        self._tidy(path)
        return path

    def _tidy(self, newest: Path) -> None:
        """Remove what was not asked for longest, until the cache is small enough."""
        files = sorted(self._cache.glob("*.parquet"), key=lambda file: file.stat().st_mtime)
        size = sum(file.stat().st_size for file in files)
        for file in files:
            if size <= TABLE_CACHE_BYTES:
                return
            if file != newest:
                size -= file.stat().st_size
                file.unlink(missing_ok=True)

    # --- what they hold ------------------------------------------------------------------

    def facts(self, connection: Any, paths: Sequence[Path]) -> list[Facts]:
        """Answer what files tell of themselves; they are asked once.

        Args:
            connection: A DuckDB that may read them.
            paths: Which.
        """
        with self._lock:
            unknown = [path for path in dict.fromkeys(paths) if path not in self._facts]
        if unknown:
            fresh = _ask(connection, unknown)
            with self._lock:
                self._facts.update(fresh)
        with self._lock:
            found = [self._facts[path] for path in paths]
            for path in paths:
                self._facts.move_to_end(path)
            while len(self._facts) > MAX_TABLE_FACTS:
                self._facts.popitem(last=False)
        return found


def _ask(connection: Any, paths: Sequence[Path]) -> dict[Path, Facts]:
    names = [str(path) for path in paths]
    rows = dict(connection.execute("SELECT file_name, num_rows FROM parquet_file_metadata(?)", [names]).fetchall())
    notes = dict(
        connection.execute(
            "SELECT file_name, value FROM parquet_kv_metadata(?) WHERE key = ?", [names, METADATA_KEY.encode()]
        ).fetchall()
    )
    return {
        path: Facts(_described(notes.get(name)) or _guessed(connection, name), rows[name])
        for path, name in zip(paths, names, strict=True)
    }


def _described(note: bytes | None) -> tuple[Field, ...] | None:
    """Answer the columns as a file of ours tells them; None for files of others."""
    try:
        return tuple(
            Field(column["name"], str(column["type"]), str(column["field"]))
            for column in json.loads(note or b"")["columns"]
        )
    except (ValueError, KeyError, TypeError):
        return None


def _guessed(connection: Any, name: str) -> tuple[Field, ...]:
    described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [[name]]).fetchall()
    return tuple(Field(column[0], _kind(column[1]), column[0]) for column in described)


def _kind(sql_type: str) -> str:
    """Answer what a column of DuckDB's type is for us; `foreign` marks those that become JSON when they are read."""
    name = sql_type.partition("(")[0]
    if sql_type.endswith("]"):
        return "list:foreign"
    if name in ("STRUCT", "MAP", "UNION", "VARIANT"):
        return "dict:foreign"
    if name in ("BOOLEAN",):
        return "bool"
    if name.endswith("INT") or name in ("INTEGER", "UINTEGER"):
        return "int"
    if name in ("FLOAT", "DOUBLE", "DECIMAL"):
        return "float"
    return "datetime" if name.startswith("TIMESTAMP") or name == "DATE" else "str"


def _digests(reference: Mapping[str, Any]) -> list[str]:
    parts = reference.get("parts")
    if isinstance(parts, list):
        return [str(part[0]) for part in parts if isinstance(part, (list, tuple)) and part]
    digest = reference.get("digest")
    return [digest] if isinstance(digest, str) else []


def _put_together(blobs: BlobStore, entry: Entry, target: Path) -> None:
    with target.open("wb") as file:
        for piece in _pieces(blobs, entry):
            file.write(piece)


def _pieces(blobs: BlobStore, entry: Entry) -> Iterator[memoryview]:
    for part in entry.parts:
        yield memoryview(blobs.read(part.blob))[part.offset : part.offset + part.length]


def _copy(blobs: BlobStore, digest: str, target: Path) -> None:
    try:
        with blobs.open(digest) as source, target.open("wb") as file:
            while piece := source.read(1 << 20):
                file.write(piece)
    except OSError as error:
        raise StorageError(f"the table {digest[:12]} cannot be unpacked: {error}.") from error


def _until(step: float | None) -> str:
    return "" if step is None else f" up to step {step:g}"
