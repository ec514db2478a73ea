"""What integrations put around their own code, so that no fault of it ever reaches the training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from .complaints import is_strict
from .current import complain

_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def guarded(function: _Function) -> _Function: ...
@overload
def guarded(*, returns: Any = None) -> Callable[[_Function], _Function]: ...
def guarded(function: Any = None, *, returns: Any = None) -> Any:
    """Let nothing that a hook raises reach the training: it is said once, and the hook answers `returns`.

    For hooks that hold only code of the integration; the user's own errors are not to be caught. Under
    `TRACKER_STRICT=1` errors pass. `KeyboardInterrupt` and `SystemExit` always do.

    Args:
        function: The hook.
        returns: What it answers when it failed.

    Example:
        class Callback:
            @tracker.guarded(returns=False)
            def after_iteration(self, model, epoch, evals_log): ...
    """
    if function is None:
        return functools.partial(guarded, returns=returns)

    @functools.wraps(function)
    def hook(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if is_strict():
                raise
            # Of a class that is made in a function, for want of the framework at import, people know the class alone.
            _say(f"{function.__module__}.{function.__qualname__.rpartition('<locals>.')[2]}", error)
            return returns

    return cast("Any", hook)


class guard:  # noqa: N801 - used as a statement
    """The same for a few lines: `with tracker.guard("the model's config"): ...`.

    Args:
        what: What is missing when they fail.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> guard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or is_strict():
            return False
        _say(self._what, error)
        return True


def _say(what: str, error: Exception) -> None:
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else ""
    complain(
        f"guarded {what}",
        f"{what} failed ({type(error).__name__}: {error}{line}). Training goes on; what it would have kept is missing. "
        "TRACKER_STRICT=1 raises such errors instead.",
    )
