"""TensorBoard: what its writers write, under its tags, at its steps and times.

Writers of torch and tensorboardX are seen where they take an event, each value once and at once. `tf.summary` writes
behind Python's back: its files are read while they grow.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import tracker

from . import INTEGRATIONS, _own_loop, patching
from ._tensorboard_events import number, values_of
from ._tensorboard_files import Folder, Follower, event_files
from ._tensorboard_names import Names
from .base import training

_WRITERS = ("tensorboard.summary.writer.event_file_writer", "tensorboardX.event_file_writer")
_SUMMARIES = "tensorflow.python.ops.gen_summary_ops"
_MAX_FRAMES = 60
_APART = ("torch", "tensorboard", "accelerate", "diffusers", "gymnasium")  # part of loops that the user has written

_syncs: dict[str, Sync] = {}  # by run id
_wish: list[str | None] = []  # what `patch` was told: the root
_routes: weakref.WeakKeyDictionary[Any, tuple[Sync, str]] = weakref.WeakKeyDictionary()  # known until something changes
_of_frameworks: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


class Sync:
    """What is written for TensorBoard, on its way into one run.

    Args:
        run: The run.
        root: The folder that names begin in.
    """

    def __init__(self, run: tracker.Run, root: str | None = None) -> None:
        self.run = run
        self.names = Names(root)
        self._plugins: dict[str, dict[str, str]] = {}
        self.is_asked = False  # by the user, for this run: then it takes all
        self.follower = Follower(self.take, lambda sentence: tracker.termwarn(sentence, repeat=False))
        run.on_finish(self.end)

    def end(self) -> None:
        """Read what is still to be read."""
        self.follower.end()
        _syncs.pop(self.run.id, None)
        _routes.clear()

    @tracker.guarded
    def take(self, logdir: str, event: Any) -> None:
        """Log what an event says."""
        values = event.summary.value
        if len(values) == 1 and values[0].WhichOneof("value") == "simple_value":  # nearly all of them are
            key, value = self.names.of(logdir, values[0].tag), number(values[0].simple_value)
            self.run.log_at({key: value}, event.step, event.wall_time or None)
            return
        self.names.see(logdir)
        for tag, value, config in values_of(event, self._plugins.setdefault(logdir, {})):
            if config is not None:
                self.names.is_of_hparams(logdir)
                known = self.run.config.get("hparams")
                merged = {**known, **config} if isinstance(known, dict) else config
                self.run.config.update({"hparams": merged}, allow_val_change=True)
            else:
                self.run.log_at({self.names.of(logdir, tag): value}, event.step, event.wall_time or None)


def begin(run: tracker.Run, settings: Any) -> None:
    """Log what is written for TensorBoard to a run: `tracker.init(sync_tensorboard=True)`."""
    _sync_of(run).is_asked = True
    _routes.clear()
    _install()


def patch(
    save: bool | None = None, tensorboard_x: bool | None = None, pytorch: bool | None = None, root_logdir: str = ""
) -> None:
    """Log what is written for TensorBoard to the run that is open; W&B's name and arguments.

    Args:
        save: Accepted as in W&B.
        tensorboard_x: Accepted as in W&B: all writers are seen.
        pytorch: Accepted as in W&B.
        root_logdir: The folder that names begin in: values of a writer in `<root>/train` begin with "train/".

    Example:
        tracker.tensorboard.patch(root_logdir="runs")
        run = tracker.init(project="digits")
    """
    _wish[:] = [root_logdir or None]
    _routes.clear()
    _install()


def unpatch() -> None:
    """Undo `patch`, and log nothing more of what is written."""
    _wish.clear()
    _syncs.clear()
    _routes.clear()
    for name in _modules():
        _waiting().pop(name, None)
    if not patching.is_autologging("tensorboard"):
        patching.unwrap("tensorboard")


def log(tf_summary_str_or_pb: Any, step: int | None = None, namespace: str = "", **ignored: Any) -> None:
    """Log a summary of TensorBoard's, as it is or serialised, to the run that is open; W&B's name and arguments.

    Args:
        tf_summary_str_or_pb: A `Summary`, or its bytes.
        step: Where it belongs; the run's next step without it.
        namespace: Goes before the tags.
        ignored: Arguments of older days.

    Raises:
        UsageError: No run is open.
    """
    run = tracker.run
    if run is None:
        raise tracker.UsageError("tracker.tensorboard.log needs a run, and none is open. Begin one: tracker.init()")
    if isinstance(tf_summary_str_or_pb, bytes):
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary.FromString(tf_summary_str_or_pb)
    else:
        summary = tf_summary_str_or_pb
    event = type("Event", (), {"summary": summary})()
    row = {one.tag: one.value for one in values_of(event, {}) if one.config is None}
    run.log({f"{namespace}/{tag}" if namespace else tag: value for tag, value in row.items()}, step=step)


def load(logdir: str | os.PathLike[str], run: tracker.Run | None = None, **arguments: Any) -> tracker.Run:
    """Log what event files of earlier trainings say, those of all folders below included.

    Args:
        logdir: The folder; names begin in it.
        run: Log to this run; it stays open. Without one, a run is begun and ended.
        arguments: Of `tracker.init`, for a run that is begun: `project`, `name`, ...

    Returns:
        The run.

    Raises:
        UsageError: There is no event file.

    Example:
        for folder in Path("runs").iterdir():
            tracker.tensorboard.load(folder, project="digits", name=folder.name)
    """
    root = os.path.abspath(os.fspath(logdir))
    folders = sorted(folder for folder, _, _ in os.walk(root) if event_files(folder))
    if not folders:
        raise tracker.UsageError(f"there is no event file of TensorBoard's in {root}, nor in a folder below it.")
    into = run or tracker.init(**{"reinit": "create_new", **arguments})
    sync = Sync(into, root)
    for folder in folders:
        Folder(folder, set()).read(sync.take)
    if run is None:
        into.finish()
    return into


# --- where events come by ------------------------------------------------------------------


def _autolog(module: ModuleType) -> None:
    """See what writers write; called with the modules of `_WRITERS`, and with TensorFlow's summary operations."""
    if module.__name__ == _SUMMARIES:
        patching.wrap(module, "create_summary_file_writer", _around_create, "tensorboard", always=True)
    else:
        patching.wrap(module.EventFileWriter, "add_event", _around_add_event, "tensorboard", always=True)


