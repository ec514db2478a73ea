"""A list of runs that is fetched as it is walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from .run import Run
from .source import Page

_LARGEST_PAGE = 1000


class Runs(Sequence[Run]):
    """Runs of a query, a page at a time: `len`, indexing, slicing and iteration.

    Args:
        fetch: Answers a page for a limit and an offset.
        make: Makes a run of what the page tells.
        per_page: Runs fetched at once.
    """

    def __init__(self, fetch: Callable[[int, int], Page], make: Callable[[Any], Run], per_page: int) -> None:
        self._fetch = fetch
        self._make = make
        self._per_page = max(1, min(per_page, _LARGEST_PAGE))
        self._total: int | None = None
        self._known: dict[int, Run] = {}

    def __len__(self) -> int:
        if self._total is None:
            self._load(0, self._per_page)
        return self._total or 0

    def __iter__(self) -> Iterator[Run]:
        index = 0
        while index < len(self):
            if index not in self._known:
                # Who walks on past the first page walks to the end: larger pages from there.
                self._load(index, self._per_page if index < self._per_page else _LARGEST_PAGE)
            if index not in self._known:  # removed while we were walking
                return
            yield self._known[index]
            index += 1

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        """Answer a run, or the runs of a slice; only the pages needed are fetched."""
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            if places and (missing := [place for place in places if place not in self._known]):
                low, high = min(missing), max(missing)
                for offset in range(low, high + 1, _LARGEST_PAGE):
                    self._load(offset, min(high + 1 - offset, _LARGEST_PAGE))
            return [self._known[place] for place in places if place in self._known]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"run {index} of {len(self)}")
        if place not in self._known:
            self._load(place // self._per_page * self._per_page, self._per_page)
        if place not in self._known:
            raise IndexError(f"run {index}: the list has become shorter")
        return self._known[place]

    def _load(self, offset: int, limit: int) -> None:
        page = self._fetch(limit, offset)
        if self._total is None:
            self._total = page.total
        for index, info in enumerate(page.runs, offset):
            self._known[index] = self._make(info)

    def __repr__(self) -> str:
        return f"<Runs {len(self)}>"
