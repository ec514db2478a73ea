"""One study of Optuna's, and its trials: what is logged of them, and into which run."""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tracker

from .base import Session, _training, require

FRAMEWORK = "optuna"
MAX_TABLE_TRIALS = 10_000
# The study's run has the code; and a server that is away holds the study up for each trial, so that is kept short.
_OF_TRIALS = {"quiet": True, "disable_code": True, "disable_git": True, "finish_stall_seconds": 2.0}

reporting: dict[int, tuple[Trial, str]] = {}  # by the id of Optuna's trial, while its objective works


class Trial(Session):
    """A trial while its objective works. It has a run once somebody asks for it: a training within.

    Args:
        open_run: Opens it.
    """

    def __init__(self, open_run: Callable[[], tracker.Run | None]) -> None:
        super().__init__(FRAMEWORK)
        self._open_run: Callable[[], tracker.Run | None] | None = open_run

    @property
    def run(self) -> tracker.Run | None:
        """The trial's run; it is opened now where it was not."""
        if self._open_run is not None:
            open_run, self._open_run = self._open_run, None
            self._run = open_run()
        return super().run

    @property
    def is_trial_with_run(self) -> bool:
        """Whether it has a run by now; asking opens none."""
        return self._run is not None

    @property
    def opened(self) -> tracker.Run | None:
        """The trial's run, if it was opened."""
        return self._run

    @contextmanager
    def around(self, is_wanted: bool) -> Iterator[None]:
        """Let trainings find this one around them."""
        self._thread = threading.get_ident()
        _training.append(self)
        try:
            if is_wanted:
                _ = self.run
            yield
        finally:
            self._open_run = None  # nobody asks any more
            self._leave()


