"""Keras: checkpoints as versions of the run's model."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import tracker

from ._keras_fits import Saving, is_alone, is_legacy
from ._keras_hooks import Hooks
from ._keras_steps import Steps, number
from .base import AUTO_CHECKPOINT_BYTES, Session, model_choice

_BYTES_PER_PARAMETER = 12  # a float32, and as much twice for an optimizer such as Adam


class Checkpoint(Hooks):
    """Save as `keras.callbacks.ModelCheckpoint` does, and keep each checkpoint as a version of the run's model.

    A version is taken when Keras has written the file, which may be written over at once. Where nothing was written
    (`save_best_only`) there is none. Its aliases are "latest", `epoch_<n>` (with `_batch_<n>` where it was saved within
    an epoch) and, for the best so far, "best". What `TRACKER_LOG_MODEL` says rules.

    Args:
        args: Those of `ModelCheckpoint`, in its order.
        run: Log to this run; otherwise to the one that is open, or to one that is begun when training does.
        kwargs: The others of `ModelCheckpoint`.

    Example:
        model.fit(x, y, callbacks=[TrackerModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True)])
    """

    def __init__(self, *args: Any, run: Any = None, **kwargs: Any) -> None:
        self._given = (args, kwargs)
        self._best: float | None = None
        try:
            super().__init__(*args, **kwargs)
        except (TypeError, ValueError):  # not for Keras 3; the other one may take it
            if not self._becomes(is_legacy=True):
                raise
        self._set_up(run)

    @property
    def async_safe(self) -> bool:
        """Whether Keras may call the hooks of batches from other threads: where they have nothing to save."""
        return self.save_freq == "epoch"  # type: ignore[attr-defined, no-any-return] # ModelCheckpoint's

    def _wants_batches(self) -> bool:
        return self.save_freq != "epoch"  # type: ignore[attr-defined, no-any-return]

    def set_model(self, model: Any) -> None:
        """Take the model; for one of the other Keras this becomes a callback of that one."""
        self._becomes(is_legacy(model))
        super().set_model(model)

    def _becomes(self, is_legacy: bool) -> bool:
        """Become a callback of the other Keras; answer whether this was one of the wrong Keras."""
        from . import keras as classes

        other = classes.twin(type(self), is_legacy)
        if other is type(self):
            return False
        self.__class__ = other
        args, kwargs = self._given
        super().__init__(*args, **kwargs)
        return True

    def _save_model(self, epoch: int, batch: Any = None, logs: Any = None) -> Any:
        with Saving(self, epoch, batch, logs) as saving:
            answer = super()._save_model(epoch, batch, logs)  # type: ignore[misc] # ModelCheckpoint's
        self._keep(saving)
        return answer

    @tracker.guarded
    def _keep(self, saving: Saving) -> None:
        # Asked for by name: whatever its size, unless something else is said of all models.
        choice = True if model_choice(None) == "auto" else None
        self._best, _ = keep(saving, self._session, self._steps, self._best, choice)


def keep(
    saving: Saving, session: Session, steps: Steps, best: float | None, log_model: bool | str | None
) -> tuple[float | None, bool]:
    """Keep what a `ModelCheckpoint` has saved, if it has.

    Returns:
        The best value so far of what it monitors, and whether something was kept.
    """
    written = saving.written()
    if not written or session.run is None:
        return best, False
    checkpoint, epoch, batch = saving.checkpoint, saving.epoch, saving.batch
    step = steps.end_epoch(checkpoint.model) if batch is None else steps.in_epoch(batch)[1]
    aliases = [f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"]
    current = saving.logs.get(checkpoint.monitor)
    is_number = isinstance(current, float)
    if getattr(checkpoint, "save_best_only", False) or (is_number and _is_better(checkpoint, current, best)):
        aliases.append("best")
        best = current if is_number else best
    metadata = {
        "epoch": epoch,
        "file": Path(written[0]).name,
        **({"monitor": checkpoint.monitor} if is_number else {}),
        **{name: value for name, value in saving.logs.items() if isinstance(value, float)},
    }
    if len(written) == 1:
        kept = session.checkpoint(
            written[0], step=step, aliases=aliases, metadata=metadata, is_last=False, log_model=log_model
        )
        return best, kept is not None
    with tempfile.TemporaryDirectory(prefix="tracker-") as folder:  # TensorFlow's format: several files, one name
        for path in written:
            shutil.copy(path, folder)
        kept = session.checkpoint(folder, step=step, aliases=aliases, metadata=metadata, log_model=log_model)
    return best, kept is not None


def _is_better(checkpoint: Any, current: Any, best: float | None) -> bool:
    compare = getattr(checkpoint, "monitor_op", None)
    if best is None or compare is None:
        return best is None
    return bool(number(compare(current, best)))


def keep_last(model: Any, session: Session, step: int, log_model: bool | str | None) -> None:
    """Save a trained model and keep it, unless it is one of the large that nobody has asked for."""
    choice = model_choice(log_model)
    if choice == "false" or session.run is None:
        return
    if choice == "auto" and model.count_params() * _BYTES_PER_PARAMETER > AUTO_CHECKPOINT_BYTES:
        return
    if not is_alone():
        tracker.termwarn(
            "a model that several workers train can only be saved by all of them together, and is not kept. "
            "A ModelCheckpoint among the callbacks saves it, and what it saves is kept.",
            repeat=False,
        )
        return
    with tempfile.TemporaryDirectory(prefix="tracker-") as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        session.checkpoint(path, step=step, aliases=["last"], is_last=True, log_model=log_model)
