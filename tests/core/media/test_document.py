"""The page about media names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import tracker

PAGE = Path(__file__).parents[3] / "docs" / "media.md"
KINDS = [name for name, place in tracker._NAMES.items() if place.startswith("media.")]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_in_the_page_with_its_arguments(name: str) -> None:
    """In their order."""
    (row,) = re.findall(rf"`{name}\((.*?)\)`", PAGE.read_text(encoding="utf-8"))
    parameters = [each.name for each in inspect.signature(getattr(tracker, name)).parameters.values()]

    assert row.split(", ") == ["file_type" if parameter == "kwargs" else parameter for parameter in parameters]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_reference_is_in_the_page(name: str) -> None:
    """By its `_type`; classes are part of others."""
    assert name == "Classes" or f"`{getattr(tracker, name)._type}`" in PAGE.read_text(encoding="utf-8")
