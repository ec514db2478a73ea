"""Each complaint that the pages name has the test they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "integrations.md", *sorted((ROOT / "docs" / "integrations").glob("*.md"))]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_it_names_are_there(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or not re.search(rf"def {test}\b", (ROOT / file).read_text(encoding="utf-8"))
    ]

    assert named
    assert missing == []
