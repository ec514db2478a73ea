"""`logger.experiment` of Lightning where there is no run yet, and on the ranks that never have one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import tracker

if TYPE_CHECKING:
    from ._lightning_logger import RunLogger


def is_rank_zero() -> bool:
    """Answer whether this process logs: as its launcher tells it, and as Lightning's own children are told."""
    if tracker.rank() != 0:
        return False
    rank_zero: Any = sys.modules.get("lightning_utilities.core.rank_zero")
    return not getattr(getattr(rank_zero, "rank_zero_only", None), "rank", None)


class RunToCome:
    """The run, before it is opened: the first use of it opens it.

    Lightning touches `logger.experiment` before it has read a checkpoint, and while it searches a learning rate.
    """

    def __init__(self, logger: RunLogger) -> None:
        object.__setattr__(self, "_logger", logger)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """What it will be, for `isinstance`."""
        return tracker.Run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._run(), name, value)

    def __repr__(self) -> str:
        return f"<the run of {object.__getattribute__(self, '_logger')!r}, not begun yet>"

    def _run(self) -> Any:
        logger = object.__getattribute__(self, "_logger")
        return logger.session.run or logger.open() or tracker.run or NoRun()


class NoRun:
    """What ranks other than 0 have for a run: it takes every call, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(())

    def __bool__(self) -> bool:
        return False
