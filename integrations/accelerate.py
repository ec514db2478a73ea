"""Accelerate: `Accelerator(log_with="tracker")`, and `TrackerTracker` for who makes it by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from . import patching
from .base import Session, require

_NAME = "tracker"
_EXTRA: dict[str, Any] = {}  # the class, once made: it derives from accelerate's


def __getattr__(name: str) -> Any:
    if name != "TrackerTracker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _class(require("accelerate.tracking"))


if TYPE_CHECKING:
    from tracker import Run

    class TrackerTracker:
        """Logs to a run what an `Accelerator` is given to log; made of accelerate's `GeneralTracker` at first use.

        Args:
            run_name: The project, as `init_trackers(project_name)` hands it on.
            run: Log to this run; it stays open.
            arguments: Of `tracker.init`: `init_trackers(..., init_kwargs={"tracker": {"id": "abc", "resume": "must"}})`.

        Example:
            accelerator = Accelerator(log_with="tracker")
            accelerator.init_trackers("digits", config={"lr": 0.1})
            accelerator.log({"loss": 0.5}, step=1)
            accelerator.end_training()
        """

        def __init__(self, run_name: str | None = None, run: tracker.Run | None = None, **arguments: Any) -> None: ...


def _class(tracking: ModuleType) -> Any:
    if "class" in _EXTRA:
        return _EXTRA["class"]
    on_main_process: Callable[[Any], Any] = tracking.on_main_process
    guarded = tracker.guarded  # within the class `tracker` is the run

    class TrackerTracker(tracking.GeneralTracker):  # type: ignore[name-defined]
        """Logs to a run what an `Accelerator` is given to log."""

        name = _NAME
        requires_logging_directory = False
        main_process_only = True

        def __init__(self, run_name: str | None = None, run: tracker.Run | None = None, **arguments: Any) -> None:
            super().__init__()
            self.run_name = run_name
            self.session = Session("accelerate", run, **({"project": run_name, **arguments} if run_name else arguments))

        @property
        def tracker(self) -> Any:
            """The run; None before `start`, and on other processes than the main one."""
            return self.session.run

        @guarded
        @on_main_process
        def start(self) -> None:
            """Begin the run; `Accelerator.init_trackers` calls it when the processes know of each other."""
            self.session.begin()

        @guarded
        @on_main_process
        def store_init_configuration(self, values: Mapping[str, Any]) -> None:
            """Put values into the config."""
            run = self._open_run()
            if run is not None:
                run.config.update(dict(values), allow_val_change=True)

        @guarded
        @on_main_process
        def log(self, values: Mapping[str, Any], step: int | None = None, **options: Any) -> None:
            """Log a row; `options` are those of `Run.log`."""
            run = self._open_run()
            if run is not None:
                run.log(values, step=step, **options)

        @guarded
        @on_main_process
        def log_images(self, values: Mapping[str, Any], step: int | None = None, **options: Any) -> None:
            """Log images by name: for each a list of arrays or pictures, or one array with a first axis more.

            `caption` in `options` may be a text, or one for each; what else there is goes to `tracker.Image`.
            """
            run = self._open_run()
            if run is None:
                return
            captions = options.pop("caption", None)
            row: dict[str, list[tracker.Image]] = {}
            for name, images in values.items():
                row[name] = [
                    tracker.Image(one, caption=_of(captions, place), **options) for place, one in enumerate(images)
                ]
            run.log(row, step=step)

        @guarded
        @on_main_process
        def log_table(
            self,
            table_name: str,
            columns: Sequence[str] | None = None,
            data: Sequence[Sequence[Any]] | None = None,
            dataframe: Any = None,
            step: int | None = None,
            **options: Any,
        ) -> None:
            """Log a table, of columns and rows or of a DataFrame; each step's stays."""
            run = self._open_run()
            if run is None:
                return
            if dataframe is not None:
                table = tracker.Table(dataframe=dataframe)
            else:
                table = tracker.Table(columns=columns, data=data, allow_mixed_types=True)
            run.log({table_name: table}, step=step, **options)

        @guarded
        @on_main_process
        def finish(self) -> None:
            """End the run, if it was begun here."""
            self.session.end()

        def _open_run(self) -> Run | None:
            if self.session.run is None and not self.session.has_begun:  # made by hand, and `start` never called
                self.session.begin()
            return self.session.run

    TrackerTracker.__module__, TrackerTracker.__qualname__ = __name__, "TrackerTracker"
    _EXTRA["class"] = TrackerTracker
    return TrackerTracker


def _of(captions: Any, place: int) -> str | None:
    if captions is None or isinstance(captions, str):
        return captions
    return str(captions[place]) if place < len(captions) else None


# --- the name ------------------------------------------------------------------------------


def _hook(tracking: ModuleType) -> None:
    """Make "tracker" known; called with `accelerate.tracking`."""
    made = _class(tracking)
    if tracking.LOGGER_TYPE_TO_CLASS.get(_NAME) is not made:
        register = getattr(tracking, "register_tracker_class", None)
        if register is not None:
            register(made)
        else:  # before 1.14
            tracking.LOGGER_TYPE_TO_CLASS[_NAME] = made
    if _NAME not in tracking._available_trackers:
        tracking._available_trackers.append(_NAME)  # for log_with="all"
    for module in (tracking, sys.modules.get("accelerate.accelerator")):  # that one has it by its own name
        if module is not None and hasattr(module, "filter_trackers"):
            patching.wrap(module, "filter_trackers", _around_filter, "accelerate", lasting=True)


def _around_filter(original: Callable[..., list[Any]], log_with: Any = None, *args: Any, **kwargs: Any) -> list[Any]:
    """Let "tracker" through where accelerate knows only names of its own, and add it where it is autologged."""
    asked = list(log_with) if isinstance(log_with, (list, tuple)) else [] if log_with is None else [log_with]
    others = [one for one in asked if not (isinstance(one, str) and one == _NAME)]
    found = original(others or None, *args, **kwargs)
    is_wanted = len(others) < len(asked) or patching.is_autologging("accelerate")
    is_there = any(one == _NAME or getattr(one, "name", None) == _NAME for one in found)
    return [*found, _NAME] if is_wanted and not is_there else list(found)
