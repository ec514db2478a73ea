"""pytorch_lightning, the older name of Lightning: `TrackerLogger` and `TrackerCallback` for it; see `lightning`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lightning import make_callback, make_logger

if TYPE_CHECKING:
    from ._lightning_callback import RunCallback as TrackerCallback
    from ._lightning_logger import RunLogger as TrackerLogger

__all__ = ["TrackerCallback", "TrackerLogger"]


def __getattr__(name: str) -> Any:
    if name == "TrackerLogger":
        return make_logger("pytorch_lightning")
    if name == "TrackerCallback":
        return make_callback("pytorch_lightning")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
