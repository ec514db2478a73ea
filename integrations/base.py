"""What all integrations stand on: which run a training logs to, and who ends it.

An integration makes a `Session` for each training, calls `begin` when the training begins, `log` and its like while it
goes on, and `pause` or `fail` when it is over. Everything else is the framework's own: its hooks, its words, its steps.

Nothing here raises into a training, except under `TRACKER_STRICT=1`; and nothing here imports a framework.
"""

from __future__ import annotations

import functools
import importlib
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import tracker

from . import INTEGRATIONS
from ._models import AUTO_CHECKPOINT_BYTES, NO, model_choice, watch_choice
from ._telling import MAX_CELL_CHARS, Telling

__all__ = [
    "AUTO_CHECKPOINT_BYTES",
    "EVAL_ROWS",
    "MAX_CELL_CHARS",
    "NO",
    "Session",
    "is_within_training",
    "model_choice",
    "require",
    "sample_rows",
    "training",
    "watch_choice",
]

EVAL_ROWS = 100
"""Rows of a table of predictions, for each evaluation."""
_ID_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"

_training: list[Session] = []  # sessions whose training goes on, the innermost last
_owned: dict[str, Session] = {}  # by run id: who has opened it
_beginning = threading.RLock()  # between looking for a run and being known as a training, no other thread looks


