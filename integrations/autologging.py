"""`tracker.autolog`: from here on, trainings of some frameworks, or of all, are logged without a word in the script."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import tracker

from . import INTEGRATIONS, patching


@tracker.guarded
def autolog(
    frameworks: str | Iterable[str] | None = None,
    *,
    disable: bool = False,
    log_models: bool | str | None = None,
    log_tables: bool | None = None,
) -> None:
    """Log trainings by themselves, from here on: of frameworks that are imported already, and of those that will be.

    Nothing is opened now: a run begins when a training does. What was said last rules, also over `TRACKER_AUTOLOG`.

    Args:
        frameworks: Their names, in a list or in one text with commas; None and "all" mean all. One that is not known is said.
        disable: Do it no longer: what was put around the frameworks' functions is taken away again.
        log_models: Which checkpoints to keep, as in `TRACKER_LOG_MODEL`: True or "checkpoint" all, "end" the last one,
            False none, "auto" those that are not too large.
        log_tables: Keep tables of predictions; True by default.

    Example:
        tracker.autolog("xgboost, sklearn", log_models=False)
    """
    is_all = frameworks is None or (isinstance(frameworks, str) and frameworks.strip().lower() == "all")
    names = None if is_all else _known(frameworks)  # type: ignore[arg-type] # it is not None
    patching.ask(names, not disable)
    for name, value in (("log_models", log_models), ("log_tables", log_tables)):
        if value is not None:
            patching.options[name] = value
    if disable:
        for framework in (None,) if names is None else names:
            patching.unwrap(framework)
        return
    if (hook := _hook()) is not None:
        hook.autolog_loaded()


def known() -> list[str]:
    """Answer the frameworks whose trainings can be logged by themselves."""
    return sorted(integration.name for integration in INTEGRATIONS if integration.autolog)


def _known(frameworks: str | Iterable[str]) -> list[str]:
    given = frameworks.split(",") if isinstance(frameworks, str) else list(frameworks)
    hook, there = _hook(), known()
    names = []
    for one in filter(None, (str(name).strip() for name in given)):
        name = one if hook is None else hook.canonical(one)
        if name in there:
            names.append(name)
        else:
            tracker.termwarn(
                f"autolog() was given {one!r}, which is not known; there is: {', '.join(there) or 'none'}.",
                repeat=False,
            )
    return names


def _hook() -> Any:
    return sys.modules.get("_tracker_hook")
