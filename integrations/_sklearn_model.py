"""A fitted scikit-learn model as a version of the run's model: a skops file where skops is installed, else joblib's.

Nothing of tracker, the server least of all, ever loads such a file: a joblib file is a pickle, and runs what is in it.
"""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import sys
import tempfile
from importlib.util import find_spec
from typing import Any

import tracker

from ._sklearn_facts import class_name
from .base import model_choice

AUTO_MODEL_BYTES = 64 << 20
"""Models beyond this size are kept only where `TRACKER_LOG_MODEL` asks for them: writing them would hold up the script."""
# What scikit-learn 1.9 keeps in an estimator that has callbacks.
_OF_CALLBACKS = ("_skl_callbacks", "_callback_fit_ctx", "_skl_callbacks_to_teardown", "_parent_callback_ctx")


class _TooLarge(Exception):
    pass


class _Scale:
    """Takes what a pickler writes, and counts it."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit

    def write(self, data: Any) -> int:
        return self._count(memoryview(data).nbytes)

    def weigh(self, buffer: pickle.PickleBuffer) -> None:
        self._count(buffer.raw().nbytes)

    def _count(self, size: int) -> int:
        self.size += size
        if self.size > self._limit:
            raise _TooLarge
        return size


def keep(
    run: tracker.Run, estimator: Any, step: int | None = None, log_model: bool | str | None = None
) -> tracker.Artifact | None:
    """Keep a fitted estimator as a version of the artifact `model-<run id>`.

    Args:
        run: Where.
        estimator: The model.
        step: Where its training stands.
        log_model: As `TRACKER_LOG_MODEL`: "auto" keeps it unless it is large, "false" never; anything else always.

    Returns:
        The artifact; None where it is not kept.
    """
    choice = model_choice(log_model)
    if choice == "false":
        return None
    try:
        if choice == "auto" and not _is_small(_bare(estimator)):
            tracker.termwarn(
                f"a {class_name(estimator)} of more than {AUTO_MODEL_BYTES >> 20} MiB is not kept with the run: "
                "writing it takes long. TRACKER_LOG_MODEL=end keeps models of any size, TRACKER_LOG_MODEL=false none.",
                repeat=False,
            )
            return None
        folder = tempfile.mkdtemp(prefix="tracker-sklearn-")
        try:
            path, written_by = _write(_bare(estimator), folder)
            facts = {
                "framework": "sklearn",
                **({} if step is None else {"step": step}),
                "class": class_name(estimator),
                "format": written_by,
                "scikit-learn": getattr(sys.modules.get("sklearn"), "__version__", None),
            }
            artifact = tracker.Artifact(f"model-{run.id}", type="model", metadata=facts)
            artifact.add_file(path)
            return run.log_artifact(artifact)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except Exception as error:  # a lambda, an open file, a full disk: whatever the estimator holds
        tracker.termwarn(
            f"the {class_name(estimator)} is not kept with the run ({type(error).__name__}: {error}). A model can be kept "
            "that joblib or skops can write: functions in it have to be importable.",
            repeat=False,
        )
        return None


def _bare(estimator: Any) -> Any:
    """Answer the estimator without its callbacks: who loads the model need not have tracker."""
    if not any(name in vars(estimator) for name in _OF_CALLBACKS):
        return estimator
    bare = copy.copy(estimator)
    for name in _OF_CALLBACKS:
        vars(bare).pop(name, None)
    return bare


def _is_small(estimator: Any) -> bool:
    """Answer whether it is at most `AUTO_MODEL_BYTES`; arrays are weighed and not copied."""
    scale = _Scale(AUTO_MODEL_BYTES)
    try:
        pickle.Pickler(scale, protocol=5, buffer_callback=scale.weigh).dump(estimator)
    except _TooLarge:
        return False
    except Exception:
        return True  # the writer may know better; if not, it says why
    return True


def _write(estimator: Any, folder: str) -> tuple[str, str]:
    """Write it, and answer where and as what."""
    if find_spec("skops") is not None:
        try:
            import skops.io  # reads without running code, unlike pickles

            path = os.path.join(folder, "model.skops")
            skops.io.dump(estimator, path)
            return path, f"skops {skops.__version__}"
        except Exception as error:  # a type that skops does not know: joblib does
            reason = f"{type(error).__name__}: {error}"
            tracker.termwarn(f"skops cannot write the {class_name(estimator)} ({reason}); joblib is taken.", False)
    import joblib  # comes with scikit-learn

    path = os.path.join(folder, "model.joblib")
    joblib.dump(estimator, path)
    return path, f"joblib {joblib.__version__}"
