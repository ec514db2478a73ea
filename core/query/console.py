"""What a run printed, read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..printed import ConsoleLine, ConsolePage

_PAGE = 5000


Ask = Callable[[Mapping[str, Any]], ConsolePage]


def walk(ask: Ask, wanted: Mapping[str, Any]) -> Iterator[ConsoleLine]:
    """Walk all lines that match, page by page."""
    offset = 0
    while True:
        page = ask({**wanted, "offset": offset, "limit": _PAGE})
        yield from page.lines
        offset += len(page.lines)
        if len(page.lines) < _PAGE:
            return


def page_from(answer: Mapping[str, Any]) -> ConsolePage:
    """Answer a page as a server tells it; fields of later versions are passed over."""
    names = ConsoleLine.__dataclass_fields__
    lines = [ConsoleLine(**{name: line.get(name) for name in names}) for line in answer["lines"]]
    return ConsolePage(answer["total"], answer["left_out"], answer["mark"], lines)
