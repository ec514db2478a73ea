"""Every Python block in the README and the docs runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# One block may be left out by `<!-- not run: why -->` on the line before it, or where `<!-- wants: module -->` is missing.
BLOCK = re.compile(r"(<!-- not run: [^\n]*-->\n)?(?:<!-- wants: (\w+) -->\n)?^```python\n(.*?)^```", re.M | re.S)


def _blocks() -> list[object]:
    found = []
    for page in PAGES:
        for number, block in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), start=1):
            if not block[1]:
                name = f"{page.relative_to(ROOT).as_posix()}-{number}"
                is_missing = block[2] is not None and find_spec(block[2]) is None
                mark = pytest.mark.skipif(is_missing, reason=f"{block[2]} is not installed")
                found.append(pytest.param(block[3], id=f"{name}-{block[2]}" if block[2] else name, marks=mark))
    return found


@pytest.mark.parametrize("code", _blocks())
def test_a_block_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
