"""Ray: Tune's trials and Train's trainings as runs, from the driver; and runs for what happens inside their workers."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Mapping
from typing import Any

import tracker

from .base import Session, require

_NAME = "ray"
# Of the process and the machine, not of the trial; or told elsewhere.
_NOT_METRICS = frozenset(
    "config date done experiment_id experiment_tag hostname node_ip pid should_checkpoint timestamp trial_id "
    "checkpoint_dir_name".split()
)
_ID_CHARS = 12  # of a training's 32


def __getattr__(name: str) -> Any:
    if name == "TrackerCallback":
        return _tune_callback()
    if name == "TrackerTrainCallback":
        return _train_callback()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class TrialError(Exception):
    """What ended a trial, or a worker, in another process."""


@functools.cache
def _tune_callback() -> Any:
    require("ray.tune")
    from ray.tune.logger import LoggerCallback

    class TrackerCallback(LoggerCallback):
        """Log each trial of a Tune experiment as a run: `RunConfig(callbacks=[TrackerCallback()])`.

        It works in the driver. The run has the trial's id and name, and the experiment as its group; what the trial
        reports is logged at its `training_iteration`. A trial that fails is a failed run, one that is restored goes on
        with its run. Without a change in the script: `RAY_TUNE_CALLBACKS=tracker.integrations.ray.TrackerCallback`.

        Args:
            log_model: Whether checkpoints become versions of an artifact; `TRACKER_LOG_MODEL` without it.
            arguments: Of `tracker.init`, for each run: `project`, `tags`, ...

        Example:
            tune.Tuner(train, run_config=tune.RunConfig(callbacks=[TrackerCallback(project="digits")])).fit()
        """

        def __init__(self, *, log_model: bool | str | None = None, **arguments: Any) -> None:
            self._log_model = log_model
            self._arguments = arguments
            self._sessions: dict[str, Session] = {}
            self._configs: dict[str, Any] = {}

        @tracker.guarded
        def log_trial_start(self, trial: Any) -> None:
            """Open the trial's run, or go on with it."""
            if trial.trial_id not in self._sessions:
                self._configs[trial.trial_id] = trial.config
                self._sessions[trial.trial_id] = _open(
                    {
                        "id": trial.trial_id,
                        "name": str(trial),
                        "group": trial.experiment_dir_name,
                        **self._arguments,
                    },
                    trial.config,
                )

        @tracker.guarded
        def log_trial_restore(self, trial: Any) -> None:
            """Go on with the trial's run."""
            self.log_trial_start(trial)

        @tracker.guarded
        def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:
            """Log what a trial reports."""
            self.log_trial_start(trial)
            session = self._sessions[trial.trial_id]
            if session.run is not None and trial.config is not self._configs.get(trial.trial_id):
                session.run.config.update(trial.config, allow_val_change=True)  # a scheduler has changed it
                self._configs[trial.trial_id] = trial.config
            data = {key: value for key, value in result.items() if key not in _NOT_METRICS}
            session.log(data, step=result.get("training_iteration"))

        @tracker.guarded
        def on_checkpoint(self, iteration: int, trials: Any, trial: Any, checkpoint: Any, **info: Any) -> None:
            """Keep a checkpoint, where it lies on this machine's disk."""
            session = self._sessions.get(trial.trial_id)
            if session is not None:
                step = (trial.last_result or {}).get("training_iteration")
                _keep(session, checkpoint, step, self._log_model)

        @tracker.guarded
        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            """End the trial's run as the trial has ended."""
            session = self._sessions.pop(trial.trial_id, None)
            self._configs.pop(trial.trial_id, None)
            if session is not None:
                _end(session, _error_of(trial) if failed else None)

        @tracker.guarded
        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            """End the runs of trials that came to no end of their own."""
            for session in self._sessions.values():
                _end(session, TrialError("the experiment ended before the trial"))
            self._sessions.clear()

        def __getstate__(self) -> dict[str, Any]:
            """Answer what goes to disk, and to other processes, with the experiment: no open run."""
            return {**self.__dict__, "_sessions": {}, "_configs": {}}

    TrackerCallback.__module__, TrackerCallback.__qualname__ = __name__, "TrackerCallback"
    return TrackerCallback


@functools.cache
def _train_callback() -> Any:
    require("ray.train")
    # Ray's `UserCallback` is not told of the end; these are what it is made of.
    from ray.train.v2._internal.execution.callback import ControllerCallback, ReportCallback

    class TrackerTrainCallback(ControllerCallback, ReportCallback):
        """Log a training of Ray Train as a run: `ray.train.RunConfig(callbacks=[TrackerTrainCallback()])`.

        It works in Ray's controller. What the worker of rank 0 reports is logged at the number of the report; a
        training that fails is a failed run. `setup_tracker` in the workers logs to the same run.

        Args:
            log_model: Whether checkpoints become versions of an artifact; `TRACKER_LOG_MODEL` without it.
            arguments: Of `tracker.init`: `project`, `dir`, `tags`, ...
        """

        def __init__(self, *, log_model: bool | str | None = None, **arguments: Any) -> None:
            self._log_model = log_model
            self._arguments = arguments
            self._session: Session | None = None
            self._reports = 0

        @tracker.guarded
        def after_controller_start(self, train_run_context: Any) -> None:
            """Open the run."""
            scaling = train_run_context.scaling_config
            facts = {name: getattr(scaling, name, None) for name in ("num_workers", "use_gpu", "resources_per_worker")}
            self._session = _open(
                {**_of_training(train_run_context), **self._arguments},
                {**(train_run_context.train_loop_config or {}), "ray": facts},
            )

        @tracker.guarded
        def after_report(self, training_report: Any, metrics: list[dict[str, Any]]) -> None:
            """Log what the workers have reported together."""
            self._reports += 1
            if self._session is not None and metrics:
                self._session.log(metrics[0], step=self._reports)
                if training_report.checkpoint is not None:
                    _keep(self._session, training_report.checkpoint, self._reports, self._log_model)

        @tracker.guarded
        def after_controller_finish(self, result: Any) -> None:
            """End the run as the training has ended."""
            if self._session is not None:
                _end(self._session, result.error)
                self._session = None

        @tracker.guarded
        def before_controller_abort(self) -> None:
            """End the run: the user has interrupted the driver."""
            if self._session is not None:
                _end(self._session, KeyboardInterrupt())
                self._session = None

        def __getstate__(self) -> dict[str, Any]:
            """Answer what goes to the controller's process: no open run."""
            return {**self.__dict__, "_session": None}

    TrackerTrainCallback.__module__, TrackerTrainCallback.__qualname__ = __name__, "TrackerTrainCallback"
    return TrackerTrainCallback


