"""Keras: a table of predictions for rows of the validation data, and the callback whose subclasses make their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tracker

from . import _keras_fits as fits
from . import patching
from ._keras_hooks import Hooks
from ._keras_samples import Sample, cell, leaves, of_data, of_fit, same_dice
from .base import EVAL_ROWS, Session, require

KEY = "eval/predictions"
_BATCH = 32  # Keras' own


class Predictions:
    """Asks a model about the same rows after each validation, and puts the answers into one growing table.

    Args:
        validation_data: Rows to take; those of `fit` by default.
        rows: How many.
    """

    def __init__(self, validation_data: Any = None, rows: int = EVAL_ROWS) -> None:
        self._data = validation_data
        self._rows = rows
        self._sample: Sample | None = None
        self._inputs: dict[str, list[Any]] = {}
        self._batch = _BATCH
        self._is_over = False

    def begin(self, fit: fits.Fit | None) -> None:
        """A training begins; nothing is read yet."""
        self._sample, self._inputs = None, {}
        arguments = {} if fit is None else fit.arguments
        self._batch = arguments.get("validation_batch_size") or arguments.get("batch_size") or _BATCH
        has_none = arguments.get("validation_data") is None and not arguments.get("validation_split")
        self._is_over = self._data is None and has_none

    def log(self, session: Session, fit: fits.Fit | None, model: Any, logs: dict[str, Any], step: int) -> None:
        """Add the predictions of now, if there was a validation."""
        if patching.options.get("log_tables") is False:
            return
        if self._is_over or (self._data is None and not any(name.startswith("val_") for name in logs)):
            return
        self._is_over = True  # unless all goes well: what fails once would fail each time
        if not fits.is_alone() or any(
            getattr(layer, "stateful", False) is True for layer in getattr(model, "layers", ())
        ):
            return  # asking it would need the other processes, or change what it remembers
        sample = self._taken(fit)
        if sample is None:
            return
        # Not before the first validation is over: a data set that keeps itself in a file has done so by then.
        with same_dice():  # on torch Keras' own loader throws them for `predict` as well
            outputs = model.predict(sample.x, batch_size=min(int(self._batch), max(1, len(sample.rows))), verbose=0)
        columns, cells = columns_of(model, sample, outputs)
        rows = zip(sample.rows, *self._inputs.values(), *cells, strict=True)
        session.table(KEY, ["row", *self._inputs, *columns], rows, step)
        self._is_over = False

    def end(self) -> None:
        """Let go of the rows."""
        self._sample, self._inputs = None, {}

    def _taken(self, fit: fits.Fit | None) -> Sample | None:
        if self._sample is None:
            self._sample = (
                of_data(self._data, self._rows)
                if self._data is not None
                else None
                if fit is None
                else of_fit(fit.arguments, self._rows)
            )
            if self._sample is not None:
                found = leaves(self._sample.x)
                names = {name: "input" if not name else f"input/{name}" for name in found}
                self._inputs = {names[name]: [cell(value) for value in leaf] for name, leaf in found.items()}
        return self._sample


def columns_of(model: Any, sample: Sample, outputs: Any) -> tuple[list[str], list[list[Any]]]:
    """Answer the columns of truth and prediction: for classes their number and its score, for all the row's loss."""
    import numpy as np

    truths, answers = leaves(sample.y), leaves(outputs)
    columns: list[str] = []
    cells: list[list[Any]] = []
    for place, (name, answer) in enumerate(answers.items()):
        end = f"/{name}" if name else ""
        truth = truths.get(name, list(truths.values())[place] if place < len(truths) else None)
        answer = np.asarray(answer)
        truth = None if truth is None else np.asarray(truth)
        label, guess, score = _classes(truth, answer, _loss_name(model))
        if truth is not None:
            columns.append(f"label{end}")
            cells.append([cell(one) for one in (truth if label is None else label)])
        columns.append(f"prediction{end}")
        cells.append([cell(one) for one in (answer if guess is None else guess)])
        if score is not None:
            columns.append(f"score{end}")
            cells.append([float(one) for one in score])
    if len(answers) == 1 and "" in truths and sample.y is not None:
        losses = _losses(model, np.asarray(sample.y), np.asarray(outputs))
        if losses is not None:
            columns.append("loss")
            cells.append(losses)
    return columns, cells


