"""Reading back: `Api`, its lists and its runs."""

from __future__ import annotations

from .api import Api
from .files import File
from .run import Run
from .runs import Runs

__all__ = ["Api", "File", "Run", "Runs"]