class Session(Telling):
    """One training's hold on a run.

    Making one has no effect: it can stand in a constructor, and be pickled or copied; a copy goes on with the same run
    in another process. The run is opened by `begin`, on rank 0 alone, unless there is one already: that of the training
    around this one, or the one the user has opened. A session ends only a run that it has opened.

    Args:
        framework: As it is imported: "xgboost".
        run: Log to this run and no other.
        spreads: Other threads work for this training: what trains in them is part of it.
        arguments: Of `tracker.init`, for a run that has to be opened: `project`, `name`, `group`, `config`, ...
    """

    def __init__(
        self, framework: str, run: tracker.Run | None = None, *, spreads: bool = False, **arguments: Any
    ) -> None:
        self.framework = framework
        self.spreads = spreads
        self.arguments = arguments
        self._given = run
        self._run: tracker.Run | None = None
        self._thread = 0
        self._pid = os.getpid()
        self._went_on: dict[str, Any] = {}
        self._is_reserved = False  # the id there was only made up: no run bears it yet
        self._is_sampled = False  # as another rank: rank 0 has the run

    @property
    def run(self) -> tracker.Run | None:
        """The run, while it is open; None before `begin`, after its end, and where this process does not log."""
        run = self._run
        return run if run is not None and run.state == "running" else None

    @property
    def is_owner(self) -> bool:
        """Whether this session has opened its run, and so ends it."""
        return self.run is not None and _owned.get(self.run.id) is self

    @property
    def is_trial_with_run(self) -> bool:
        """Whether it is a trial of a search, and has a run: what is trained within is logged there."""
        return False

    @property
    def run_id(self) -> str | None:
        """The id of the run: of the one it has, had, or will have; None while that is open."""
        return self._run.id if self._run is not None else self._went_on.get("id") or self.arguments.get("id")

    @tracker.guarded
    def reserve(self, resume: tuple[str, int | None] | None = None) -> str | None:
        """Decide on the run's id before there is one, without any effect: for names of folders, and for other ranks.

        Args:
            resume: As for `begin`.

        Returns:
            The id; None where only `begin` can tell it (`resume="auto"`).
        """
        run = self.run or self._find()
        if run is not None:
            return run.id
        if resume is not None and self._may_resume(resume[0]):
            return resume[0]
        if self.run_id is None:
            self._make_up_id()
        return self.run_id

    @property
    def has_begun(self) -> bool:
        """Whether there has been a run, in this process, be it open or not."""
        return self._run is not None

    # --- the training's course ---------------------------------------------------------------

    @tracker.guarded
    def begin(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        nested: bool = True,
        own: bool = False,
        resume: tuple[str, int | None] | None = None,
    ) -> tracker.Run | None:
        """Begin the training, or go on with it: find its run, or open one.

        Args:
            config: Values by namespace: `{"args": {...}, "model": {...}}`.
            nested: Log also when another framework's training is going on around this one, or in a process above it.
            own: Open a run also where the user has one: for one trial of many. That one is the current one again when
                this one ends.
            resume: The run that a checkpoint belongs to, and the step it was written at: where a run has to be opened
                it is that one, and its rows behind that step are hidden.

        Returns:
            The run; None where this process or this training is not to log.
        """
        if not nested and (training(self) is not None or tracker.is_worker()):
            return None
        with _beginning:
            run = self.run or (self._given if own else self._find())
            if run is None and tracker.rank() == 0:
                run = (None if own else self._attach()) or self._open(resume)
            if tracker.rank() != 0 and not self._is_sampled:
                self._is_sampled = True
                tracker.sample_node(**{**self.arguments, "id": self.run_id})
            if run is None or run.disabled or tracker.rank() != 0:
                return None
            run.hold()
            self._run = run
            self._thread = threading.get_ident()
            if self not in _training:
                _training.append(self)
        for namespace, values in (config or {}).items():
            self.configure(namespace, values)
        return run

    @tracker.guarded
    def pause(self, *, wait: bool = True) -> None:
        """The training has come to its end. The run stays open for evaluations, until another run begins.

        Args:
            wait: Until all of it is on disk.
        """
        self._leave()
        run = self.run
        if run is not None:
            if wait:
                run.flush()
            if self.is_owner:
                run.release()

    @tracker.guarded
    def fail(self, error: BaseException) -> None:
        """The training ended with an exception: so does the run, if it is this session's."""
        self._leave()
        if self.is_owner and self.run is not None:
            run = self.run
            _owned.pop(run.id, None)
            run.__exit__(type(error), error, error.__traceback__)

    @tracker.guarded
    def end(self) -> None:
        """The training is over for good: end the run, if it is this session's."""
        self._leave()
        if self.is_owner and self.run is not None:
            run = self.run
            _owned.pop(run.id, None)
            run.finish()

    # --- whose run -----------------------------------------------------------------------------

    def _find(self) -> tracker.Run | None:
        """Answer the run that is there for this training; None where one has to be opened."""
        if self._given is not None:
            return self._given
        around = training(self)
        if around is not None:
            return around.run
        run = tracker.run
        if run is not None and run.disabled:  # so the user wants it; else each evaluation would open another
            return run
        if run is None or run.released:
            return None
        owner = _owned.get(run.id)
        if owner is not None and owner in _training and owner._thread != threading.get_ident():
            return None  # a training in another thread has it for itself
        return run

    def _attach(self) -> tracker.Run | None:
        """Answer the run of the process that has started this one; None where it has none, or this one has an id of its own."""
        run = tracker.attach(None if self._is_reserved else self.run_id, anywhere=False)
        if run is not None:
            self._went_on = {"id": run.id, "project": run.project, "entity": run.entity, "resume": "allow"}
            self._is_reserved = False
        return run

    def _open(self, resume: tuple[str, int | None] | None) -> tracker.Run | None:
        around = _around()
        arguments = {"reinit": "create_new", **around, **self.arguments, **self._went_on}
        if self._went_on and not self._is_reserved:  # it has begun already
            arguments.pop("fork_from", None)
            arguments.pop("resume_from", None)
        config = arguments.pop("config", None)
        run = None
        if resume is not None and self._may_resume(resume[0]):
            run = _resumed(resume, arguments)
        if run is None:
            run = tracker.init(**arguments)
        if config:
            run.config.update(config, allow_val_change=True)
        if around:
            from .ray import end_with_worker  # only in a process of Ray's

            end_with_worker(run)
        if not run.disabled:
            _owned[run.id] = self
            run.on_finish(functools.partial(_owned.pop, run.id, None))  # a program may have thousands
            self._went_on = {"id": run.id, "project": run.project, "entity": run.entity, "resume": "allow"}
            self._is_reserved = False
        return run

    def _may_resume(self, run_id: str) -> bool:
        """Answer whether nothing speaks for another run."""
        said = self.arguments.get("id") or (None if self._is_reserved else self._went_on.get("id"))
        return said in (None, run_id)

    def _make_up_id(self) -> None:
        if around := _around():
            self._went_on, self._is_reserved = around, True
            return
        chosen = tracker.Settings.resolved(resume=self.arguments.get("resume"))
        if chosen.run_id is None and chosen.resume in (True, "auto"):
            return
        where = {name: self.arguments.get(name) for name in ("entity", "project")}
        made_up = chosen.run_id or tracker.launched_id(**where)  # which is the same on all ranks
        self._went_on = {"id": made_up or _made_up()}
        self._is_reserved = True

    def _leave(self) -> None:
        if self in _training:
            _training.remove(self)
        run = self.run
        if run is not None and not any(session._run is run for session in _training):
            run.rest()

    # --- copies --------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_run": None, "_given": None, "_thread": 0}
        run = self._run or self._given or self._find()
        if run is not None and not run.disabled:
            state["_went_on"] = {"id": run.id, "project": run.project, "entity": run.entity, "resume": "allow"}
            state["_is_reserved"] = False
        elif self.run_id is None:  # all copies are to open the same one
            self._make_up_id()
            state["_went_on"], state["_is_reserved"] = self._went_on, self._is_reserved
        return state

    def __deepcopy__(self, memo: Any) -> Session:
        """Answer a session of its own: frameworks copy callbacks to train several models with them."""
        return Session(self.framework, self._given, spreads=self.spreads, **self.arguments)