def _classes(truth: Any, answer: Any, loss: str) -> tuple[Any, Any, Any]:
    """Answer label, prediction and score, each for all rows; None where these are no classes."""
    import numpy as np

    if answer.ndim == 2 and answer.shape[1] > 1:
        if truth is not None and truth.shape == answer.shape:  # one column for each class
            is_one_hot = set(np.unique(truth).tolist()) <= {0, 1} and bool((truth.sum(axis=1) == 1).all())
            if not is_one_hot or "binary" in loss:
                return None, None, None
            truth = truth.argmax(axis=1)
        elif truth is None or truth.size != len(answer) or not _are_whole(truth):
            return None, None, None
        chances = answer.astype("float64")
        if chances.min() < 0 or chances.max() > 1 or not np.allclose(chances.sum(axis=1), 1, atol=1e-2):
            chances = np.exp(chances - chances.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
        return truth.reshape(len(answer)).astype(int), answer.argmax(axis=1), chances.max(axis=1)
    if truth is not None and "binary" in loss and answer.size == truth.size == len(answer):
        chances = answer.reshape(-1).astype("float64")
        if chances.min() < 0 or chances.max() > 1:
            chances = 1 / (1 + np.exp(-chances))
        return truth.reshape(-1).astype(int), (chances > 0.5).astype(int), chances
    return None, None, None


def _are_whole(values: Any) -> bool:
    return values.dtype.kind in "iub" or (values.dtype.kind == "f" and bool((values == values.round()).all()))


def _loss_name(model: Any) -> str:
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    return str(name).lower()


def _losses(model: Any, truth: Any, answer: Any) -> list[float] | None:
    """Answer the loss of each row, by the model's own loss function; None where it has no such form."""
    import numpy as np

    try:
        loss = require("tf_keras" if fits.is_legacy(model) else "keras").losses.get(model.loss)
        if truth.size == answer.size:
            truth = truth.reshape(answer.shape)
        values = (loss.call if hasattr(loss, "call") else loss)(truth, answer)
        values = values.detach().cpu() if hasattr(values, "detach") else values
        values = np.asarray(values, dtype="float64")
        return [float(one) for one in values.reshape(len(answer), -1).mean(axis=1)]
    except Exception:  # a dict of losses, one that takes what it is not given here, one of the user's own
        return None


class Evaluation(Hooks):
    """Log tables of predictions after each epoch that has a validation.

    Without more it shows the same rows of the validation data each time, with input, label, prediction and loss, as one
    growing table `eval/predictions`. A subclass that has `add_ground_truth` and `add_model_predictions` makes its own
    tables: the first fills `data_table` once, the second `pred_table` after each epoch.

    Args:
        data_table_columns: Of a subclass's `data_table`.
        pred_table_columns: Of its `pred_table`.
        validation_data: Rows to show, in place of those of `fit`: arrays, `tf.data`, a `DataLoader`, a `PyDataset`.
        rows: How many rows at most.
        run: Log to this run; otherwise to the one that is open, or to one that is begun when training does.
        init: Arguments of `tracker.init`, for a run that is begun.

    Example:
        model.fit(x, y, validation_data=(x_val, y_val), callbacks=[TrackerEvalCallback()])
    """

    def __init__(
        self,
        data_table_columns: Sequence[str] | None = None,
        pred_table_columns: Sequence[str] | None = None,
        *,
        validation_data: Any = None,
        rows: int = EVAL_ROWS,
        run: Any = None,
        **init: Any,
    ) -> None:
        super().__init__()
        self._set_up(run, 0, init)
        self.data_table_columns = data_table_columns
        self.pred_table_columns = pred_table_columns
        self.data_table: Any = None
        self.pred_table: Any = None
        self.data_table_ref: Any = None
        self._predictions = Predictions(validation_data, rows)

    # --- for subclasses ------------------------------------------------------------------------

    def add_ground_truth(self, logs: Any = None) -> None:
        """Fill `self.data_table`; called once, when training begins. For subclasses."""

    def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
        """Fill `self.pred_table`; called after each epoch. For subclasses."""

    def init_data_table(self, column_names: Sequence[str]) -> None:
        """Make a new `data_table`."""
        self.data_table = tracker.Table(columns=list(column_names), allow_mixed_types=True)

    def init_pred_table(self, column_names: Sequence[str]) -> None:
        """Make a new `pred_table`."""
        self.pred_table = tracker.Table(columns=list(column_names), allow_mixed_types=True)

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Log `data_table` under `table_name`; rows of predictions may refer to it by `data_table_ref`."""
        self._session.log({table_name: self.data_table}, step=self._steps.reached)
        self.data_table_ref = self.data_table

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: Sequence[str] | None = None
    ) -> None:
        """Log `pred_table` under `table_name`, at the step that training has reached."""
        self._session.log({table_name: self.pred_table}, step=self._steps.reached)

    # --- hooks -----------------------------------------------------------------------------------

    def _is_the_users(self) -> bool:
        return type(self).add_model_predictions is not Evaluation.add_model_predictions

    def _began(self, fit: fits.Fit | None) -> None:
        if not self._is_the_users():
            self._predictions.begin(fit)
            return
        self.init_data_table(column_names=self.data_table_columns or ())
        self.add_ground_truth()
        self.log_data_table()

    def _ended_epoch(self, epoch: int, logs: dict[str, Any], step: int) -> None:
        if not self._is_the_users():
            self._predictions.log(self._session, fits.of(self._model), self.model, logs, step)
            return
        self.init_pred_table(column_names=self.pred_table_columns or ())
        self.add_model_predictions(epoch, logs)
        self.log_pred_table()

    def _ended(self) -> None:
        self._predictions.end()
