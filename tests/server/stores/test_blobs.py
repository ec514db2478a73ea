"""The blob store: bytes named by their digest."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tracker.core.blobs import digest_of
from tracker.core.errors import StorageError
from tracker.server.stores import Stores


def test_bytes_come_back_by_their_digest(stores: Stores) -> None:
    """What is put is found under the BLAKE3 digest of its bytes, twice the same."""
    data = bytes(range(256)) * 5000
    digest = stores.blobs.put(io.BytesIO(data))
    assert digest == stores.blobs.put(io.BytesIO(data), digest) == digest_of(data)
    with stores.blobs.open(digest) as file:
        assert data == file.read()
    assert stores.blobs.has(digest)
    assert [f"{digest}.zst"] == [path.name for path in (stores.folder / "blobs").glob("??/*")]


def test_other_bytes_than_announced_are_refused(stores: Stores) -> None:
    """Nothing is kept of bytes whose digest is another one."""
    with pytest.raises(StorageError, match="digest"):
        stores.blobs.put(io.BytesIO(b"one"), digest_of(b"two"))

    assert not [path for path in (stores.folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["", "x", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_names_nothing(stores: Stores, digest: str) -> None:
    """A name from outside never becomes a path."""
    assert not stores.blobs.has(digest)
    with pytest.raises(FileNotFoundError):
        stores.blobs.open(digest)


def test_a_broken_source_leaves_nothing(stores: Stores) -> None:
    """When the bytes stop coming, no half of them stays."""

    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises(OSError, match="gone"):
        stores.blobs.put(Broken())  # type: ignore[arg-type]

    assert not [path for path in Path(stores.folder / "blobs").rglob("*") if path.is_file()]
