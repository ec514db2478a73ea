"""Metaflow: each task of a step as a run, with the flow's parameters, what the step keeps, and how it ended."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tracker

from .base import require

_LIST_CELLS = 20


def tracker_log(func: Any = None, /, **arguments: Any) -> Any:
    """Log the tasks of a step, or of all steps of a flow; stands above `@step`, or above the class.

    The run is named after the task, all runs of a flow's execution are a group. Its config has the flow's parameters,
    its summary the numbers and texts that the step puts into `self`, and what the step logs itself is in it.
    A task that is tried again goes on with its run.

    Args:
        func: The step, or the class; by the decorator itself.
        arguments: Of `tracker.init`.

    Example:
        class Training(FlowSpec):
            @tracker_log(project="digits")
            @step
            def start(self):
                tracker.log({"loss": 0.5})
                self.next(self.end)
    """
    if func is None:
        return functools.partial(tracker_log, **arguments)
    if isinstance(func, type):
        for name, step in list(vars(func).items()):
            if getattr(step, "is_step", False):
                setattr(func, name, tracker_log(step, **arguments))
        return func

    @functools.wraps(func)
    def logged(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, run = _before(self, arguments)
        try:
            answer = func(self, *args, **kwargs)
        except BaseException as error:
            _after(self, run, before, error)
            raise
        _after(self, run, before, None)
        return answer

    return logged


@tracker.guarded(returns=({}, None))
def _before(flow: Any, arguments: dict[str, Any]) -> tuple[dict[str, Any], tracker.Run | None]:
    current = require("metaflow").current
    group = f"{current.flow_name}/{current.run_id}"
    run = tracker.init(
        **{
            "id": f"{current.flow_name}-{current.run_id}-{current.step_name}-{current.task_id}",
            "name": current.pathspec,
            "group": group,
            "job_type": current.step_name,
            "resume": "allow",
            "reinit": "create_new",
            "config": _parameters(flow),
            **arguments,
        }
    )
    facts = {name: getattr(current, name, None) for name in ("flow_name", "run_id", "origin_run_id", "retry_count")}
    run.config.update({"metaflow": {**facts, "step": current.step_name}}, allow_val_change=True)
    return dict(vars(flow)), run


@tracker.guarded
def _after(flow: Any, run: tracker.Run | None, before: dict[str, Any], error: BaseException | None) -> None:
    if run is None:
        return
    for name, value in vars(flow).items():
        if name.startswith("_") or (name in before and before[name] is value):
            continue
        if isinstance(value, (bool, int, float, str)) or getattr(value, "shape", None) == ():
            run.summary[name] = value
        elif isinstance(value, (list, tuple)) and len(value) <= _LIST_CELLS:
            run.summary[name] = [one for one in value if isinstance(one, (bool, int, float, str))]
        elif type(value).__name__ == "DataFrame":
            run.log({name: tracker.Table(dataframe=value)})
    run.__exit__(type(error) if error is not None else None, error, getattr(error, "__traceback__", None))


def _parameters(flow: Any) -> dict[str, Any]:
    ask: Callable[[], Any] | None = getattr(flow, "_get_parameters", None)
    found = {}
    for name, _ in ask() if ask is not None else ():
        found[str(name)] = getattr(flow, name)
    return found
