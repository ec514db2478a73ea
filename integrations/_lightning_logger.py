"""What `TrackerLogger` does, for whichever of Lightning's packages it is made: metrics, hyperparameters, media, ends."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Mapping
from typing import Any

import tracker

from ._lightning_checkpoints import Kept, Moment
from ._lightning_experiment import NoRun, RunToCome, is_rank_zero
from ._lightning_media import MediaLogger
from .base import EVAL_ROWS, Session

_DEFAULT_PROJECT = "uncategorized"
_UNFIT = ("anonymous", "add_file_policy", "sync_tensorboard")  # of WandbLogger, and without meaning here


class RunLogger(MediaLogger):
    """Log what Lightning's Trainer or Fabric reports to a run.

    Making one has no effect. The run is opened when a training begins, on rank 0 alone; it is the one that is open
    already, where there is one. After `fit` it stays open, for `validate` and `test`, until the next one begins.

    Args:
        name: The run's name.
        save_dir: Where Lightning puts its checkpoints: below `<save_dir>/<project>/<run id>/checkpoints`; the trainer's
            `default_root_dir` without it. Runs themselves are kept in `dir`.
        version: The run's id; one that exists is gone on with.
        offline: Send nothing to a server.
        dir: The folder that keeps the runs.
        id: The same as `version`.
        anonymous: Accepted as in WandbLogger, without effect.
        project: The project.
        log_model: Keep what ModelCheckpoint saves: True or "all" each one, "end" the last one, False none. None: as
            `TRACKER_LOG_MODEL` says; each one unless it is very large.
        experiment: The run to log to; it is not ended here.
        prefix: Goes before the names of metrics, with a "-".
        checkpoint_name: The name of the checkpoints' artifact, `model-<run id>` by default.
        add_file_policy: Accepted as in WandbLogger, without effect.
        run: The same as `experiment`.
        watch: "gradients", "parameters" or "all" are recorded, as `run.watch` does; False for none. None: as
            `TRACKER_WATCH` says; gradients.
        log_freq: At the first step of each optimizer and each so many from there.
        log_graph: Keep the tree of the model's modules.
        log_tables: How many rows of each evaluation are kept as a table of predictions; False or 0 for none.
        arguments: More arguments of `tracker.init`: `entity`, `group`, `tags`, `notes`, `config`, `job_type`, ...

    Example:
        trainer = Trainer(logger=TrackerLogger(project="digits"))
    """

    LOGGER_JOIN_CHAR = "-"
    package = ""  # set by `make_logger`

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        version: str | None = None,
        offline: bool = False,
        dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: bool | str | None = None,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: str = "mutable",
        *,
        run: Any = None,
        watch: bool | str | None = None,
        log_freq: int = 1000,
        log_graph: bool = False,
        log_tables: bool | int = True,
        **arguments: Any,
    ) -> None:
        super().__init__()
        given = {"name": name, "project": project, "dir": dir, "id": version or id, **arguments}
        if offline:
            given["mode"] = "offline"
        chosen = {key: value for key, value in given.items() if value is not None and key not in _UNFIT}
        self.session = Session("lightning", experiment if experiment is not None else run, **chosen)
        self.log_model = log_model
        self.checkpoint_name = checkpoint_name
        self.watched = watch
        self.log_freq = log_freq
        self.with_graph = log_graph
        self.table_rows = EVAL_ROWS if log_tables is True else int(log_tables)
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._prefix = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""
        self._told: tuple[str, str, str] | None = None  # entity, project and id, the same on all ranks
        self._project: str | None = None
        self._begin_anew()
        from .lightning import prepare  # the start-up hook may not be there

        prepare(self.package)

    def _begin_anew(self) -> None:
        """Set what belongs to one process."""
        self.kept = Kept(self)
        self.error: BaseException | None = None  # what has ended the training
        self._trainer: weakref.ref[Any] | None = None
        self._resume: Moment | None = None
        self._hyperparameters: dict[str, Any] = {}  # for the run, once it is open
        self._is_off = False  # asked for a run, and there was none
        self._axes: set[str] = set()

    # --- who the run is; the same on all ranks, and without any effect -------------------------

    @property
    def name(self) -> str:
        """The project, as in WandbLogger; the run's own name is `logger.experiment.name`."""
        if self._told is not None:
            return self._told[1]
        if self._project is None:
            try:
                chosen = tracker.Settings.resolved(project=self.session.arguments.get("project")).project
            except tracker.UsageError:  # said when the run is opened
                chosen = self.session.arguments.get("project")
            self._project = chosen or _DEFAULT_PROJECT
        return self._project

    @property
    def version(self) -> str | None:
        """The run's id; None while it has none."""
        return self._told[2] if self._told is not None else self.session.run_id

    @property
    def save_dir(self) -> str | None:
        """Where Lightning puts its checkpoints; None: in the trainer's `default_root_dir`."""
        return self._save_dir

    @property
    def root_dir(self) -> str | None:
        """The folder of all versions below `save_dir`."""
        return None if self._save_dir is None else os.path.join(self._save_dir, self.name)

    @property
    def log_dir(self) -> str | None:
        """The folder of this version below `save_dir`."""
        return None if self.root_dir is None or self.version is None else os.path.join(self.root_dir, self.version)

    @property
    def experiment(self) -> Any:
        """The run; on other ranks than 0 something that takes every call and does nothing."""
        run = self.session.run
        if run is not None:
            return run
        if not is_rank_zero():
            return NoRun()
        if self.trainer is not None and not self._is_off:
            return RunToCome(self)
        return self.open() or tracker.run or NoRun()

    # --- the run's course ----------------------------------------------------------------------

    @property
    def trainer(self) -> Any:
        """The Trainer that uses this logger, once it is known."""
        return None if self._trainer is None else self._trainer()

    def attach(self, trainer: Any) -> None:
        """Take note of the Trainer that uses this logger."""
        self._trainer = weakref.ref(trainer)
        self._is_off = False

    def resume(self, moment: Moment) -> None:
        """Go on with the run of a checkpoint, unless another one was asked for."""
        arguments = self.session.arguments
        if arguments.get("project", moment.project) != moment.project or arguments.get("resume") == "never":
            return
        run = self.session.run
        if run is not None and run.id != moment.run_id:
            tracker.termwarn(
                f"the checkpoint belongs to the run {moment.run_id}, and the run {run.id} is open already: that is gone "
                f"on with. For the other one give TrackerLogger(id={moment.run_id!r}), and use `logger.experiment` only "
                "once the training has begun."
            )
            return
        if run is not None and self.session.is_owner and moment.step < run.step - 1:
            self.session.end()  # begun again below, without what came behind the checkpoint
        self._resume = moment
        self._told = (moment.entity, moment.project, self.session.reserve((moment.run_id, moment.step)) or "")

    def settle(self, broadcast: Any) -> None:
        """Decide which run it will be, and let all ranks know; nothing is opened.

        Args:
            broadcast: Answers what rank 0 gives it, on all ranks.
        """
        place = None
        if is_rank_zero():
            moment = self._resume
            run_id = self.session.reserve(None if moment is None else (moment.run_id, moment.step))
            if run_id is None and (run := self.open()) is not None:
                run_id = run.id
            run = self.session.run or tracker.run
            if run is not None and run.id == run_id:
                place = (run.entity, run.project, run.id)
            elif run_id is not None:
                entity = "" if moment is None else moment.entity
                place = (entity, self.name if moment is None else moment.project, run_id)
        self._told = broadcast(place)

    @tracker.guarded
    def open(self) -> tracker.Run | None:
        """Begin the training, or go on with it; answer the run, None where this process has none."""
        if self._is_off or not is_rank_zero():
            return None
        session, moment = self.session, self._resume
        resume = None
        if moment is not None:
            resume = (moment.run_id, moment.step)
            for key in ("entity", "project"):
                session.arguments.setdefault(key, getattr(moment, key))
        run = session.begin(resume=resume)
        self._is_off = run is None
        if run is not None:
            self._resume = None
            self._told = (run.entity, run.project, run.id)
            if self._hyperparameters:
                run.config.update(self._hyperparameters, allow_val_change=True)
                self._hyperparameters = {}
        return run

    @staticmethod
    def step_of(trainer: Any, run: tracker.Run, step: int | None = None) -> int | None:
        """Answer where an evaluation belongs: one by a trainer that has not trained, where its run stood before.

        Args:
            trainer: The Trainer.
            run: The run.
            step: As Lightning says; asked of the trainer without it.
        """
        if step is None:
            step = trainer.fit_loop.epoch_loop._batches_that_stepped
        return run.starting_step if step == 0 and trainer.state.fn != "fit" else step

    @property
    def moment(self) -> Moment | None:
        """Where the training stands; None where there is no run."""
        trainer = self.trainer
        if trainer is None or self._told is None or (is_rank_zero() and self.session.run is None):
            return None
        return Moment(*self._told, trainer.fit_loop.epoch_loop._batches_that_stepped)

    # --- what Lightning calls ------------------------------------------------------------------

    @tracker.guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row.

        Args:
            metrics: Values by name.
            step: Where it belongs, in any order.
        """
        run = self.session.run or self.open()
        if run is None:
            return
        row = {self._prefix + key: value for key, value in metrics.items()} if self._prefix else dict(metrics)
        trainer = None if self._trainer is None else self._trainer()
        stage = None if trainer is None else trainer.state.stage
        if stage is not None:
            if "epoch" in metrics:
                row["stage"] = stage.value
                step = self.step_of(trainer, run, step)
            elif step is not None and stage.value in ("validate", "test"):
                # Lightning counts the batches of an evaluation by themselves; so does the axis.
                axis = f"{stage.value}/batch"
                for key in row:
                    if key not in self._axes:
                        self._axes.add(key)
                        run.define_metric(key, step_metric=axis)
                row[axis] = step
        # Beside a trainer the row stays open: what the module logs by itself belongs to it.
        run.log(row, step=step, commit=True if trainer is None else None)

    @tracker.guarded
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Put hyperparameters into the run's config, as they are nested.

        Args:
            params: A dict, a Namespace, a dataclass, ...
            args: Accepted as in other loggers.
            kwargs: The same.
        """
        if not is_rank_zero():
            return
        values = dict(vars(params)) if not isinstance(params, Mapping) and hasattr(params, "__dict__") else params
        trainer = self.trainer
        if self.session.run is None and trainer is not None and trainer.state.status == "running":
            # While the trainer sets up the checkpoint may not have been read, or a tuner has the word.
            self._hyperparameters.update(values)
            return
        run = self.session.run or self.open()
        if run is not None:
            run.config.update(values, allow_val_change=True)

    @tracker.guarded
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Keep the tree of the model's modules, where `log_graph` was given.

        Args:
            model: The model.
            input_array: Accepted as in other loggers.
        """
        trainer = getattr(model, "_trainer", None)
        if trainer is not None and self.trainer is None and any(one is self for one in trainer.loggers):
            from .lightning import adopt  # this logger was given to the trainer behind our back

            adopt(trainer)
            for callback in trainer.callbacks:
                if type(callback).__name__ == "TrackerCallback":
                    callback.setup(trainer, model, str(trainer.state.fn.value))
        if self.with_graph and trainer is None:
            self.experiment.watch(model, log=None, log_graph=True)

    def save(self) -> None:
        """Do nothing: what was logged is safe already."""

    @tracker.guarded
    def finalize(self, status: str) -> None:
        """Have all of it on disk. After a failure the run is ended; after a success it stays open.

        Args:
            status: "success", "failed", "finished" (the job is going to be queued again).
        """
        if self.session.run is None:
            self.error = None
            return
        self.kept.keep_rest()
        error, self.error = self.error or sys.exc_info()[1], None
        if status in ("success", "finished"):
            if status == "finished":
                self.session.run.mark_preempting()
            self.session.pause()
        else:
            self.session.fail(error or RuntimeError(f"Lightning ended the training as {status!r}"))

    @tracker.guarded
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep the checkpoint that was just saved; its file may be deleted at once.

        Args:
            checkpoint_callback: The ModelCheckpoint, or a proxy of it.
        """
        if is_rank_zero():
            self.kept.keep(checkpoint_callback)

    # --- what users call, as of WandbLogger ----------------------------------------------------

    def watch(self, model: Any, log: Any = "gradients", log_freq: int = 100, log_graph: bool = True) -> None:
        """Record what happens inside a model; see `Run.watch`."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """Take note that the run reads an artifact, and answer it; see `Run.use_artifact`."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    @staticmethod
    def download_artifact(
        artifact: str,
        save_dir: str | os.PathLike[str] | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Bring an artifact's files; answer their folder.

        Args:
            artifact: `name:v3`, `name:alias`, with `project/` before it.
            save_dir: Where to.
            artifact_type: What it must be.
            use_artifact: Take note that the current run reads it.
        """
        run = tracker.run
        found: Any
        if run is not None and use_artifact:
            found = run.use_artifact(artifact, type=artifact_type)
        else:
            found = tracker.Api().artifact(artifact, type=artifact_type)
        return str(found.download(root=None if save_dir is None else os.fspath(save_dir)))

    # --- copies --------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        self.session.reserve()  # the same for all copies
        state = {name: value for name, value in self.__dict__.items() if name not in _OF_A_PROCESS}
        return _restored, (self.package, state)


_OF_A_PROCESS = ("kept", "error", "_trainer", "_resume", "_hyperparameters", "_is_off", "_axes")


def _restored(package: str, state: dict[str, Any]) -> Any:
    from .lightning import make_logger

    logger = object.__new__(make_logger(package))
    logger.__dict__.update(state)
    logger._begin_anew()
    return logger
