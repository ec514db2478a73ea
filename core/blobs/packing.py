"""Packing with zstd, where a sample shows that it pays: weights and images hardly ever do, texts and tables do."""

from __future__ import annotations

import sys
import threading
from typing import BinaryIO

from ..errors import FormatError
from ..limits import MIN_PACK_BYTES, PACK_LEVEL, PACK_SAMPLE_BYTES, PACK_WORTH
from .digests import new_digest

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by version
    from compression import zstd
else:
    from backports import zstd

_PIECE_BYTES = 1 << 20
HEAD_BYTES = 18  # of a frame's header, at most


def packed(data: bytes | bytearray | memoryview, compress: bool | None) -> bytes | None:
    """Answer the bytes packed, or None where that does not pay.

    Args:
        data: The plain bytes.
        compress: Whether to; None: where a sample of them, and then all of them, show that it pays.
    """
    if compress is False or (compress is None and not _pays(data)):
        return None
    found = zstd.compress(data, PACK_LEVEL)
    return found if compress or len(found) <= len(data) * PACK_WORTH else None


def pack_file(source: BinaryIO, target: BinaryIO, size: int, compress: bool | None) -> bool:
    """Pack a file of `size` bytes into another; answer False, with `target` of no use, where that does not pay."""
    if compress is False:
        return False
    if compress is None:
        source.seek(max(size - PACK_SAMPLE_BYTES, 0) // 2)
        sample = source.read(PACK_SAMPLE_BYTES)
        if size < MIN_PACK_BYTES or not _pays(sample):
            return False
    source.seek(0)
    press = zstd.ZstdCompressor(PACK_LEVEL)
    press.set_pledged_input_size(size)  # so that the frame says how long the plain bytes are
    while piece := source.read(_PIECE_BYTES):
        target.write(press.compress(piece))
    target.write(press.flush())
    return compress is True or target.tell() <= size * PACK_WORTH


def unpacked(data: bytes) -> bytes:
    """Answer the plain bytes.

    Raises:
        FormatError: These were not packed by us, or are damaged.
    """
    try:
        size = zstd.get_frame_info(data[:HEAD_BYTES]).decompressed_size
        if size is None:
            raise FormatError("packed bytes do not say how many they were.")
        press = zstd.ZstdDecompressor()
        plain: bytes = press.decompress(data, size + 1)  # bounded by what the frame says; one more, to see it lie
    except (zstd.ZstdError, EOFError, ValueError) as error:
        raise FormatError(f"packed bytes cannot be unpacked: {error}.") from error
    if len(plain) != size or not (press.eof or size == 0):
        raise FormatError(f"packed bytes unfold to {len(plain)} bytes, not to the {size} that they say.")
    return plain


def plain_size(head: bytes) -> int:
    """Answer how many bytes a packed file unfolds to, by its first bytes.

    Raises:
        FormatError: These were not packed by us, or are damaged.
    """
    try:
        size = zstd.get_frame_info(head).decompressed_size
    except zstd.ZstdError as error:
        raise FormatError(f"packed bytes cannot be unpacked: {error}.") from error
    if size is None:
        raise FormatError("packed bytes do not say how many they were.")
    return size


def digest_of_packed(file: BinaryIO, most_bytes: int) -> str:
    """Answer the digest of the plain bytes of a packed file.

    Raises:
        FormatError: It is no frame that says how long its plain bytes are, or they are others, or more than allowed.
    """
    size = plain_size(file.read(HEAD_BYTES))
    if size > most_bytes:
        raise FormatError(f"packed bytes unfold to {size:,} bytes; at most {most_bytes:,} are taken.")
    file.seek(0)
    digest = new_digest()
    found = 0
    try:
        press = zstd.ZstdDecompressor()
        while not press.eof:
            packed_piece = file.read(_PIECE_BYTES) if press.needs_input else b""
            if press.needs_input and not packed_piece:
                break
            plain = press.decompress(packed_piece, _PIECE_BYTES)
            found += len(plain)
            if found > size:
                break
            digest.update(plain)
    except (zstd.ZstdError, EOFError) as error:
        raise FormatError(f"packed bytes cannot be unpacked: {error}.") from error
    if found != size or not press.eof or press.unused_data or file.read(1):
        raise FormatError(f"packed bytes are not one whole frame of the {size:,} bytes that they say.")
    return digest.hexdigest()


def open_packed(file: BinaryIO) -> BinaryIO:
    """Open packed bytes for reading them plain; closing the answer closes `file`."""
    return _Unpacking(file)  # type: ignore[return-value]  # an io class, which BinaryIO is the protocol of


class _Unpacking(zstd.ZstdFile):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._own = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._own.close()


def _pays(data: bytes | bytearray | memoryview) -> bool:
    if len(data) < MIN_PACK_BYTES:
        return False
    middle = max(len(data) - PACK_SAMPLE_BYTES, 0) // 2
    sample = data[middle : middle + PACK_SAMPLE_BYTES]
    return len(_sampling.press.compress(sample, zstd.ZstdCompressor.FLUSH_FRAME)) <= len(sample) * PACK_WORTH


class _Sampling(threading.local):
    """A compressor for each thread: to make one costs more than to pack a sample."""

    def __init__(self) -> None:
        self.press = zstd.ZstdCompressor(PACK_LEVEL)


_sampling = _Sampling()
