"""The cells that were run in a notebook's kernel, as a notebook."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..redaction import redact_counted


def executed_cells() -> list[str] | None:
    """Answer the cells that this kernel has run so far, in their order; None where there is no kernel."""
    ipython = sys.modules.get("IPython")
    shell: Any = getattr(ipython, "get_ipython", lambda: None)()
    cells = getattr(shell, "user_ns", {}).get("In") if shell is not None else None
    if not isinstance(cells, list):
        return None
    return [str(cell) for cell in cells if cell]


def notebook_of(cells: list[str], is_redacted: bool) -> tuple[bytes, int]:
    """Answer cells as a file that Jupyter opens, and the number of secrets that were masked in it.

    Args:
        cells: Code, each as it was run.
        is_redacted: Mask secrets.
    """
    found = []
    count = 0
    for number, cell in enumerate(cells, 1):
        text, masked = redact_counted(cell) if is_redacted else (cell, 0)
        count += masked
        found.append(
            {
                "cell_type": "code",
                "execution_count": number,
                "id": f"cell-{number}",
                "metadata": {},
                "outputs": [],
                "source": text.splitlines(keepends=True),
            }
        )
    book = {
        "cells": found,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(book, ensure_ascii=False, indent=1).encode(), count
