"""Tables, texts, images, sounds and videos by a Lightning logger, as users of `WandbLogger` log them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tracker

from ._lightning_experiment import is_rank_zero


class MediaLogger:
    """What `TrackerLogger` has for values that are no numbers."""

    if TYPE_CHECKING:

        def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
            """Log a row."""

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table, given by columns and rows or as a data frame."""
        if is_rank_zero():
            table = tracker.Table(
                columns=None if columns is None else list(columns),
                data=None if data is None else list(data),
                dataframe=dataframe,
                allow_mixed_types=True,
            )
            self.log_metrics({key: table}, step)

    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log texts as a table."""
        self.log_table(key, columns, data, dataframe, step)

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log images: tensors, arrays, PIL images or paths; further arguments are lists, one item for each image."""
        self._log_media(tracker.Image, "images", key, images, step, kwargs)

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log sounds: arrays or paths; further arguments are lists, one item for each sound."""
        self._log_media(tracker.Audio, "audios", key, audios, step, kwargs)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log videos: arrays or paths; further arguments are lists, one item for each video."""
        self._log_media(tracker.Video, "videos", key, videos, step, kwargs)

    def _log_media(
        self, kind: Any, what: str, key: str, items: Sequence[Any], step: int | None, lists: dict[str, Any]
    ) -> None:
        if not isinstance(items, list):
            raise TypeError(f"{what} is a {type(items).__name__}; give a list of them.")
        for name, values in lists.items():
            if len(values) != len(items):
                raise ValueError(f"{name} has {len(values)} items, and there are {len(items)} {what}.")
        if is_rank_zero():
            made = [kind(item, **{name: lists[name][at] for name in lists}) for at, item in enumerate(items)]
            self.log_metrics({key: made}, step)
