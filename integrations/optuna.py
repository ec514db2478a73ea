"""Optuna: a study as one run, with a row and a table of its trials; each trial as a run of its own where that is asked for.

The study's run is not the current one while its trials work: what a trial logs, or trains, is the trial's. So values of
many trials never pile up in one run.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import tracker

from . import patching
from ._optuna_study import FRAMEWORK, Study, reporting
from .base import Session, require

_YES = ("1", "true", "yes", "on")

# study -> the callback that autologging has made for it
_by_study: weakref.WeakKeyDictionary[Any, TrackerCallback] = weakref.WeakKeyDictionary()


class TrackerCallback:
    """Log a study: `study.optimize(objective, callbacks=[TrackerCallback()])`.

    Args:
        metric_name: What the value is called; a list of names where there are several. One name for several values
            is numbered: `value_0`, `value_1`.
        tracker_kwargs: Of `tracker.init`, as W&B's `wandb_kwargs`.
        as_multirun: Open a run for each trial as well, of the same group: what the objective logs goes there. Without
            it only those trials have one in which something is trained that logs by itself.
        run: The study's run; it stays open. Without one the current run is taken, or one is opened.
        arguments: Of `tracker.init`, for runs that have to be opened.

    Example:
        callback = TrackerCallback(metric_name="accuracy", project="digits")
        study.optimize(objective, n_trials=20, callbacks=[callback])
    """

    def __init__(
        self,
        metric_name: str | Sequence[str] = "value",
        tracker_kwargs: Mapping[str, Any] | None = None,
        as_multirun: bool = False,
        *,
        run: tracker.Run | None = None,
        **arguments: Any,
    ) -> None:
        self._metric_name = metric_name
        self._as_multirun = as_multirun
        self._run = run
        self._arguments = {**(tracker_kwargs or {}), **arguments}
        self._studies: weakref.WeakKeyDictionary[Any, Study] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        _patch(require("optuna.study.study"))

    @tracker.guarded
    def __call__(self, study: Any, trial: Any) -> None:
        """Log a trial that has ended; Optuna calls this, in the thread that has run it."""
        self._of(study).add(trial)

    def track_in_trial(self) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Decorate an objective: each trial has a run of its own, which is the current one for what it logs.

        Example:
            @callback.track_in_trial()
            def objective(trial):
                x = trial.suggest_float("x", -10, 10)
                tracker.log({"distance": x - 2})
                return (x - 2) ** 2
        """

        def decorate(objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
            @functools.wraps(objective)
            def tracked(trial: Any) -> Any:
                return self._of(trial.study).run_trial(objective, trial, is_wanted=True)

            tracked.__tracker_trials__ = True  # type: ignore[attr-defined]
            return tracked

        return decorate

    track_in_wandb = track_in_trial  # for scripts that import tracker as wandb

    def _of(self, study: Any) -> Study:
        with self._lock:
            known = self._studies.get(study)
            if known is None:
                arguments = {"job_type": "study", **_group_of(study), **self._arguments}
                session = Session(FRAMEWORK, self._run, **arguments)
                known = self._studies[study] = Study(study, session, self._metric_name, self._arguments)
            return known

    def optimize(self, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call what `Study.optimize` calls, and end what was begun for it.

        Args:
            original: Optuna's.
            arguments: Its arguments by name.
        """
        ours = self._of(arguments["study"])
        objective = arguments["func"]
        if not getattr(objective, "__tracker_trials__", False):
            arguments["func"] = functools.partial(ours.run_trial, objective, is_wanted=self._as_multirun)
        ours.begin()
        try:
            answer = original(**arguments)
        except BaseException as error:
            ours.fail(error)
            raise
        ours.end()
        return answer


# --- by itself -------------------------------------------------------------------------------


def _autolog(study: ModuleType) -> None:
    """Log every study; called with `optuna.study.study` once it is loaded, where autologging is asked for."""
    _patch(study)


def _patch(study: ModuleType) -> None:
    # What `Study.optimize` calls, since `study.optimize(f, callbacks=[TrackerCallback()])` has looked that up before
    # the callback is there. And always, as far as patching is concerned: a callback of the user's is told, too.
    patching.wrap(study, "_optimize", _around_optimize, FRAMEWORK, always=True)
    patching.wrap(study.Study, "tell", _around_tell, FRAMEWORK)
    patching.wrap(require("optuna.trial").Trial, "report", _around_report, FRAMEWORK, always=True)


def _around_optimize(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    callbacks = list(given.get("callbacks") or ())
    ours = next((callback for callback in callbacks if isinstance(callback, TrackerCallback)), None)
    if ours is None:
        if not patching.is_autologging(FRAMEWORK):
            return original(*args, **kwargs)
        ours = _made_for(given["study"])
        callbacks.append(ours)
    return ours.optimize(original, {**given, "callbacks": callbacks})


def _around_tell(original: Callable[..., Any], study: Any, *args: Any, **kwargs: Any) -> Any:
    """A trial that the user has asked for and tells of: there is no end to such a study but that of the program."""
    trial = original(study, *args, **kwargs)
    with tracker.guard("a trial that Optuna was told of"):
        _made_for(study)(study, trial)
    return trial


def _made_for(study: Any) -> TrackerCallback:
    callback = _by_study.get(study)
    if callback is None:
        wish = os.environ.get("TRACKER_OPTUNA_TRIAL_RUNS", "").strip().lower()
        callback = _by_study[study] = TrackerCallback(as_multirun=wish in _YES)
    return callback


def _group_of(study: Any) -> dict[str, Any]:
    """Answer what unites the runs of a study, those of its other processes too; nothing where the user has said it."""
    if os.environ.get("TRACKER_RUN_GROUP") or os.environ.get("TRACKER_GROUP"):
        return {}
    name = str(study.study_name)
    return {"group": f"study-{name[-8:]}" if name.startswith("no-name-") else name}


def _around_report(original: Callable[..., Any], trial: Any, value: Any, step: Any) -> Any:
    answer = original(trial, value, step)
    session, name = reporting.get(id(trial), (None, ""))
    if session is not None and session.opened is not None:
        session.log({name: float(value)}, step=step)
    return answer
