"""A user's edit of a run, as the records a training process would have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import UsageError
from ...core.record import Kind

EDIT_STREAM = "edit"
_FIELDS = ("name", "notes", "tags", "group", "job_type")


def edit_records(changes: Mapping[str, Any]) -> list[tuple[Kind, dict[str, Any]]]:
    """Answer the kinds and bodies of the records that make these changes.

    They belong in the run's journal where it is at hand, in a stream of their own; elsewhere `MetadataStore.edit`
    applies them.

    Args:
        changes: Any of name, notes, tags, group, job_type, config, summary.

    Raises:
        UsageError: Something else is to be changed.
    """
    unknown = set(changes) - {*_FIELDS, "config", "summary"}
    if unknown:
        raise UsageError(
            f"{min(unknown)!r} of a run cannot be edited; these can: {', '.join(_FIELDS)}, config, summary."
        )
    found: list[tuple[Kind, dict[str, Any]]] = []
    fields = {name: changes[name] for name in _FIELDS if name in changes}
    if fields:
        found.append((Kind.RUN, fields))
    for name, kind in (("config", Kind.CONFIG), ("summary", Kind.SUMMARY)):
        if changes.get(name):
            found.append((kind, {"set": dict(changes[name]), "remove": []}))
    return found