class Study:
    """What is logged of one study.

    Args:
        study: Optuna's; held weakly.
        session: Of its run.
        metric_name: As the callback was given it.
        arguments: Of `tracker.init`, for runs of trials.
    """

    def __init__(
        self, study: Any, session: Session, metric_name: str | Sequence[str], arguments: Mapping[str, Any]
    ) -> None:
        self._study = weakref.ref(study)
        self._session = session
        self._metric_name = metric_name
        self._arguments = arguments
        self._lock = threading.RLock()
        self._is_told = False  # that the number of names is not that of the values
        self._rows = 0
        self._due = 1  # so many trials make the next table

    # --- the study's course ------------------------------------------------------------------

    @tracker.guarded
    def begin(self) -> None:
        """Find or open the study's run; one that is opened is out of the way of what the trials do."""
        with self._lock:
            if self._session.run is not None:
                return
            study = self._study()
            run = self._session.begin()
            if run is None or study is None:
                return
            facts = {
                "name": study.study_name,
                "directions": [direction.name.lower() for direction in study.directions],
                "sampler": type(study.sampler).__name__,
                "pruner": type(study.pruner).__name__,
            }
            run.config.update({"study": facts}, allow_val_change=True)
            self._session.pause(wait=False)  # nothing that a trial trains is part of this run
            if self._session.is_owner:
                run.hold()
                run.rest()  # processes that a trial starts do not work for this run
                run.confine("nowhere")

    @tracker.guarded
    def end(self) -> None:
        """`optimize` is over: log the table, and let the run be the current one again."""
        with self._lock:
            run = self._session.run
            if run is None:
                return
            self._tell_all()
            run.flush()
            if self._session.is_owner:
                run.confine(None)
                run.release()

    @tracker.guarded
    def fail(self, error: BaseException) -> None:
        """`optimize` was left by an exception."""
        with self._lock:
            if self._session.run is not None:
                self._tell_all()
                self._session.fail(error)

    # --- a trial -----------------------------------------------------------------------------

    def add(self, trial: Any) -> None:
        """Log a row for a trial that has ended: its parameters, its values, how it ended."""
        with self._lock:
            self.begin()
            study = self._study()
            run = self._session.run
            if run is None or study is None:
                return
            values = self._named(trial.values) if trial.state.name == "COMPLETE" else {}
            parameters = {f"params/{name}": _plain(value) for name, value in trial.params.items()}
            seconds = trial.duration.total_seconds() if trial.duration is not None else None
            row = {"trial": trial.number, "trial_state": trial.state.name, "trial_seconds": seconds}
            step = trial.number if self._session.is_owner else None
            self._session.log({**row, **parameters, **values}, step=step)
            self._tell_best(study, run)
            self._rows += 1
            if self._rows >= self._due:  # the whole table, at twice the number of trials each time
                self._due *= 2
                self._log_table(study, run)

    def run_trial(self, objective: Callable[[Any], Any], trial: Any, *, is_wanted: bool) -> Any:
        """Call an objective.

        Args:
            objective: The user's.
            trial: What it is given.
            is_wanted: The trial has a run of its own in any case. Otherwise it has one where something is trained in
                it that is logged: that would pile up in the study's run, over all trials.
        """
        self.begin()
        session = Trial(functools.partial(self._open_trial, trial))
        pruned = require("optuna").TrialPruned
        with session.around(is_wanted), _reports_to(session, trial, self._metric_name):
            try:
                answer = objective(trial)
            except pruned:
                self._close_trial(session, trial, None, "PRUNED")
                raise
            except BaseException as error:
                self._close_trial(session, trial, None, "FAIL", error)
                raise
            self._close_trial(session, trial, answer, None)
        return answer

    @tracker.guarded
    def _open_trial(self, trial: Any) -> tracker.Run | None:
        above = self._session.run
        if above is None:
            return None
        arguments: dict[str, Any] = {
            "project": above.project,
            "entity": above.entity,
            "dir": above.folder.parents[2],
            "mode": getattr(above.settings, "mode", None),
            "group": above.group or above.id,
            "job_type": "trial",
            "name": f"{above.name} · trial {trial.number}",
            "reinit": "create_new",
            "config": {"study": {"name": trial.study.study_name}, "trial": {"number": trial.number}},
            "settings": _OF_TRIALS,
        }
        given = {key: value for key, value in self._arguments.items() if key in ("tags", "notes", "settings")}
        if threading.current_thread() is threading.main_thread():
            return tracker.init(**{**arguments, **given})
        with tracker.confined("thread"):  # other trials have their own
            return tracker.init(**{**arguments, **given})

    @tracker.guarded
    def _close_trial(
        self, session: Trial, trial: Any, answer: Any, state: str | None, error: BaseException | None = None
    ) -> None:
        run = session.opened
        if run is None or run.state != "running":
            return
        with tracker.guard("what Optuna's trial has come to"):
            parameters = {name: _plain(value) for name, value in trial.params.items()}
            # A name of its own: what is trained within has `params`, too.
            run.config.update({"trial": {"number": trial.number, "params": parameters}}, allow_val_change=True)
            values = [] if answer is None else list(answer) if isinstance(answer, Sequence) else [answer]
            if state is None:
                state = "COMPLETE" if _are_good(values, len(trial.study.directions)) else "FAIL"
            named = self._named([float(value) for value in values]) if state == "COMPLETE" else {}
            run.log({"trial": trial.number, "trial_state": state, **named})
        if state == "PRUNED":
            run.tags = (*run.tags, "pruned")
        if error is not None:
            run.__exit__(type(error), error, error.__traceback__)
        else:
            run.finish(1 if state == "FAIL" else 0, quiet=True)

    # --- what it says ------------------------------------------------------------------------

    def _named(self, values: Sequence[float] | None) -> dict[str, float]:
        if values is None:
            return {}
        return dict(zip(self._names(len(values)), values, strict=True))

    def _names(self, count: int) -> list[str]:
        study = self._study()
        own = getattr(study, "metric_names", None)
        if own and self._metric_name == "value" and len(own) == count:
            return list(own)
        if isinstance(self._metric_name, str):
            return [self._metric_name] if count == 1 else [f"{self._metric_name}_{number}" for number in range(count)]
        if len(self._metric_name) == count:
            return [str(name) for name in self._metric_name]
        if not self._is_told:
            self._is_told = True
            tracker.termwarn(
                f"metric_name has {len(self._metric_name)} names, and the objective answers {count} values; they are "
                "logged as value_0, value_1, ... Give as many names as there are values."
            )
        return [f"value_{number}" for number in range(count)]

    def _tell_best(self, study: Any, run: tracker.Run) -> None:
        try:
            if len(study.directions) > 1:
                run.summary.update({"pareto_trials": len(study.best_trials)})
                return
            best = study.best_trial
        except ValueError:  # none is complete
            return
        found = {f"best_params/{name}": _plain(value) for name, value in best.params.items()}
        found[f"best_{self._names(1)[0]}"] = best.value
        if run.summary.get("best_trial") != best.number:
            run.summary.update({"best_trial": best.number, **found})

    def _tell_all(self) -> None:
        study, run = self._study(), self._session.run
        if study is not None and run is not None and self._rows:
            self._log_table(study, run)

    def _log_table(self, study: Any, run: tracker.Run) -> None:
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        trials = trials[-MAX_TABLE_TRIALS:]
        names = list(dict.fromkeys(name for trial in trials for name in trial.params))
        metrics = self._names(len(study.directions))
        notes = list(dict.fromkeys(name for trial in trials for name in trial.user_attrs))
        columns = {
            "trial": [trial.number for trial in trials],
            "state": [trial.state.name for trial in trials],
            **{
                metric: [trial.values[place] if trial.values is not None else None for trial in trials]
                for place, metric in enumerate(metrics)
            },
            **{f"params/{name}": _alike([trial.params.get(name) for trial in trials]) for name in names},
            **{f"user/{name}": _alike([trial.user_attrs.get(name) for trial in trials]) for name in notes},
            "seconds": [trial.duration.total_seconds() if trial.duration else None for trial in trials],
        }
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self._session.log({"trials": tracker.Table(columns=list(columns), data=rows)})


# --- values ----------------------------------------------------------------------------------


@contextmanager
def _reports_to(session: Trial, trial: Any, metric_name: str | Sequence[str]) -> Iterator[None]:
    """Log what the objective reports for the pruner as it reports it."""
    name = metric_name if isinstance(metric_name, str) else "value"
    reporting[id(trial)] = (session, f"intermediate/{name}")
    try:
        yield
    finally:
        reporting.pop(id(trial), None)


def _are_good(values: Sequence[Any], count: int) -> bool:
    """Answer whether Optuna takes them for the values of a trial."""
    try:
        return len(values) == count and not any(math.isnan(float(value)) for value in values)
    except (TypeError, ValueError):
        return False


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _alike(values: Sequence[Any]) -> list[Any]:
    """Answer a column of one type: numbers or texts as they are, all else as texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        return list(values)
    return [None if value is None else str(value) for value in values]
