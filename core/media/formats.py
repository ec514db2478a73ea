"""Telling what kind of file bytes are, by how they begin."""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple


class Format(NamedTuple):
    """A kind of file.

    Args:
        name: As in a reference: "png", "jpg", ...
        width: Of an image, in pixels; None where the bytes given do not tell.
        height: The same.
    """

    name: str
    width: int | None = None
    height: int | None = None


def sniff(head: bytes) -> Format | None:
    """Answer the kind of image that begins with these bytes; None for what no browser shows.

    Args:
        head: The first bytes; a JPEG tells its size only behind what a camera wrote, which may take 64 KiB.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format("png", *unpack_from(">II", head, 16)) if len(head) >= 24 else Format("png")
    if head.startswith(b"\xff\xd8\xff"):
        return Format("jpg", *_jpeg_size(head))
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format("gif", *unpack_from("<HH", head, 6)) if len(head) >= 10 else Format("gif")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format("webp", *_webp_size(head))
    if head.startswith(b"BM") and len(head) >= 26:
        width, height = unpack_from("<ii", head, 18)
        return Format("bmp", width, abs(height))
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return Format("avif")
    if head.startswith((b"II*\0", b"MM\0*")):
        return Format("tiff")
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        return Format("svg")
    return None


def sniff_audio(head: bytes) -> str | None:
    """Answer the kind of sound that begins with these bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    if head[4:11] == b"ftypM4A":
        return "m4a"
    return None


def sniff_video(head: bytes) -> str | None:
    """Answer the kind of moving image that begins with these bytes."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[4:8] == b"ftyp" and head[8:11] != b"M4A":
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    if head.startswith(b"OggS"):
        return "ogg"
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | tuple[None, None]:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None, None


def _webp_size(head: bytes) -> tuple[int, int] | tuple[None, None]:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8 " and len(head) >= 30:
        width, height = unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None, None