def setup_tracker(
    config: Mapping[str, Any] | None = None, *, rank_zero_only: bool = True, **arguments: Any
) -> tracker.Run:
    """Answer the run of the trial, or of the training, that this worker works for; call it inside the function.

    The same run as that of `TrackerCallback` and `TrackerTrainCallback`, and after a restart the one from before. It
    ends with the function, failed where that raises.

    Args:
        config: Hyperparameters.
        rank_zero_only: Workers of other ranks get a run that keeps nothing; False lets them log to the one run too.
        arguments: Of `tracker.init`.

    Example:
        def train_loop(config):
            run = setup_tracker(config, project="digits")
            run.log({"loss": 0.5})
    """
    found = around() or {}
    rank = tracker.rank()
    if rank and rank_zero_only:
        return tracker.init(mode="disabled", reinit="create_new")
    if rank:
        arguments = {**arguments, "settings": {**(arguments.get("settings") or {}), "x_primary": False}}
    run = tracker.init(**{"reinit": "create_new", **found, "config": dict(config or {}), **arguments})
    if found:
        end_with_worker(run)
    return run


def around() -> dict[str, Any] | None:
    """Answer what the trial, or the training, that this process works for says of its run; None outside of both."""
    context = _train_context()
    if context is not None:
        return _of_training(context.train_run_context)
    session = _tune_session()
    if session is None or not getattr(session, "trial_info", None):
        return None
    return {
        "id": session.trial_id,
        "name": session.trial_name,
        "group": session.experiment_name,
        "resume": "allow",
    }


def _of_training(context: Any) -> dict[str, Any]:
    name = getattr(context.run_config, "name", None)
    return {"id": context.run_id[:_ID_CHARS], "name": name, "group": name, "resume": "allow"}


def _train_context() -> Any:
    module = sys.modules.get("ray.train.v2._internal.execution.context")
    return getattr(module, "_train_context", None)


def _tune_session() -> Any:
    module = sys.modules.get("ray.train._internal.session")
    return module.get_session() if module is not None else None


def _open(arguments: Mapping[str, Any], config: Mapping[str, Any] | None) -> Session:
    run = tracker.init(**{"reinit": "create_new", "resume": "allow", **arguments})
    session = Session(_NAME, run)
    session.begin()
    run.config.update(dict(config or {}), allow_val_change=True)
    return session


def _end(session: Session, error: BaseException | None) -> None:
    run = session.run
    session.pause(wait=False)
    _end_run(run, error)


def _error_of(trial: Any) -> TrialError:
    try:
        with open(trial.error_file, encoding="utf-8", errors="replace") as file:
            return TrialError(file.read().strip().splitlines()[-1])
    except (OSError, TypeError, IndexError):  # none was written, or not here
        return TrialError("the trial has failed")


def _keep(session: Session, checkpoint: Any, step: Any, log_model: bool | str | None) -> None:
    filesystem = getattr(checkpoint, "filesystem", None)
    if getattr(filesystem, "type_name", "local") == "local":  # elsewhere Ray keeps it already
        session.checkpoint(checkpoint.path, step=step, log_model=log_model)


def end_with_worker(run: tracker.Run) -> None:
    """End a run when the function that logs to it is over, before Ray knows: it ends the process soon after."""
    thread = threading.current_thread()
    if thread is threading.main_thread():  # which ends with the process, and so does the run
        return
    session = _tune_session()
    if session is not None:
        _end_with_trial(run, session, thread)
    threading.Thread(target=_wait, args=(run, thread), name="tracker-ray", daemon=True).start()


def _end_with_trial(run: tracker.Run, session: Any, thread: Any) -> None:
    report, propagate = session.report, getattr(thread, "_propagate_exception", None)

    def reporting(metrics: Any, *args: Any, **kwargs: Any) -> Any:
        if "__duplicate__" in metrics:  # the function has returned
            _end_run(run, None)
        return report(metrics, *args, **kwargs)

    def propagating(error: BaseException) -> Any:
        _end_run(run, error)
        return propagate(error) if propagate is not None else None

    session.report = reporting
    if propagate is not None:
        thread._propagate_exception = propagating


def _wait(run: tracker.Run, function: threading.Thread) -> None:
    threading.Thread.join(function)  # Ray's own threads do more in `join`
    error = None
    context = _train_context()
    if context is not None:
        with tracker.guard("the outcome of a worker"):
            error = context.execution_context.training_thread_runner.get_error()
    _end_run(run, error)


@tracker.guarded
def _end_run(run: tracker.Run | None, error: BaseException | None) -> None:
    if run is not None and run.state == "running" and not run.disabled:
        run.__exit__(type(error) if error is not None else None, error, getattr(error, "__traceback__", None))
