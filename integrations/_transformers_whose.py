"""Whose run a `Trainer` logs to: what the training says of it, and the checkpoint it goes on from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def arguments(
    args: Any, state: Any, trainer: Any, search: str | None, origin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Answer what the training itself says of its run."""
    found: dict[str, Any] = {}
    name = getattr(args, "run_name", None)
    if name and name != args.output_dir:  # older versions take the folder where there is no name
        found["name"] = name
    project = getattr(args, "project", None)
    if project and project != "huggingface":  # its default
        found["project"] = project
    if state.is_hyper_param_search:
        trial = getattr(trainer, "_trial", None)
        number = getattr(trial, "number", None)
        found["name"] = state.trial_name or (f"trial-{number}" if number is not None else None)
        found["group"] = search or getattr(args, "run_name", None) or args.output_dir
        found["job_type"] = "trial"
    elif origin:
        found.update({key: origin[key] for key in ("project", "entity") if origin.get(key)})
    return {key: value for key, value in found.items() if value is not None}


def origin_in(state: Any, name: str) -> Mapping[str, Any] | None:
    """Answer whose checkpoint a training goes on from; None where it begins, or where the checkpoint does not say."""
    if not state.global_step or not isinstance(state.stateful_callbacks, Mapping):
        return None
    kept = state.stateful_callbacks.get(name) or state.stateful_callbacks.get("TrackerCallback") or []
    for one in reversed(kept if isinstance(kept, list) else [kept]):
        origin = one.get("attributes", {}).get("origin")
        if isinstance(origin, Mapping) and origin.get("run"):
            return origin
    return None


def may_resume() -> bool:
    """Answer whether the user has not said otherwise which run it is to be."""
    named = os.environ.get("TRACKER_RUN_ID") or os.environ.get("WANDB_RUN_ID")
    wish = os.environ.get("TRACKER_RESUME") or os.environ.get("WANDB_RESUME") or ""
    return not named and wish.lower() != "never"
