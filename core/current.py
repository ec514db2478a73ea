"""The current run, and the module-level functions bound to it: `tracker.log`, `tracker.finish`, ..."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from .complaints import WARNING, Complaints, tell
from .errors import NoRun

if TYPE_CHECKING:
    from .run import Run

_open: list[Run] = []  # the runs of this process that have not ended; the last one is current


_confined: dict[int, int] = {}  # by the id of a run: the thread that alone may have it for the current one; 0: none


def current() -> Run | None:
    """Answer the current run, or None."""
    if not _confined:
        return _open[-1] if _open else None
    return next(reversed(reachable()), None)


def reachable() -> list[Run]:
    """Answer the runs that have not ended and are not confined to elsewhere, oldest first."""
    thread = threading.get_ident()
    return [run for run in _open if _confined.get(id(run), thread) == thread]


def confine(run: Run, thread: int | None) -> None:
    """Let one thread alone (0: none) have a run for the current one; None takes that back."""
    if thread is None or run not in _open:
        _confined.pop(id(run), None)
    else:
        _confined[id(run)] = thread


def open_runs() -> list[Run]:
    """Answer the runs that have not ended, oldest first."""
    return list(_open)


class confined:  # noqa: N801 - used as a statement
    """Confine the runs that this thread begins within, from their first moment: `with tracker.confined("thread"): ...`.

    Args:
        to: As for `Run.confine`.
    """

    def __init__(self, to: Literal["thread", "nowhere"]) -> None:
        self._to = to

    def __enter__(self) -> None:
        _wish.thread = 0 if self._to == "nowhere" else threading.get_ident()

    def __exit__(self, *_: object) -> None:
        _wish.thread = None


class _Wish(threading.local):
    thread: int | None = None


_wish = _Wish()


def enter(run: Run) -> None:
    """Make a run the current one."""
    if _wish.thread is not None:
        _confined[id(run)] = _wish.thread  # before anybody can see it
    _open.append(run)


def leave(run: Run) -> None:
    """Forget a run that has ended; the one opened before it is current again."""
    _confined.pop(id(run), None)
    if run in _open:
        _open.remove(run)


def needed(what: str) -> Run:
    """Answer the current run, or raise `NoRun` that says how to get one."""
    run = current()
    if run is None:
        raise NoRun(f"tracker.{what} needs a run, and none is open. Begin one first: run = tracker.init(project='…')")
    return run


def complain(key: str, sentence: str) -> None:
    """Say a sentence as one of the current run's, once for a key; without a run it is only told."""
    complaints = getattr(current(), "_complaints", None)
    if isinstance(complaints, Complaints):
        complaints.once(key, sentence)
    else:
        tell(sentence, level=WARNING)


def termwarn(string: str, repeat: bool = True, newline: bool = True) -> None:
    """Tell the user that something is not as it should be: on the console, through the `tracker` logger where it has handlers.

    Args:
        string: One sentence or more: what happened, with the value, what was expected, what to do.
        repeat: Say it again when it happens again, at most once a minute; else once for a run.
        newline: Accepted as in W&B.
    """
    complaints = getattr(current(), "_complaints", None)
    if not repeat:
        complain(f"termwarn {string}", string)
    elif isinstance(complaints, Complaints):
        complaints.say(string)
    else:
        tell(string, level=WARNING)


def log(data: Mapping[str, Any], step: int | float | None = None, commit: bool | None = None, **ignored: Any) -> None:
    """Log a row to the current run; see `Run.log`.

    Raises:
        NoRun: No run is open.
    """
    needed("log").log(data, step, commit, **ignored)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the current run; without one nothing happens. See `Run.finish`."""
    run = current()
    if run is not None:
        run.finish(exit_code, quiet)


def flush() -> None:
    """Have the current run on disk; see `Run.flush`."""
    needed("flush").flush()


def define_metric(name: str, *args: Any, **kwargs: Any) -> Any:
    """Say how a metric of the current run is shown; see `Run.define_metric`."""
    return needed("define_metric").define_metric(name, *args, **kwargs)


def alert(title: str, text: str = "", level: Any = "INFO", wait_duration: Any = None) -> None:
    """Leave a message for people in the current run; see `Run.alert`."""
    needed("alert").alert(title, text, level, wait_duration)


def watch(
    models: Any,
    criterion: Any = None,
    log: Literal["gradients", "parameters", "all"] | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
    *,
    by: Literal["parameter", "module"] = "parameter",
) -> None:
    """Record what happens inside torch models, in the current run; see `Run.watch`.

    On a rank without a run, the part it holds of a model that is spread over ranks is added to what another rank logs.

    Raises:
        NoRun: No run is open.
        UsageError: An argument cannot be used as given.
    """
    run = current()
    if run is None:
        from .capture.watch import take_part

        if take_part(models, criterion, log, log_freq, idx, log_graph, by):
            return
    needed("watch").watch(models, criterion, log, log_freq, idx, log_graph, by=by)


def unwatch(models: Any = None) -> None:
    """Record nothing more of models in the current run; see `Run.unwatch`."""
    if current() is None:
        from .capture.watch import take_no_part

        if take_no_part(models):
            return
    needed("unwatch").unwatch(models)


def mark_preempting() -> None:
    """Say that the current run's process is about to be stopped by its scheduler."""
    needed("mark_preempting").mark_preempting()
