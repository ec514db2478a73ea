"""One model's training, and what becomes of it: the run it logs to, the data it has seen, what is logged of it."""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tracker

from . import _sklearn_facts as facts
from . import _sklearn_model as model_file
from . import _sklearn_search as search
from .base import Session, is_within_training, model_choice

CHILD_RUNS = 5
_YES = ("1", "true", "yes", "on")

# run -> the models that were fitted in it
_in_run: weakref.WeakKeyDictionary[Any, list[_Fitted]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Options:
    """What is wanted beyond what costs nothing.

    Args:
        child_runs: So many of a search's candidates become runs of their own.
        training_score: Ask the model for its score on the training data: one more pass over them.
        log_model: As `TRACKER_LOG_MODEL`; None leaves it to the variable.
    """

    child_runs: int = CHILD_RUNS
    training_score: bool = False
    log_model: bool | str | None = None

    @classmethod
    def from_environment(cls) -> Options:
        """Answer what `TRACKER_SKLEARN_CHILD_RUNS` and `TRACKER_SKLEARN_TRAINING_SCORE` say."""
        text = os.environ.get("TRACKER_SKLEARN_CHILD_RUNS", "").strip()
        score = os.environ.get("TRACKER_SKLEARN_TRAINING_SCORE", "").strip().lower()
        chosen = cls(training_score=score in _YES)
        return replace(chosen, child_runs=int(text)) if text.isdigit() else chosen


@dataclass
class _Fitted:
    """One of the models of a run.

    Args:
        kind: Its class.
        prefix: Of the names that are logged of it.
        params: Its parameters.
        seconds: How long its fit took.
    """

    kind: str
    prefix: str
    params: dict[str, Any]
    seconds: float = 0.0


class Fit:
    """A model in training, or trained. The model and its data are held weakly: nothing lives longer for being logged.

    Args:
        model: The outermost estimator.
        session: Its hold on a run.
        options: What is wanted.
    """

    def __init__(self, model: Any, session: Session, options: Options) -> None:
        self.session = session
        self.options = options
        self.calls = 0  # of partial_fit, or of fit with warm_start
        self._is_series = False
        self._samples = 0  # in all these calls
        self._model = weakref.ref(model)
        self._data: tuple[Any, Any] = (None, None)  # while it is in training
        self._seen: list[weakref.ref[Any]] = []
        self._fitted: _Fitted | None = None
        self._began = 0.0
        self._place: dict[str, str] = {}  # of the run, to find it again when it has ended
        self._kept_by: tracker.Run | None = None  # keeps the model when it ends

    @property
    def model(self) -> Any:
        """The estimator; None when nobody has it any more."""
        return self._model()

    # --- its course --------------------------------------------------------------------------

    def begin(
        self,
        x: Any,
        y: Any,
        arguments: Mapping[str, Any] | None = None,
        *,
        is_series: bool = False,
        is_partial: bool = False,
    ) -> bool:
        """Find or open the run, and put the model's parameters into its config; answer whether there is a run.

        Args:
            x: What the model is fitted to.
            y: The truth, or None.
            arguments: What else is given to `fit`.
            is_series: It is one of many calls that train one model on: `partial_fit`, or `fit` with `warm_start`.
            is_partial: It is `partial_fit`.
        """
        run = None if is_within_training() else self.session.begin()
        if run is None:
            return False
        self._place = {"id": run.id, "project": run.project, "entity": run.entity}
        self._is_series = is_series
        self.calls += 1
        self._see(x, y)
        self._data = (x, y)
        with tracker.guard("what scikit-learn's model is to be fitted with"):
            samples = facts.of_data(x, y).get("samples")
            self._samples += samples if isinstance(samples, int) else 0
            if self.calls == 1:
                self._introduce(run, x, y, arguments or {})
            elif self._fitted is not None and not is_partial:  # a warm start may have other parameters
                self._fitted.params = facts.parameters(self.model)
                self._update(run, {"params": self._fitted.params})
        self._began = time.perf_counter()
        return True

    def end(self, *, is_partial: bool = False) -> None:
        """The training is over, and went well: log what it has left in the model.

        Args:
            is_partial: It was `partial_fit`: more will follow, perhaps thousands.
        """
        seconds = time.perf_counter() - self._began
        model = self.model
        if model is not None and self.session.run is not None:
            with tracker.guard("what scikit-learn's model has to tell"):
                if is_partial:
                    self._tell_of_part(model, seconds)
                else:
                    self._tell(model, seconds)
        self._data = (None, None)
        self.session.pause(wait=not is_partial)

    def fail(self, error: BaseException) -> None:
        """The training has ended with an exception."""
        self._data = (None, None)
        self.session.fail(error)

    @tracker.guarded
    def log(self, values: Mapping[str, Any]) -> None:
        """Log values of the trained model where its training stands; also when its run has ended since."""
        prefix = self._fitted.prefix if self._fitted else ""
        named = {prefix + key: value for key, value in values.items()}
        if self.session.run is not None:
            self.session.log(named, step=self._step())
        elif self._place:
            self._log_late(named)

    def name_for(self, x: Any, name: str) -> str:
        """Answer what a score on some data is called: `train/...` for the very object that the model was fitted to.

        Data that cannot be recognised, such as lists, have no part in the name.
        """
        try:
            weakref.ref(x)
        except TypeError:
            return name
        return f"{'train' if any(seen() is x for seen in self._seen) else 'test'}/{name}"

    # --- what it logs ------------------------------------------------------------------------

    def _introduce(self, run: Any, x: Any, y: Any, arguments: Mapping[str, Any]) -> None:
        model = self.model
        others = _in_run.setdefault(run, [])
        kind = type(model).__name__
        same = [other for other in others if other.kind == kind]
        prefix = same[0].prefix if same else f"{kind}/" if others else ""
        parameters = facts.parameters(model)
        self._fitted = _Fitted(kind, prefix, parameters)
        others.append(self._fitted)
        given = [name for name, value in arguments.items() if value is not None]
        config = {"model": facts.structure(model), "params": parameters, "data": facts.of_data(x, y, given)}
        # Whole, and not merged: parameters of the model before are not this one's.
        run.config.update({prefix.rstrip("/"): config} if prefix else config, allow_val_change=True)

    def _tell_of_part(self, model: Any, seconds: float) -> None:
        row = {"partial_fit": self.calls, "samples_seen": self._samples or None, "fit_seconds": seconds}
        self.log({**row, **_numbers(model)})
        run: Any = self.session.run
        if model_choice(self.options.log_model) == "checkpoint":
            model_file.keep(run, model, self._step(), self.options.log_model)
        elif self._kept_by is not run:  # when all of it is over
            self._kept_by = run
            run.on_finish(self._keep_last)

    def _keep_last(self) -> None:
        if self.model is not None and self._kept_by is not None:
            model_file.keep(self._kept_by, self.model, self.calls - 1, self.options.log_model)

    def _tell(self, model: Any, seconds: float) -> None:
        session = self.session
        run: Any = session.run
        prefix = self._fitted.prefix if self._fitted else ""
        self._add_learned(run, prefix, facts.learned(model))
        curves = facts.curves(model) if self.calls == 1 else {}
        for place, values in enumerate(_rows(curves)):
            run.log({"iteration": place, **{prefix + key: value for key, value in values.items()}})
        numbers = {key: value for key, value in _numbers(model).items() if key not in curves}
        row: dict[str, Any] = {"fit_seconds": seconds, **numbers}
        if search.is_search(model):
            row.update(search.best(model))
        found = facts.importances(model)
        if found is not None:
            source, pairs = found
            title = "Feature importance" if source == "feature_importances_" else "Magnitude of coefficients"
            row["feature_importance"] = facts.importance_chart(pairs, title)
        if self.options.training_score:
            row["train/score"] = self._training_score(model)
        self.log(row)
        self._list_fits(run, seconds)
        if search.is_search(model):
            search.log_results(session, model, f"{prefix}cv_results")
            search.log_children(session, model, run.group or run.id, self.options.child_runs)
        model_file.keep(run, getattr(model, "best_estimator_", model), self._step(), self.options.log_model)

    def _add_learned(self, run: Any, prefix: str, learned: Mapping[str, Any]) -> None:
        config = run.config.get(prefix.rstrip("/"), {}) if prefix else run.config
        self._update(run, {"data": {**config.get("data", {}), **learned}})

    def _update(self, run: Any, values: Mapping[str, Any]) -> None:
        """Put values into the part of the config that is this model's."""
        name = self._fitted.prefix.rstrip("/") if self._fitted else ""
        whole = {name: {**run.config.get(name, {}), **values}} if name else dict(values)
        run.config.update(whole, allow_val_change=True)

    def _list_fits(self, run: Any, seconds: float) -> None:
        """Where several models are fitted in one run, its config shows the last of each class; a table has them all."""
        if self._fitted is None:
            return
        self._fitted.seconds = seconds
        fits = _in_run.get(run, [])
        if len(fits) > 1:
            new = fits if len(fits) == 2 else [self._fitted]
            rows = [[fit.kind, str(fit.params), fit.seconds] for fit in new]
            self.session.table("fits", ["model", "params", "fit_seconds"], rows)

    def _training_score(self, model: Any) -> float | None:
        x, y = self._data
        if x is None or not hasattr(model, "score"):
            return None
        return float(model.score(x) if y is None else model.score(x, y))

    def _step(self) -> int | None:
        # In a run of its own, each call that trains the model on is a step; elsewhere steps are the user's.
        return self.calls - 1 if self._is_series and self.session.is_owner else None

    def _see(self, x: Any, y: Any) -> None:
        self._seen = []
        for data in (x, y):
            try:
                self._seen.append(weakref.ref(data))
            except TypeError:  # a list, or None
                continue

    def _log_late(self, values: Mapping[str, Any]) -> None:
        """Go on with a run that has ended because another model was trained since."""
        current = tracker.run
        is_waiting = current is not None and current.released
        if current is not None and is_waiting:
            current.hold()  # or it would be ended by our `init`
        try:
            place: dict[str, Any] = {**self.session.arguments, **self._place}
            place["settings"] = {**dict(place.get("settings") or {}), **search.PLAIN_RUN}
            with tracker.init(**place, resume="must", reinit="create_new") as run:
                run.log(values)
        finally:
            if current is not None and is_waiting:
                current.release()


def arguments_for(model: Any) -> dict[str, Any]:
    """Answer what `tracker.init` is given where a run has to be opened: a search has a group for its candidates."""
    if not search.is_search(model) or os.environ.get("TRACKER_RUN_GROUP") or os.environ.get("TRACKER_GROUP"):
        return {}
    return {"group": f"{type(model).__name__}-{secrets.token_hex(3)}", "job_type": "search"}


def _numbers(model: Any) -> dict[str, float]:
    return {key if key == "best_score" else f"train/{key}": value for key, value in facts.outcome(model).items()}


def _rows(curves: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    length = max((len(values) for values in curves.values()), default=0)
    return [{name: values[place] for name, values in curves.items() if place < len(values)} for place in range(length)]
