"""Gymnasium: the videos that `RecordVideo` and `VecVideoRecorder` make, each as `videos/<name>` once it is whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import tracker

from .base import training
from .patching import is_autologging, wrap

# As RecordVideo and stable-baselines3's recorder end their files' names.
_WHICH_ONE = re.compile(r"-(episode|step)-\d+(-to-step-\d+)?$")
_ENDINGS = (".mp4", ".webm", ".gif")


class VideoFolder:
    """A folder that videos are recorded into; those that lie there already are left alone.

    Args:
        path: The folder; it may come later.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._changed_ns = 0
        self._known = dict(self._files())

    def new(self) -> Iterator[tuple[str, str]]:
        """Answer the name and the path of each video that came, or was written anew, since the last time.

        Recorders write a video within the step that ends it, so what is there between two steps is whole.
        """
        for path, written_ns in sorted(self._files()):
            if self._known.get(path) != written_ns:
                self._known[path] = written_ns
                yield video_name(path), path

    def _files(self) -> Iterator[tuple[str, int]]:
        try:
            changed_ns = os.stat(self.path).st_mtime_ns
            if changed_ns == self._changed_ns:
                return
            entries = [entry for entry in os.scandir(self.path) if entry.name.endswith(_ENDINGS)]
        except FileNotFoundError:  # nothing was recorded yet
            return
        self._changed_ns = changed_ns
        for entry in entries:
            yield entry.path, entry.stat().st_mtime_ns


def video_name(path: str | os.PathLike[str]) -> str:
    """Answer the metric that a recorded video is logged as: "rl-video-episode-8.mp4" is "videos/rl-video"."""
    stem = os.path.splitext(os.path.basename(os.fspath(path)))[0]
    return f"videos/{_WHICH_ONE.sub('', stem)}"


def begin(run: tracker.Run, settings: Any) -> Callable[[], object] | None:
    """Log videos to a run that was begun with `monitor_gym=True`; answer what ends that.

    Args:
        run: The run.
        settings: Its settings.
    """
    if is_autologging("gymnasium"):
        return None
    tracker.autolog("gymnasium")
    return lambda: tracker.autolog("gymnasium", disable=True)


def _autolog(module: ModuleType) -> None:
    """`gymnasium.wrappers.rendering` was imported: log what its recorders write to the run that is open."""
    wrap(module.RecordVideo, "stop_recording", _logging_the_video, "gymnasium")


def _logging_the_video(original: Callable[[Any], None], recorder: Any) -> None:
    name = getattr(recorder, "_video_name", None)
    original(recorder)
    with tracker.guard("the video of an episode"):
        run = tracker.run
        path = os.path.join(recorder.video_folder, f"{name}.mp4")
        # A training that is going on around us looks into the folder itself, and knows the step.
        if run is not None and training() is None and os.path.exists(path):
            run.log({video_name(path): tracker.Video(path, caption=name)}, commit=False)
