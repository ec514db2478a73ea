"""A run: what the user holds while training, and the way of a row from `log` to the journal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import capture, ending, exits, family
from .artifacts.of_run import ArtifactsOfRun
from .clock import Clock, steady_reader
from .complaints import Complaints, is_strict, tell
from .config import Config
from .current import confine
from .deferred import DeferredRow, Waiting, defer
from .errors import TrackerError, UsageError
from .identity import IdentityOfRun
from .journal import Journal, StreamReader
from .keeper import Keeper
from .limits import FLUSH_MEDIA_SECONDS, MAX_STEP, MAX_VALUE_BYTES
from .metrics import Definitions
from .paths import RunPath
from .record import Kind, encode_control
from .summary import Summary
from .values import HasMedia, OnDevice, careful, encode, holds_media, plain

if TYPE_CHECKING:
    from types import TracebackType

    from .delivery import Delivery
    from .media.worker import MediaWorker
    from .sender import Sender
    from .uploads import Uploads

_ROW = int(Kind.ROW)
_LEVELS = ("INFO", "WARN", "ERROR")


class Run(IdentityOfRun, ArtifactsOfRun):
    """One training run, open for logging. Made by `tracker.init()`.

    Nothing here raises into the training loop once `init()` has returned, unless `TRACKER_STRICT=1`: a bad value is
    left out and said once. What raises is a call that cannot mean anything, such as a config value changed without
    `allow_val_change`.

    Example:
        with tracker.init(project="digits", config={"lr": 0.1}) as run:
            for epoch in range(3):
                run.log({"loss": 1 / (epoch + 1)})
    """

    def __init__(
        self,
        path: RunPath,
        folder: Path,
        fields: dict[str, Any],
        journal: Journal,
        clock: Clock,
        complaints: Complaints,
        config: Config,
        *,
        settings: Any = None,
        first_step: int = 0,
        is_resumed: bool = False,
        base_url: str | None = None,
        is_primary: bool = True,
    ) -> None:
        self.path_ = path
        self.folder = folder
        self.settings = settings
        self.resumed = is_resumed
        self._starting_step = first_step if is_primary else None
        self.start_time = clock.now_ns() / 1e9
        self._fields = fields
        self._journal = journal
        self._clock = clock
        self._complaints = complaints
        self._base_url = base_url
        self._is_primary = is_primary  # else another process says what the run is, and how it ends
        self._pid = os.getpid()
        self._state: str | None = None
        self._is_released = False
        self._is_ending = False  # what is to be done then is being done: it may still log, artifacts too
        self._ending = threading.RLock()
        self._on_end: list[Callable[[Run], None]] = []
        self._set_before: Mapping[str, Any] = {}  # in the summary, by earlier processes of the run
        self._captured: list[Callable[[], None]] = []  # what ends each part of `capture`
        self._alerted: dict[str, int] = {}
        self._definitions = Definitions()
        self._config = config
        self._summary = Summary(
            StreamReader(journal.folder).tail,
            lambda values, removed: self._record(Kind.SUMMARY, {"set": values, "remove": removed}),
            self._definitions,
            lambda values: self._log_media(values, None, clock.now_ns()),
        )
        self._keeper = Keeper(journal, clock, self._complete, complaints.say)
        self._sender: Sender | None = None
        self._delivery: Delivery | None = None  # that one, and what sends bytes
        self._media: MediaWorker | None = None  # made when the first medium is logged
        # The hot path: bound once, so that `log` looks nothing up twice.
        self._append: Callable[[int, bytes], int] = journal.append
        self._steady, self._offset = steady_reader(clock)
        self._auto = count(first_step)
        self._top: int | float = first_step - 1
        self._open_step: int | float | None = None

    # --- logging -------------------------------------------------------------------------

    def log(
        self, data: Mapping[str, Any], step: int | float | None = None, commit: bool | None = None, **ignored: Any
    ) -> None:
        """Log a row of values; when this returns they survive the death of the process.

        Args:
            data: Values by name. Numbers, texts, bools, None, dates, 0-d arrays and tensors; nested dicts become
                dotted names. Values on a device are fetched behind your back and never waited for.
            step: Where the row belongs: any int or float, in any order; rows of equal step are one when read. Without
                it the next one is taken.
            commit: False: the next call without a step adds to the same row. With a `step` given, the row stays open
                unless this is True, as in W&B.
            ignored: Arguments of older days (`sync`), accepted and without effect.

        Raises:
            UsageError: Only under `TRACKER_STRICT=1`, for what would otherwise be said and left out.
        """
        at: int | float | None = None
        time_ns = self._steady() + self._offset
        try:
            if step is None:
                at = self._open_step
                if at is None:
                    at = self._top = next(self._auto)
                    if commit is False:
                        self._open_step = at
                elif commit is not False:
                    self._open_step = None
            else:
                at = step if type(step) is int and -MAX_STEP <= step <= MAX_STEP else self._step(step)
                if at > self._top:
                    self._top = at
                    self._auto = count(int(at) + 1)
                self._open_step = None if commit else at
            if type(data) is not dict and not isinstance(data, Mapping):
                raise TypeError("not a dict")
            "".join(data)  # raises where a key is no text
            payload = encode((at, time_ns, data))
            if len(payload) > MAX_VALUE_BYTES:
                self._log_carefully(data, at, time_ns)
            else:
                self._append(_ROW, payload)
        except Exception as error:  # whatever a value's own methods may raise
            if exits.is_from_handler(error):  # the user's own signal handler (a timeout, say) wants out
                raise
            try:
                self._log_carefully(data, at, time_ns, error)
            except UsageError:  # only under strictness
                raise
            except Exception as fault:  # nothing we know of; but training must go on
                self._complaints.say(f"a row could not be kept ({type(fault).__name__}: {fault}).")

    def log_at(self, data: Mapping[str, Any], step: int | float, time: float | None = None) -> None:
        """Log a row at a step and a time of its own, for what was noted down elsewhere first.

        Other than `log`, it leaves alone the count of steps that rows without one go by. It may be called from any
        thread.

        Args:
            data: As for `log`.
            step: Where the row belongs.
            time: When it was noted, in seconds since the epoch; now without it.

        Raises:
            UsageError: Only under `TRACKER_STRICT=1`, for what would otherwise be said and left out.
        """
        time_ns = self._clock.now_ns() if time is None else int(time * 1e9)
        try:
            at = step if type(step) is int and -MAX_STEP <= step <= MAX_STEP else self._step(step)
        except Exception as error:  # whatever a value's own methods may raise
            self._leave_out("step", f"{error}; the row is left out")
            return
        try:
            "".join(data)  # raises where a key is no text
            payload = encode((at, time_ns, data))
            is_plain = len(payload) <= MAX_VALUE_BYTES
        except Exception:  # gone through value by value below
            is_plain = False
        try:
            if is_plain:
                self._append(_ROW, payload)
            else:
                self._log_carefully(data, at, time_ns)
        except UsageError:  # only under strictness
            raise
        except Exception as fault:
            self._complaints.say(f"a row could not be kept ({type(fault).__name__}: {fault}).")

    def _step(self, step: Any) -> int | float:
        """Answer a step given as anything but a small enough int, or raise."""
        number = float(step) if isinstance(step, float) else step.item() if hasattr(step, "item") else step
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number - number != 0:
            raise UsageError(f"is a {type(step).__name__} that is no finite number")
        if not -MAX_STEP <= number <= MAX_STEP:
            raise UsageError("is beyond 2**62")
        return number if isinstance(number, float) else int(number)

    def _log_carefully(self, data: Any, at: int | float | None, time_ns: int, error: Exception | None = None) -> None:
        if at is None:  # the step was bad: the row goes where one without a step would go
            self._leave_out("step", f"{error}; the next free step is used")
            at = self._top = next(self._auto)
        if not isinstance(data, Mapping):
            self._leave_out("log", f"takes a dict of values by name, got a {type(data).__name__}: log({{'loss': 0.1}})")
            return
        try:
            parts = careful(data, lambda part: encode((at, time_ns, part)), self._leave_out)
        except HasMedia:
            self._log_media(data, at, time_ns)
            return
        except OnDevice:
            self._defer(at, time_ns, data)
            return
        for payload in parts:
            self._append(_ROW, payload)

    def _log_media(self, data: Mapping[str, Any], at: int | float | None, time_ns: int) -> dict[Any, Any]:
        """Take the media out of a row, or out of values for the summary (then there is no step); answer the rest."""
        from .media.split import split  # only where there are media

        found = split(data)
        if found.rest and at is not None:  # numbers wait for nobody
            self._log_carefully(found.rest, at, time_ns)
        if found.media:
            self._media_worker().take(at, time_ns, found.media)
        for key, why in found.faults:
            self._leave_out(key, why)
        return found.rest

    def _media_worker(self) -> MediaWorker:
        if self._media is None or self._media.pid != os.getpid():  # a forked child has one of its own
            from .media.worker import MediaWorker

            self._media = MediaWorker(self)
        return self._media

    def _defer(self, at: int | float, time_ns: int, data: Mapping[str, Any]) -> None:
        if holds_media(data):  # these are taken now, not when the device has answered
            self._log_media(data, at, time_ns)
            return
        row = DeferredRow(at, time_ns, defer(data))
        if not self._keeper.defer(row):
            self._complete(row)

    def _complete(self, row: Waiting) -> None:
        """Write a deferred row; the keeper calls this when its values have arrived."""
        try:
            data = row.arrived()
        except Exception as error:  # the device has failed, or the value was deleted
            self._complaints.say(f"a row at step {row.step} could not be fetched from its device: {error}")
            return
        try:
            parts = careful(data, lambda part: encode((row.step, row.time_ns, part)), self._leave_out)
        except (UsageError, OnDevice, HasMedia) as error:  # in the keeper's thread there is nobody to raise to
            self._complaints.say(f"a row at step {row.step} could not be kept: {error}")
            return
        for payload in parts:
            self._journal.append(_ROW, payload)

    def _leave_out(self, key: str, why: str) -> None:
        sentence = f"{key!r} {why}."
        if is_strict():
            raise UsageError(sentence)
        self._complaints.once(f"{key}: {why[:60]}", sentence)

    def _refuse(self, _kind: int, _payload: bytes) -> int:
        sentence = f"the run {self.name!r} has ended, what is logged now is not kept. Begin another: tracker.init()"
        if is_strict():
            raise UsageError(sentence)
        self._complaints.once("ended", sentence)
        return 0

    def flush(self) -> None:
        """Wait until all that was logged is on disk: it then survives a power cut as well.

        Raises:
            StorageError: Only under `TRACKER_STRICT=1`: the disk does not confirm it.
        """
        if self._media is not None:
            self._media.flush(FLUSH_MEDIA_SECONDS)
        self._keeper.flush(timeout=60.0)
        try:
            self._journal.sync()
        except OSError as error:
            if is_strict():
                raise
            self._complaints.say(f"the disk does not confirm what was logged: {error}.")

    # --- what belongs to the run ---------------------------------------------------------

    @property
    def config(self) -> Config:
        """The run's hyperparameters: `run.config.lr`, `run.config["lr"]`, nested."""
        return self._config

    @property
    def summary(self) -> Summary:
        """One value per metric: the last one logged, or what you set, or what `define_metric` asks for."""
        return self._summary

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | Sequence[str] | None = None,
        overwrite: bool | None = None,
        goal: str | None = None,
    ) -> Any:
        """Say how a metric is to be shown and summed up.

        Args:
            name: The metric, or a pattern such as `val/*`.
            step_metric: The metric that is its x-axis.
            step_sync: Accepted as in W&B.
            hidden: Leave it out of the automatic charts.
            summary: Any of min, max, mean, last, first, best, copy, none; as text with commas, or a sequence.
            overwrite: Replace an earlier definition instead of adding to it.
            goal: "minimize" or "maximize": what `best` means.

        Raises:
            UsageError: An argument is none of these.
        """
        definition = self._definitions.define(name, step_metric, step_sync, hidden, summary, overwrite, goal)
        self._record(Kind.METRIC, definition.body())
        return definition

    def alert(self, title: str, text: str = "", level: Any = "INFO", wait_duration: Any = None) -> None:
        """Leave a message for people: shown in the run's page.

        Args:
            title: A few words.
            text: More of them.
            level: "INFO", "WARN" or "ERROR".
            wait_duration: Seconds (or a timedelta) within which the same title is not repeated.
        """
        name = str(getattr(level, "value", level)).upper()
        wait = wait_duration.total_seconds() if hasattr(wait_duration, "total_seconds") else float(wait_duration or 0)
        now = self._clock.now_ns()
        if now - self._alerted.get(title, -(10**18)) < wait * 1e9:
            return
        self._alerted[title] = now
        level = name if name in _LEVELS else "INFO"
        self._record(Kind.ALERT, {"title": plain(title, limit=1000), "text": plain(text, limit=10_000), "level": level})
        tell(f"{level.lower()}: {title}: {text}", is_silent=self._complaints.is_silent)

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
        *,
        by: Literal["parameter", "module"] = "parameter",
    ) -> None:
        """Record what happens inside torch models, whenever their optimizers step.

        Nothing is attached to the models, and the device is never waited for. `docs/capture.md` has the names.

        Args:
            models: A `torch.nn.Module`, or several in a list.
            criterion: The loss function; if it is a module with parameters, they are recorded with the first model's.
            log: "gradients", "parameters", "all", or None for neither.
            log_freq: At the first step of each optimizer, and at every so many steps from there.
            idx: The number of the first model: from 1 on, names begin with `graph_<number>/`. Counted without it.
            log_graph: Also keep the tree of modules, with shapes, parameters and operations, as `graph/model.json`.
            by: "module" records at most 64 modules of each model, without histograms, instead of each parameter.

        Raises:
            UsageError: An argument cannot be used as given, or is no torch module.
        """
        from .capture.watch import watch  # only who watches pays for it

        watch(self, models, criterion, log, log_freq, idx, log_graph, by)

    def unwatch(self, models: Any = None) -> None:
        """Record nothing more of models.

        Args:
            models: Those given to `watch`, or some of them; None means all.

        Raises:
            UsageError: It is no torch module.
        """
        from .capture.watch import unwatch

        unwatch(self, models)

    def log_code(
        self,
        root: str | os.PathLike[str] = ".",
        name: str | None = None,
        include_fn: Callable[..., bool] | None = None,
        exclude_fn: Callable[..., bool] | None = None,
    ) -> list[str]:
        """Keep the code of a folder with the run, as files under `code/files/`.

        Args:
            root: The folder.
            name: Also log them as an artifact of this name and of type "code", as W&B does: the same files are the
                same version.
            include_fn: Takes a path (and `root`, where it has two parameters) and answers whether the file is kept;
                by default Python files, requirements.txt, pyproject.toml and Dockerfile.
            exclude_fn: The same; what it excludes is left out even if `include_fn` wants it.

        Returns:
            The names of the files in the run; `.trackerignore`, secrets and caches left out.
        """
        from .capture.logged import log_code  # only where it is called for

        try:
            is_redacted = getattr(self.settings, "redact", None) is not False
            return log_code(self, root, os.getcwd(), is_redacted, include_fn, exclude_fn, name)
        except Exception as error:
            if is_strict():
                raise
            self._complaints.say(f"log_code({os.fspath(root)!r}) has kept nothing ({type(error).__name__}: {error}).")
            return []

    def mark_preempting(self) -> None:
        """Say that this process is about to be stopped by its scheduler, to be started again later."""
        self._set_fields(preempting=True)

    def _record(self, kind: Kind, body: dict[str, Any]) -> None:
        self._append(kind, encode_control(self._clock.now_ns(), body))

    def _set_fields(self, **fields: Any) -> None:
        self._fields.update(fields)
        self._record(Kind.RUN, fields)

    # --- how it stands, and who holds it -------------------------------------------------

    @property
    def step(self) -> int | float:
        """The step that the next `log` without one goes to."""
        return self._top + 1 if self._open_step is None else self._open_step

    @property
    def starting_step(self) -> int:
        """The first step behind what processes before this one had logged; those beside it, until this is first asked."""
        if self._starting_step is None:
            from .resume import reached_by_others  # only who writes to another process's run needs it

            self._starting_step = reached_by_others(self.folder, self._journal.id) + 1
        return self._starting_step

    @property
    def offline(self) -> bool:
        """Whether nothing is sent to a server while the run goes on."""
        return self._sender is None

    @property
    def disabled(self) -> bool:
        """Whether this run keeps nothing: never so for a real one."""
        return False

    @property
    def state(self) -> str:
        """`running`, or how the run ended."""
        return self._state or "running"

    @property
    def released(self) -> bool:
        """Whether `release` was called, and nobody has taken hold of the run since."""
        return self._is_released

    def release(self) -> None:
        """Let go of the run without ending it: for who opened it on the user's behalf, when a training is over.

        Evaluations that follow still go into it. It ends when the next run is begun, or with the process.
        """
        self._is_released = True
        family.change(self, family.RELEASED)

    def hold(self) -> None:
        """Take hold of the run: a training is going on. Processes that it starts are its workers."""
        self._is_released = False
        family.change(self, family.TRAINING)

    def rest(self) -> None:
        """The training is over, and the run is as open as before: processes started from now on train by themselves."""
        family.change(self, family.OPEN)

    def confine(self, to: Literal["thread", "nowhere"] | None) -> None:
        """Say where this run may be the current one: what `tracker.run` answers and `tracker.log` logs to.

        For who holds several runs at a time, such as a search that has trials in threads: they can be logged to as
        ever, and are not in the way of what the user begins meanwhile. `tracker.confined` does so from their first
        moment.

        Args:
            to: "thread": in the calling thread alone; "nowhere": in none; None: everywhere, as at first.
        """
        confine(self, None if to is None else 0 if to == "nowhere" else threading.get_ident())

    # --- the end -------------------------------------------------------------------------

    def on_finish(self, call: Callable[[], object]) -> None:
        """Have something called when the run ends, while it still takes what is logged: rows, media, artifacts.

        The last one asked for is called first. What it raises is said, and harms nothing.
        """
        self._captured.append(capture.guarded(self, getattr(call, "__name__", "what was to be done"), call))

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run: all is on disk, and sent as far as the server takes it.

        Returns at most `finish_stall_seconds` after the server last acknowledged something.

        Args:
            exit_code: 0 or None for success; anything else marks the run as failed.
            quiet: Say nothing.
        """
        if quiet:
            self._complaints.is_silent = True
        code = int(exit_code or 0)
        self._end("failed" if code else "finished", code)

    def _end(
        self,
        state: str,
        exit_code: int | None = None,
        reason: str | None = None,
        traceback: str | None = None,
        signal: str | None = None,
    ) -> None:
        ending.end(self, state, exit_code, reason, traceback, signal)

    @property
    def _uploads(self) -> Uploads | None:
        """What sends bytes and versions; None where nothing is sent while the run goes on."""
        return None if self._delivery is None else self._delivery.uploads

    def __enter__(self) -> Run:
        """Answer the run."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the run: failed, with the traceback, if an exception passes."""
        exits.end(self, error)

    def __repr__(self) -> str:
        return f"<Run {self.path} {self.name!r} {self.state}>"

    def _repr_html_(self) -> str:
        """Answer what a notebook shows of the run."""
        from html import escape

        link = (
            f'<a href="{escape(self.url)}" target="_blank">open its page</a>' if self.url else "see it with: tracker ui"
        )
        return f"<div>run <b>{escape(self.name)}</b> ({escape(self.path)}), {self.state}; {link}</div>"

    def __reduce__(self) -> Any:
        raise TrackerError(
            f"the run {self.name!r} holds an open journal and cannot be pickled. "
            "Pass its id, and call tracker.init(id=..., resume='must') in the other process."
        )
