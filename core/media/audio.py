"""Sounds: samples become a WAV file, files are kept as they are."""

from __future__ import annotations

import io
import wave
from typing import Any

from ..limits import MAX_MEDIA_FILE_BYTES
from ..values import Reference, Unstorable
from .arrays import ArrayCopy, copy_array
from .base import Blobs, Encodable, Media
from .content import Content, Whole, is_path, take_bytes, take_file
from .formats import sniff_audio
from .held import Held

_MAX_CHANNELS = 32


class Audio(Media):
    """A sound.

    Args:
        data_or_path: The path of a file (WAV, FLAC, MP3, OGG, M4A), its bytes, or samples: an array or tensor of the
            shape (samples,), (samples, channels) or (channels, samples). Floats are from -1 to 1; whole numbers use
            the range of their type.
        sample_rate: Samples in a second; needed for arrays.
        caption: A few words under it.

    Example:
        run.log({"speech": tracker.Audio(samples, sample_rate=16_000)})
    """

    _type = "audio-file"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self._take(lambda: _taken(data_or_path, sample_rate, caption))


class _Samples(Encodable):
    def __init__(self, samples: ArrayCopy, sample_rate: int, facts: dict[str, Any]) -> None:
        self.samples = samples
        self.sample_rate = sample_rate
        self.facts = facts

    def held(self) -> tuple[Held]:
        return (self.samples.held,)

    def encode(self, blobs: Blobs) -> Reference:
        notes: list[str] = []
        samples = _samples_last(self.samples.array(), self.samples.has_channels_first)
        frames = _to_integers(samples, notes)
        self.notes = notes
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(frames.shape[1])
            file.setsampwidth(frames.dtype.itemsize)
            file.setframerate(self.sample_rate)
            file.writeframesraw(frames.data)
        stored = Content(target.getbuffer()).store(blobs)
        told = {"sample_rate": self.sample_rate, "channels": frames.shape[1]}
        duration = frames.shape[0] / self.sample_rate
        return Reference(_type="audio-file", **stored, format="wav", **told, duration=duration, **self.facts)


def _taken(value: Any, sample_rate: Any, caption: str | None) -> Encodable:
    facts = {} if caption is None else {"caption": str(caption)}
    if is_path(value):
        return _file(take_file(value), f"names the file {str(value)[:200]!r}, which", facts)
    if isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read"):
        return _file(take_bytes(value), "", facts)
    if sample_rate is None:
        raise Unstorable("is an array of samples without a sample_rate; give how many there are in a second")
    if not 1 <= int(sample_rate) <= 10_000_000:
        raise Unstorable(f"has the sample_rate {sample_rate!r}; samples in a second are needed")
    samples = copy_array(value)
    if len(samples.shape) not in (1, 2):
        raise Unstorable(f"has the shape {samples.shape}; (samples,) or (samples, channels) is needed")
    if len(samples.shape) == 2 and min(samples.shape) > _MAX_CHANNELS:
        raise Unstorable(f"has the shape {samples.shape}; at most {_MAX_CHANNELS} channels are possible")
    return _Samples(samples, int(sample_rate), facts)


def _file(content: Content, what: str, facts: dict[str, Any]) -> Encodable:
    head = content.head(64)
    found = sniff_audio(head)
    if found is None:
        raise Unstorable(f"{what} is no sound that browsers play: it begins with {head[:8]!r}".strip())
    if found == "wav" and content.size <= MAX_MEDIA_FILE_BYTES:
        facts = {**facts, **_told_by(content)}
    return Whole(content, _type="audio-file", format=found, **facts)


def _told_by(content: Content) -> dict[str, Any]:
    try:
        with wave.open(io.BytesIO(content.head(1 << 16))) as file:
            told = {"sample_rate": file.getframerate(), "channels": file.getnchannels()}
            return {**told, "duration": file.getnframes() / file.getframerate()}
    except (wave.Error, EOFError, ZeroDivisionError):  # floats, say: browsers play them, `wave` does not know them
        return {}


def _samples_last(samples: Any, has_channels_first: bool) -> Any:
    """Answer (samples, channels)."""
    if samples.ndim == 1:
        return samples[:, None]
    first, last = samples.shape
    is_first = first <= _MAX_CHANNELS and (last > _MAX_CHANNELS or (has_channels_first and first < last))
    return samples.T if is_first else samples


def _to_integers(samples: Any, notes: list[str]) -> Any:
    """Answer samples as a WAV file has them: 16 bits for floats, else as many as they have."""
    import numpy as np

    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32 if samples.dtype.itemsize <= 4 else np.float64)
        is_finite = np.isfinite(samples)
        strange = samples.size - int(np.count_nonzero(is_finite))
        if strange == samples.size:
            raise Unstorable("has no sample that is a finite number")
        if strange:
            notes.append(
                f"has {strange:,} samples that are NaN or infinite among its {samples.size:,}; they are silent"
            )
            samples = np.where(is_finite, samples, 0)
        loudest = float(np.abs(samples).max())
        if loudest > 1:
            notes.append(f"has samples up to {loudest:g}; what is beyond -1 to 1 is cut off")
        kept = (samples.clip(-1, 1) * 32767).round().astype("<i2")
    elif samples.dtype.kind == "b":
        raise Unstorable("has samples that are bools; numbers are needed")
    elif samples.dtype == np.uint8 or samples.dtype.itemsize in (2, 4):
        if samples.dtype.kind == "u" and samples.dtype.itemsize > 1:  # WAV has signs from 16 bits on
            half = 1 << (8 * samples.dtype.itemsize - 1)
            samples = (samples.astype(np.int64) - half).astype(f"<i{samples.dtype.itemsize}")
        kept = samples.astype(samples.dtype.newbyteorder("<"))
    elif samples.dtype == np.int8:
        kept = (samples.astype(np.int16) + 128).astype(np.uint8)
    else:  # 64 bits: what they are meant to be is anybody's guess
        low, high = int(samples.min()), int(samples.max())
        if low < -32768 or high > 32767:
            raise Unstorable(f"has samples of 64 bits from {low} to {high}; give floats from -1 to 1, or 16 bits")
        kept = samples.astype("<i2")
    return np.ascontiguousarray(kept)
