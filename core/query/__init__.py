"""Reading back: `Api`, its lists and its runs."""

from __future__ import annotations

from .api import Api
from .run import Run
from .runs import Runs

__all__ = ["Api", "Run", "Runs"]
