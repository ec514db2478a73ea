"""What a `Trainer` tells its callbacks, as rows, config, tables and versions of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import tracker

from ._transformers_configs import configs
from ._transformers_predictions import COLUMNS, Samples
from ._transformers_trainer import Entry, entry_of, folder_of, is_training, wait_for_ranks
from ._transformers_trl import KEY, completions
from ._transformers_whose import arguments, may_resume, origin_in
from .base import EVAL_ROWS, Session, model_choice, watch_choice

# Of a whole training; W&B has these in the summary, under these names.
_OF_ALL = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
_WATCH_STEPS = 1_000  # gradients are recorded that often
_WATCH_STEPS_ASKED = 100  # and at most that often where they are asked for, as W&B


class Callback:
    """Log the trainings of a `Trainer` to a run, with what they were made of and what they have come to.

    `report_to="tracker"` makes one; give one to `callbacks` to choose the run or an option. One is begun with the
    training unless there is one. A checkpoint knows its run: a training that goes on from there goes on with the run.

    Args:
        run: The run to log to; it stays open afterwards.
        log_model: What of the checkpoints is kept: "checkpoint" (each), "end" (the final model), "auto", or False.
            `TRACKER_LOG_MODEL` without it.
        watch: "gradients", "parameters" or "all": what is recorded of the model; False for nothing. `TRACKER_WATCH`
            without it, and without that gradients, at each 1,000th step.
        eval_rows: Rows of each evaluation in the table `eval/predictions`; 0 for none.
        arguments: Of `tracker.init`, for a run that has to be begun: `project`, `name`, `group`, `tags`, ...

    Example:
        trainer = Trainer(model, args, train_dataset=data, callbacks=[TrackerCallback(project="digits")])
        trainer.train()
    """

    def __init__(
        self,
        run: tracker.Run | None = None,
        *,
        log_model: bool | str | None = None,
        watch: bool | str | None = None,
        eval_rows: int = EVAL_ROWS,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.log_model = log_model
        self.watch = watch
        self.eval_rows = eval_rows
        self.origin: dict[str, Any] | None = None  # in a checkpoint: whose it is
        self.is_spare = False  # another callback of this trainer logs
        self._run = run
        self._arguments = arguments
        self._session = Session("transformers", run, **arguments)
        self._first_step = 0  # of this training in the run
        self._training: Entry | None = None  # the call of `train` that was begun last
        self._search: str | None = None
        self._prefixes = ["eval", "test"]
        self._scores: dict[str, Any] = {}
        self._waiting: dict[str, Any] | None = None  # a checkpoint that other ranks may still be writing
        self._parent: str | None = None  # the checkpoint that the training goes on from
        self._watch_steps = 0  # how often the model is looked at; 0 where it is not
        self._optimizer_steps = 0
        self._completed = 0

    @property
    def run(self) -> tracker.Run | None:
        """The run, while it is open; None before the training and on other ranks than the first."""
        return self._session.run

    @property
    def has_run(self) -> bool:
        """Whether a run was given to it by the user."""
        return self._run is not None

    def state(self) -> dict[str, Any]:
        """Answer what goes into each checkpoint: by it, a training finds the run of the checkpoint it goes on from."""
        plain = {name: value for name, value in self._arguments.items() if isinstance(value, (str, int, bool))}
        options = {"log_model": self.log_model, "watch": self.watch, "eval_rows": self.eval_rows}
        return {"args": {**options, **plain}, "attributes": {"origin": self.origin}}

    def __getstate__(self) -> dict[str, Any]:
        """Answer what a copy in another process has: the trainer, the model and the run are not part of it."""
        return {**self.__dict__, "_run": None, "_training": None, "_waiting": None}

    # --- training ------------------------------------------------------------------------------

    @tracker.guarded
    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing is begun here: trainers are also made to save a model. But what is to be followed is loaded."""
        from .transformers import prepare  # the start-up hook may not be there

        prepare()

    @tracker.guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the run, or begin one; tell it what is trained, by what, on what."""
        # A checkpoint may know nothing of this callback, and the trainer asks each for its own.
        if isinstance(state.stateful_callbacks, dict):
            state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        if self.is_spare:
            return
        entry, origin = entry_of(self), origin_in(state, type(self).__name__)
        is_retry = self._renew(state, entry, origin)
        self._join(args, state, kwargs, entry, origin=origin, is_retry=is_retry)
        self._watch(args, state, kwargs.get("model"))

    def _renew(self, state: Any, entry: Entry | None, origin: Mapping[str, Any] | None) -> bool:
        """Have a run of its own for a training that is another one: a trial of a search, or one from the start.

        Returns:
            Whether it is the same one, once more: with a smaller batch, for want of memory.
        """
        session, has_trained = self._session, self._training is not None
        is_retry = has_trained and entry is not None and entry is self._training
        is_new = has_trained and (not state.global_step or session.run is None)
        is_another = origin is not None and session.is_owner and origin["run"] != session.run_id
        if not is_retry and (is_new or is_another or state.is_hyper_param_search):
            session.end()
            self._session = Session("transformers", self._run, **self._arguments)
        if not is_retry:
            self._first_step = 0
        self._training = entry or Entry(None, is_training=True)
        self._scores, self._parent, self._waiting = {}, None, None
        return is_retry

    def _join(
        self,
        args: Any,
        state: Any,
        given: Mapping[str, Any],
        entry: Entry | None,
        origin: Mapping[str, Any] | None = None,
        is_retry: bool = False,
    ) -> None:
        session, trainer = self._session, getattr(entry, "trainer", None)
        session.arguments = {**arguments(args, state, trainer, self._search, origin), **self._arguments}
        is_trial = bool(state.is_hyper_param_search)
        resume = (str(origin["run"]), int(state.global_step)) if origin and not is_trial and may_resume() else None
        run = session.begin(own=is_trial, resume=resume)
        if run is None:
            return
        if not state.global_step and not is_retry and (run.summary.get("train/global_step") or 0) > 0:
            # A second training in one run comes behind the first: nothing of that is written over.
            self._first_step = int(run.step)
        model = given.get("model")
        self.origin = {"run": run.id, "project": run.project, "entity": run.entity, "model": f"model-{run.id}"}
        for namespace, values in configs(
            args, state, model, given.get("processing_class"), trainer, given.get("train_dataloader")
        ):
            session.configure(namespace, values)
        if is_trial:
            session.configure("trial", dict(state.trial_params or {}))
        if origin and state.global_step:
            self._parent = f"{origin.get('model')}:checkpoint-{state.global_step}"
            self._note_parent()

    def _watch(self, args: Any, state: Any, model: Any) -> None:
        """Have gradients recorded; on all ranks, each of which may hold a part of the model."""
        choice, is_asked_for = watch_choice(self.watch, ("TRACKER_WATCH", "WANDB_WATCH"))
        self._watch_steps = 0
        if choice is None or model is None or "torch_xla" in sys.modules:  # XLA would compile it anew
            return
        every = max(_WATCH_STEPS_ASKED, int(state.logging_steps or 0)) if is_asked_for else _WATCH_STEPS
        self._session.watch(model, choice if is_asked_for else None, log_freq=every)
        if self._session.run is not None:
            self._watch_steps, self._optimizer_steps = every, 0

    @tracker.guarded
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have what is recorded of the model at this step stand at this step."""
        if not self._watch_steps:
            return
        if self._optimizer_steps % self._watch_steps == 0:
            step = state.global_step + 1
            self._session.log({"train/global_step": step}, step=self._first_step + step)
        self._optimizer_steps += 1

    @tracker.guarded
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the checkpoint of the step before: all ranks have been through another step, so they have written it."""
        if self._waiting is not None:
            self._keep()

    @tracker.guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log what the trainer reports."""
        if self.is_spare or not logs or not state.is_world_process_zero:
            return
        entry = self._look(args, state, kwargs)
        run = self._session.run
        if run is None:
            return
        step = self._first_step + state.global_step
        is_last = "train_loss" in logs  # the last word on a whole training
        row = {self._place(key): value for key, value in logs.items() if not is_last or key not in _OF_ALL}
        if is_last:
            run.summary.update({name: logs[name] for name in _OF_ALL if logs.get(name) is not None})
            if self._waiting is not None:  # before the trainer may delete it
                wait_for_ranks(self._waiting["path"])
                self._keep()
        row["train/global_step"] = state.global_step
        self._session.log(row, step=step)
        if entry is not None and hasattr(entry.trainer, "_logs"):
            self._complete(entry.trainer, step)

    def _complete(self, trainer: Any, step: int) -> None:
        found = completions(trainer)
        if found is None:
            return
        columns, rows = found
        mark = hash(tuple((str(row[0]), str(row[1])) for row in rows))
        if mark == self._completed:  # they are logged: nothing was generated since
            return
        self._completed = mark
        mode = "train" if trainer.model.training else "eval"
        self._session.table(KEY, ["mode", *columns], [[mode, *row] for row in rows], step)

    def completed(self, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """Log what was generated at a step."""
        self._session.table(KEY, columns, rows, self._first_step + step)

    def _place(self, key: str) -> str:
        for prefix in self._prefixes:
            if key.startswith(f"{prefix}_"):
                return f"{prefix}/{key[len(prefix) + 1 :]}"
        return f"train/{key.removeprefix('train_')}"

    # --- evaluations ---------------------------------------------------------------------------

    def _look(self, args: Any, state: Any, given: Mapping[str, Any]) -> Entry | None:
        """Answer the call this is a part of; an evaluation with no training before it begins a run as well."""
        entry = entry_of(self)
        if entry is not None and not entry.is_training:
            prefix = entry.prefix
            if not any(prefix == known or prefix.startswith(f"{known}_") for known in self._prefixes):
                self._prefixes.append(prefix)
        if self._session.run is None and not is_training(self) and tracker.rank() == 0:
            self._join(args, state, given, entry)
        return entry

    @tracker.guarded(returns=None)
    def predicting(self, entry: Entry) -> Samples | None:
        """Answer what looks at an evaluation; None where nobody wants it."""
        trainer = entry.trainer
        if self.eval_rows <= 0 or not trainer.state.is_world_process_zero:
            return None
        processing_class = getattr(trainer, "processing_class", None)
        given = {"model": trainer.model, "processing_class": processing_class}
        self._look(trainer.args, trainer.state, given)
        return Samples(self.eval_rows, processing_class) if self._session.run is not None else None

    @tracker.guarded
    def predicted(self, entry: Entry, samples: Samples) -> None:
        """Log the rows of an evaluation."""
        rows = samples.rows()
        place = self._place(f"{entry.prefix}_predictions")
        self._session.table(place, COLUMNS, rows, self._first_step + entry.trainer.state.global_step)

    def evaluated(self) -> None:
        """An evaluation outside of a training is over: its run stays open, as after a training."""
        if not is_training(self):
            self._session.pause()

    @tracker.guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Remember the scores for the next checkpoint; they are logged already."""
        self._scores = {self._place(key): value for key, value in (metrics or {}).items()}

    @tracker.guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Log the scores of `predict`."""
        if self.is_spare or not metrics or not state.is_world_process_zero:
            return
        self._look(args, state, kwargs)
        row = {self._place(key): value for key, value in metrics.items()}
        self._session.log(row, step=self._first_step + state.global_step)

    # --- checkpoints ---------------------------------------------------------------------------

    @tracker.guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the checkpoint as a version of the run's model."""
        if self.is_spare or self._session.run is None:
            return
        if self._waiting is not None:
            self._keep()
        entry = entry_of(self)
        path = folder_of(getattr(entry, "trainer", None), args.output_dir, state.global_step)
        aliases = [f"checkpoint-{state.global_step}"]
        if state.best_global_step is not None and state.best_global_step == state.global_step:
            aliases.append("best")
        facts = {"epoch": state.epoch, "best_metric": state.best_metric, **self._scores}
        self._waiting = {"path": path, "step": state.global_step, "aliases": aliases, "metadata": facts}
        if int(getattr(args, "world_size", 1) or 1) <= 1:
            self._keep()

    def _keep(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and os.path.isdir(waiting["path"]):
            self._session.checkpoint(log_model=self.log_model, **waiting)

    def _note_parent(self) -> None:
        """Note that the run reads the checkpoint it goes on from, as soon as that is stored."""
        run = self._session.run
        if self._parent is None or run is None:
            return
        try:
            run.use_artifact(self._parent, type="model")
            self._parent = None
        except tracker.TrackerError:  # not kept, or still on its way from a process that was killed
            return

    # --- the end -------------------------------------------------------------------------------

    @tracker.guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let go of the run: evaluations that follow still go into it."""
        if self.is_spare:
            return
        self._keep()
        self._save_end(args)
        run = self._session.run
        if run is None:
            return
        self._note_parent()
        self._session.pause()

    def _save_end(self, args: Any) -> None:
        """Keep the final model, where that is asked for; on all ranks, which may each hold a part of it."""
        entry = entry_of(self)
        if entry is None or model_choice(self.log_model) != "end":
            return
        path = os.path.join(args.output_dir, ".tracker-final-model")
        try:
            entry.trainer.save_model(path)
            self._session.checkpoint(
                path,
                step=entry.trainer.state.global_step,
                aliases=["final_model"],
                metadata=self._scores,
                is_last=True,
                log_model=self.log_model,
            )
        finally:
            if entry.trainer.args.should_save:
                import shutil

                shutil.rmtree(path, ignore_errors=True)

    @tracker.guarded
    def failed(self, error: BaseException) -> None:
        """The training has ended with an exception."""
        if self.is_spare:
            return
        self._keep()
        run = self._session.run
        if run is not None and type(error).__name__ == "TrialPruned":  # Optuna has seen enough of it
            run.summary["pruned"] = True
            self._session.end()
            return
        self._session.fail(error)

    def search(self, name: str | None) -> None:
        """A hyperparameter search begins: its trials are runs of one group. None: it is over."""
        self._search = name
        if name is None and not self.is_spare:
            self._session.end()
            self._session = Session("transformers", self._run, **self._arguments)
            self._training = None

    @tracker.guarded(returns=None)
    def link(self) -> str | None:
        """Answer what leads from a model card to the run."""
        if self.origin is None:
            return None
        run = self._session.run
        name = f"{self.origin['project']}/{self.origin['run']}"
        if run is not None and run.url:
            return f"Tracked with tracker: [{run.name} ({name})]({run.url})"
        return f"Tracked with tracker: run `{name}`"
