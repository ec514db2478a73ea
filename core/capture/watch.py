"""`watch`: what happens inside a model, recorded when its optimizer steps.

Here is what the user calls, and what is refused; `torch_hooks` does the rest. Neither loads torch by itself: a model
cannot be there before it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .statistics import LOGS

if TYPE_CHECKING:
    from ..run import Run


def watch(
    run: Run,
    models: Any,
    criterion: Any = None,
    log: str | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
    by: str = "parameter",
) -> None:
    """Record gradients and parameters of models; see `Run.watch`."""
    chosen = _checked(models, log, log_freq, idx, by)
    if run.state != "running":  # said as for a row that is logged now
        run._refuse(0, b"")
        return
    from . import torch_hooks  # imports torch, which is there: the user has a model

    torch_hooks.attach(run, chosen, criterion, log, log_freq, idx, log_graph, by)


def take_part(
    models: Any,
    criterion: Any = None,
    log: str | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
    by: str = "parameter",
) -> bool:
    """Measure this rank's part of models that are spread over ranks; another rank has the run.

    Returns:
        Whether there is anything to take part in.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    chosen = _checked(models, log, log_freq, idx, by)
    from . import torch_hooks, torch_shards  # as above

    if not torch_shards.is_spread(chosen):
        return False
    torch_hooks.attach(torch_hooks.participant(), chosen, criterion, log, log_freq, idx, log_graph, by)
    return True


def take_no_part(models: Any = None) -> bool:
    """Undo `take_part`; answer whether there was anything to undo."""
    torch_hooks = sys.modules.get(f"{__package__}.torch_hooks")
    return torch_hooks is not None and torch_hooks.leave_peers(None if models is None else _models(models))


def _checked(models: Any, log: str | None, log_freq: int, idx: int | None, by: str) -> Sequence[Any]:
    """Answer the models; refuse what cannot be meant."""
    chosen = _models(models)
    if log is not None and log not in LOGS:
        raise UsageError(f"watch() was given log={log!r}; it can be 'gradients', 'parameters', 'all' or None.")
    if isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1:
        raise UsageError(f"watch() was given log_freq={log_freq!r}; it is a number of optimizer steps, 1 or more.")
    if idx is not None and (isinstance(idx, bool) or not isinstance(idx, int) or idx < 0):
        raise UsageError(f"watch() was given idx={idx!r}; it is the number of the first model, 0 or more.")
    if by not in ("parameter", "module"):
        raise UsageError(f"watch() was given by={by!r}; it can be 'parameter' or 'module'.")
    return chosen


def unwatch(run: Run, models: Any = None) -> None:
    """Record nothing more of models; see `Run.unwatch`."""
    chosen = None if models is None else _models(models)
    if sys.modules.get("torch") is not None:
        from . import torch_hooks

        torch_hooks.detach(run, chosen)


def _models(models: Any) -> Sequence[Any]:
    """Answer the models that were given, one or several."""
    given = list(models) if isinstance(models, (list, tuple, set)) else [models]
    chosen = list({id(model): model for model in given}.values())
    torch = sys.modules.get("torch")
    for model in chosen:
        if torch is None or not isinstance(model, torch.nn.Module):
            kind = type(model)
            raise UsageError(
                f"watch() takes a torch.nn.Module, or several in a list; got a {kind.__module__}.{kind.__qualname__}. "
                "Models of other frameworks are watched by their integration."
            )
    return chosen
