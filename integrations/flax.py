"""JAX and Flax: a writer of metrics in the shape of `clu.metric_writers.MetricWriter`.

    writer = TrackerWriter(project="digits")
    writer.write_scalars(step, {"loss": loss})

Values stay on their device: nothing here waits for them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import tracker

from .base import Session


class TrackerWriter:
    """Write metrics, pictures, sounds, films, texts and histograms to a run.

    It has the methods of clu's writers, and can stand among them (`MultiWriter`, `AsyncWriter`); clu is not needed. What
    is written may be arrays of JAX that are not computed yet: the training goes on, and they are read when they are
    there. Processes other than the first write nothing.

    Args:
        run: Write to this run; otherwise to the one that is open, or to one that is begun with the first thing written.
        init: Arguments of `tracker.init`, for a run that is begun.

    Example:
        with TrackerWriter(project="digits") as writer:
            writer.write_hparams({"learning_rate": 1e-3})
            writer.write_scalars(1, {"train/loss": loss})
    """

    def __init__(self, run: Any = None, **init: Any) -> None:
        self._session = Session("flax", run, **init)
        self._is_closed = False
        interface = sys.modules.get("clu.metric_writers.interface")
        if interface is not None:  # `isinstance(writer, MetricWriter)` holds where somebody may ask
            interface.MetricWriter.register(TrackerWriter)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Write numbers."""
        self._log(step, scalars)

    @tracker.guarded
    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Write pictures, each (height, width, channels) or (count, height, width, channels)."""
        self._log(step, {name: _each(image, 3, tracker.Image) for name, image in images.items()})

    @tracker.guarded
    def write_videos(self, step: int, videos: Mapping[str, Any]) -> None:
        """Write films, each (time, height, width, channels) or (count, time, height, width, channels)."""
        self._log(step, {name: _each(video, 4, _film) for name, video in videos.items()})

    @tracker.guarded
    def write_audios(self, step: int, audios: Mapping[str, Any], *, sample_rate: int) -> None:
        """Write sounds, each (count, time, channels), of so many samples a second."""

        def sound(samples: Any) -> Any:
            return tracker.Audio(samples, sample_rate=sample_rate)

        self._log(step, {name: _each(audio, 2, sound) for name, audio in audios.items()})

    @tracker.guarded
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._log(step, {name: tracker.Text(str(text)) for name, text in texts.items()})

    @tracker.guarded
    def write_histograms(
        self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """Write how the values of arrays are distributed."""
        bins = num_buckets or {}
        self._log(
            step,
            {name: tracker.Histogram(array, num_bins=bins.get(name) or 64) for name, array in arrays.items()},
        )

    @tracker.guarded
    def write_summaries(self, step: int, values: Mapping[str, Any], metadata: Any = None) -> None:
        """Write arrays of any kind: single numbers as they are, others as histograms."""
        self._log(step, {name: _any(value) for name, value in values.items()})

    @tracker.guarded
    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Put hyperparameters into the config, as `args`."""
        if self._is_open():
            self._session.configure("args", dict(hparams))

    @tracker.guarded
    def flush(self) -> None:
        """Wait until all that was written is on disk."""
        if self._session.run is not None:
            self._session.run.flush()

    @tracker.guarded
    def close(self) -> None:
        """Write the rest, and end the run if it was begun here."""
        self._is_closed = True
        self._session.end()

    def __enter__(self) -> TrackerWriter:
        """Answer the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close it; a run that was begun here has failed if an exception passes."""
        if error is not None:
            self._session.fail(error)
        self.close()

    @tracker.guarded
    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        if self._is_open():
            self._session.log(row, step=int(step))

    def _is_open(self) -> bool:
        if self._session.run is None and not self._is_closed:
            self._session.begin()
        return self._session.run is not None


def _each(array: Any, dimensions: int, make: Any) -> Any:
    """Answer one medium, or a list of them where there is an axis more; slices of JAX's arrays wait for nothing."""
    if len(getattr(array, "shape", ())) <= dimensions:
        return make(array)
    return [make(array[place]) for place in range(array.shape[0])]


def _film(frames: Any) -> Any:
    return tracker.Video(frames.transpose(0, 3, 1, 2))  # channels first, as our films have them


def _any(value: Any) -> Any:
    shape: Sequence[int] = getattr(value, "shape", ())
    return value if not shape else tracker.Histogram(value)