def _modules() -> tuple[str, ...]:
    return (*_WRITERS, _SUMMARIES)


def _waiting() -> dict[str, tuple[Callable[[ModuleType], None], ...]]:
    found: dict[str, tuple[Callable[[ModuleType], None], ...]] = getattr(
        sys.modules.get("_tracker_hook"), "waiting", {}
    )
    return found


def _install() -> None:
    for name in _modules():
        _waiting()[name] = (_autolog,)  # for who imports it later
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            _autolog(module)


def _around_add_event(original: Callable[..., Any], writer: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
    done = original(writer, event, *args, **kwargs)
    _take(writer, event)
    return done


@tracker.guarded
def _take(writer: Any, event: Any) -> None:
    route = _routes.get(writer)
    if route is not None:
        route[0].take(route[1], event)
        return
    is_framework_s = _of_frameworks.get(writer)
    if is_framework_s is None:
        is_framework_s = _of_frameworks[writer] = _is_made_by_framework()
    sync = _sync(is_framework_s, opens=event.HasField("summary"))
    if sync is not None:
        logdir = str(writer.get_logdir())
        sync.follower.pass_over(logdir, _file_of(writer))
        if sync.is_asked and len(_syncs) == 1:
            _routes[writer] = (sync, logdir)
        sync.take(logdir, event)


def _around_create(original: Callable[..., Any], writer: Any, *args: Any, **kwargs: Any) -> Any:
    logdir = _text_of(kwargs.get("logdir", args[0] if args else None))
    before = None if logdir is None else event_files(logdir)
    done = original(writer, *args, **kwargs)
    if logdir is not None and before is not None:
        _follow(writer, logdir, before)
    return done


@tracker.guarded
def _follow(writer: Any, logdir: str, before: set[str]) -> None:
    sync = _sync(_is_made_by_framework(), opens=True)
    if sync is None:
        return
    if "://" in logdir:
        tracker.termwarn(
            f"tf.summary writes to {logdir}, which is not on this disk and is not followed. Write to a local folder.",
            repeat=False,
        )
        return
    flush = sys.modules[_SUMMARIES].flush_summary_writer
    sync.names.see(logdir)
    sync.follower.follow(logdir, before, lambda: flush(writer=writer))


def _sync(is_framework_s: bool, *, opens: bool) -> Sync | None:
    """Answer where an event goes: into a run that has asked for it, or that of the loop that has written it."""
    run = tracker.run
    if run is not None and not run.disabled:
        sync = _syncs.get(run.id)
        if sync is not None:
            return sync
        if _wish:
            return _sync_of(run)
    for sync in reversed(list(_syncs.values())):  # of a run that is open, but not the current one
        if sync.run.state == "running":
            return sync
    if is_framework_s or not patching.is_autologging("tensorboard"):
        return None
    around = training()
    if around is not None and around.framework not in _own_loop.OPEN:
        return None
    run = _own_loop.begin() if opens else None
    return None if run is None else _sync_of(run)


def _sync_of(run: tracker.Run) -> Sync:
    if run.id not in _syncs:
        _routes.clear()
        _syncs[run.id] = Sync(run, _wish[0] if _wish else None)
    return _syncs[run.id]


def _is_made_by_framework() -> bool:
    """Answer whether a writer is being made by a framework whose trainings log by themselves: no need to do it twice."""
    names = {
        module.partition(".")[0]: one.name for one in INTEGRATIONS if one.name not in _APART for module in one.autolog
    }
    frame = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name in names and patching.is_autologging(names[name]):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


def _file_of(writer: Any) -> str:
    inner = getattr(writer, "_ev_writer", writer)
    return str(getattr(inner, "_file_name", ""))


def _text_of(logdir: Any) -> str | None:
    """Answer a folder that TensorFlow was given; None in a graph, where it is not known yet."""
    if isinstance(logdir, str):
        return logdir
    numpy = getattr(logdir, "numpy", None)
    if numpy is None:
        return None
    try:
        value = numpy()
    except Exception:  # symbolic
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
