"""Regular expressions from outside, bounded: none may keep the server busy for long.

Python's engine backtracks. What makes it explode are repetitions within repetitions and many of them side by side, so
those are refused, and only the beginning of a long text is searched.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from ...core.errors import UsageError

parser: Any = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")  # renamed in 3.11

MAX_PATTERN_CHARS = 200
MAX_TEXT_CHARS = 256
MAX_REPETITIONS = 3
MAX_OPTIONS = 6
_FEW = 8  # a repetition of at most so many times multiplies the work, and does not explode it


def bounded_pattern(pattern: Any, *, ignore_case: bool = False) -> Callable[[str], bool]:
    """Answer whether a text holds the pattern, as a function.

    Raises:
        UsageError: It is no regular expression, or one that could take long.
    """
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_CHARS:
        raise UsageError(f"$regex takes a text of at most {MAX_PATTERN_CHARS} characters.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(pattern)
            compiled = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}.") from error
    counts = _Counts()
    counts.walk(tree, inside=False)
    if counts.long > MAX_REPETITIONS or counts.short > MAX_OPTIONS:
        raise UsageError(
            f"{pattern!r} repeats more than {MAX_REPETITIONS} parts without a limit, or has more than {MAX_OPTIONS} "
            "that may be left out; make it simpler."
        )
    search = compiled.search
    return lambda text: search(text[:MAX_TEXT_CHARS]) is not None


class _Counts:
    """How many parts may repeat often (`long`) and up to a few times (`short`)."""

    def __init__(self) -> None:
        self.long = 0
        self.short = 0

    def walk(self, tree: Iterable[Any], *, inside: bool) -> None:
        """Count; raise where a repetition is inside another, holds a choice, or refers back."""
        for operator, argument in tree:
            name = str(operator)
            if name.endswith("REPEAT"):
                least, most, part = (int(argument[0]), int(argument[1]), argument[2])
                if inside and most > 1:
                    raise UsageError("the pattern repeats something that itself repeats; make it simpler.")
                if most > _FEW:
                    self.long += 1
                elif most > least:
                    self.short += 1
                self.walk(part, inside=inside or most > 1)
            elif name.startswith("GROUPREF"):
                raise UsageError("the pattern refers back to a group; that is not offered.")
            elif name == "BRANCH" and inside:
                raise UsageError(
                    "the pattern repeats a choice; write it as a set such as [ab]*, or without repetition."
                )
            else:
                for part in _parts(argument):
                    self.walk(part, inside=inside)


def _parts(argument: Any) -> list[Any]:
    """Answer the patterns inside an operator's argument."""
    if isinstance(argument, parser.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [part for item in argument for part in _parts(item)]
    return []
