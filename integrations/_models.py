"""What of models is kept and recorded: what users say of it, in few words, and what is too large to be kept unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tracker

from . import patching

NO = ("false", "0", "no", "off", "none")
"""What people say where they want nothing, in small letters."""
AUTO_CHECKPOINT_BYTES = 2 << 30
"""Checkpoints beyond this size, or that would take more than a tenth of what the disk has left, are kept only where
`TRACKER_LOG_MODEL` asks for them."""
_YES = ("true", "1", "yes", "on")
_EACH = ("checkpoint", "all", *_YES)
_FREE_SHARE = 10


def model_choice(chosen: bool | str | None) -> Literal["checkpoint", "end", "auto", "false"]:
    """Answer which models to keep: each one, the last one, those that are not too large, or none.

    What the integration was told rules, then `tracker.autolog(log_models=...)`, then `TRACKER_LOG_MODEL`. A blank says
    nothing; case and blanks around do not matter. A word that is not known is said once, and passed for "auto".

    Args:
        chosen: The integration's `log_model`.
    """
    for where, said in (
        ("log_model", chosen),
        ("log_models of autolog()", patching.options.get("log_models")),
        ("TRACKER_LOG_MODEL", os.environ.get("TRACKER_LOG_MODEL")),
    ):
        word = "" if said is None else str(said).strip().lower()
        if word in _EACH:
            return "checkpoint"
        if word in NO:
            return "false"
        if word == "end":
            return "end"
        if word == "auto":
            return "auto"
        if word:
            tracker.termwarn(
                f"{where} is {said!r}; it can be auto, checkpoint, end or false. auto is taken.", repeat=False
            )
            return "auto"
    return "auto"


def watch_choice(
    chosen: bool | str | None, variables: Sequence[str] = ("TRACKER_WATCH",)
) -> tuple[Literal["gradients", "parameters", "all"] | None, bool]:
    """Answer what to record of a torch model, None for nothing; and whether anybody has said so.

    What the integration was told rules, then the variables. A blank says nothing; case and blanks around do not matter.
    A word that is not known is said once, and passed for "gradients", as is "true".

    Args:
        chosen: The integration's `watch`.
        variables: Of the environment, the first that says something.
    """
    for where, said in (("watch", chosen), *((name, os.environ.get(name)) for name in variables)):
        word = "" if said is None else str(said).strip().lower()
        if not word:
            continue
        if word in NO:
            return None, True
        if word == "parameters":
            return "parameters", True
        if word == "all":
            return "all", True
        if word != "gradients" and word not in _YES:
            tracker.termwarn(
                f"{where} is {said!r}; it can be gradients, parameters, all or false. gradients is taken.", repeat=False
            )
        return "gradients", True
    return "gradients", False


def is_kept(path: Path, folder: str | os.PathLike[str], is_last: bool, chosen: bool | str | None) -> bool:
    """Answer whether a checkpoint is to be kept; one that is too large to be kept unasked is said once.

    Args:
        path: Its file or folder.
        folder: On the disk that would hold it.
        is_last: It holds what the training has come to.
        chosen: The integration's `log_model`.
    """
    choice = model_choice(chosen)
    if choice != "auto":
        return choice == "checkpoint" or (choice == "end" and is_last)
    size, free = _size(path), shutil.disk_usage(folder).free
    if size <= AUTO_CHECKPOINT_BYTES and size * _FREE_SHARE <= free:
        return True
    tracker.termwarn(
        f"a checkpoint of {size / 1e9:.1f} GB is not kept with the run ({free / 1e9:.0f} GB are free on its disk). "
        "TRACKER_LOG_MODEL=checkpoint keeps all checkpoints, TRACKER_LOG_MODEL=false says no to all.",
        repeat=False,
    )
    return False


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