def training(apart_from: Session | None = None) -> Session | None:
    """Answer the innermost training that is going on around the caller: in this thread, or spread over threads."""
    thread = threading.get_ident()
    for session in reversed(_training):
        if session is not apart_from and (session._thread == thread or session.spreads) and session.run is not None:
            return session
    return None


def is_within_training() -> bool:
    """Answer whether a training is going on around the caller, be it one that has no run, or none yet.

    A trial that has a run of its own is none: it is there for what is trained in it.
    """
    thread = threading.get_ident()
    return any((one._thread == thread or one.spreads) and not one.is_trial_with_run for one in _training)


def require(framework: str) -> ModuleType:
    """Import a framework.

    Raises:
        MissingFramework: It is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(framework)
    except ImportError as error:
        top = framework.partition(".")[0]
        known = {integration.name: integration for integration in INTEGRATIONS}
        package = known[top].distribution if top in known else top
        why = "" if isinstance(error, ModuleNotFoundError) and error.name == top else f" ({error})"
        raise tracker.MissingFramework(
            f"{top} is needed for this, and cannot be imported{why}. Install it: pip install {package}"
        ) from error


def sample_rows(count: int, limit: int = EVAL_ROWS) -> list[int]:
    """Answer which of `count` rows a table shows: all, or `limit` of them at even distances, the same each time."""
    if count <= limit:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def _around() -> dict[str, Any]:
    """Answer what a launcher says of the run that this process's trainings belong to: a trial, a restarted training."""
    if "ray" not in sys.modules:
        return {}
    from .ray import around  # only in a process of Ray's

    return around() or {}


def _resumed(resume: tuple[str, int | None], arguments: Mapping[str, Any]) -> tracker.Run | None:
    """Go on with the run of a checkpoint; None where it is not to be found here."""
    run_id, step = resume
    rest = {key: value for key, value in arguments.items() if key not in ("id", "resume")}
    try:
        if step is None:
            return tracker.init(id=run_id, resume="must", **rest)
        return tracker.init(resume_from=f"{run_id}?_step={step}", **rest)
    except tracker.RunInUse:
        # The program may be started twice, or a second one goes on from the first one's checkpoints.
        tracker.termwarn(
            f"the checkpoint belongs to run {run_id}, which another process is writing; this training is a run of its "
            f"own, forked from that one at step {step}."
        )
        return tracker.init(fork_from=f"{run_id}?_step={step}", id=_made_up(), **rest)
    except tracker.UsageError as error:
        # On another machine: under its own id a server makes one run of both.
        tracker.termwarn(f"the checkpoint belongs to run {run_id}, and what that has logged is not here ({error}).")
        return tracker.init(id=run_id, resume="allow", **rest)
    except tracker.TrackerError as error:
        tracker.termwarn(f"the checkpoint belongs to run {run_id}, which cannot be gone on with ({error}).")
        return None


def _made_up() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(8))


def _after_fork_in_child() -> None:
    global _beginning
    _beginning = threading.RLock()  # the parent's may be held by a thread that is not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
