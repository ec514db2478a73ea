"""TRL: the completions that a trainer has just scored, as rows of one growing table.

GRPO, RLOO and distillation trainers keep them in `_logs` until they have logged; they offer them to the backends they
know by name, and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tracker

from .base import sample_rows

KEY = "completions"
FEW = 10
"""Rows for each log, where `log_completions` does not ask for all."""


def completions(trainer: Any) -> tuple[list[str], list[list[Any]]] | None:
    """Answer the columns and the rows of what was completed last; None where there is nothing."""
    logs = getattr(trainer, "_logs", None)
    if not isinstance(logs, Mapping):
        return None
    prompts, texts = logs.get("prompt"), logs.get("completion")
    if not prompts or not texts:
        return None
    named: dict[str, Sequence[Any]] = {"prompt": [_text(one) for one in prompts]}
    named["completion"] = [_text(one) for one in texts]
    for group in ("rewards", "extra"):
        for name, values in (logs.get(group) or {}).items():
            named[str(name) if str(name) not in named else f"{group}/{name}"] = list(values)
    if logs.get("advantages"):
        named["advantage"] = list(logs["advantages"])
    if any(logs.get("images") or ()):
        named["images"] = [[tracker.Image(each) for each in one or ()] for one in logs["images"]]
    count = len(named["prompt"])
    limit = count if getattr(trainer, "log_completions", False) else FEW
    rows = [[_at(values, row) for values in named.values()] for row in sample_rows(count, limit)]
    if getattr(trainer, "log_unique_prompts", False):
        rows = list({row[0]: row for row in reversed(rows)}.values())[::-1]
    return list(named), rows


def _at(values: Sequence[Any], row: int) -> Any:
    return values[row] if row < len(values) else None


def _text(value: Any) -> str:
    """Answer a prompt as text; a conversation is a list of messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(one, Mapping) for one in value):
        return "\n".join(f"{one.get('role', '')}: {_content(one.get('content'))}" for one in value)
    return str(value)


def _content(content: Any) -> str:
    if isinstance(content, list):  # text and pictures
        return " ".join(str(part.get("text") or f"<{part.get('type')}>") for part in content if isinstance(part, dict))
    return str(content)
