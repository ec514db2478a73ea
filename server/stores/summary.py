"""The summary of a run: what was computed from its rows and what the user set by hand, put together here only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ...core.values import short

_SELDOM = ("min", "max", "mean", "first")


def merged_summary(
    keys: Mapping[str, Mapping[str, Any]],
    by_hand: Mapping[str, tuple[int, bool, Any]],
    definitions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Answer one value per key.

    Each key has its last value. A metric defined with `summary` has `<key>.min` and the like beside it ("none": it has
    nothing), `best` being the least or, with the goal "maximize", the greatest value. What was set or taken away by
    hand holds until the metric is logged again.

    Args:
        keys: Statistics, see `MetricStore.keys`.
        by_hand: Time in ns, whether it is there, value.
        definitions: Bodies of METRIC records; an exact name goes before patterns, later ones before earlier ones.
    """
    found: dict[str, Any] = {}
    written: dict[str, int] = {}
    seldom = [body for body in definitions if body.get("summary")]
    for key, stats in keys.items():
        wanted = definition_of(key, seldom) if seldom else None
        kinds = _kinds(wanted.get("summary")) if wanted else ()
        if "none" not in kinds:
            found[key] = short(stats["last"])
            written[key] = stats["last_time_ns"]
        if not wanted or not stats["numeric"]:
            continue
        for kind in kinds:
            name = f"{key}.{kind}"
            if kind in _SELDOM:
                value = stats[kind]
            elif kind == "best":
                value = stats["max" if str(wanted.get("goal") or "").startswith("max") else "min"]
            else:
                continue
            if value is not None:
                found[name] = value
                written[name] = stats["last_time_ns"]
    for key, (time_ns, is_there, value) in by_hand.items():
        if time_ns < written.get(key, time_ns):
            continue
        if is_there:
            found[key] = value
        else:
            found.pop(key, None)
    return found


def definition_of(key: str, definitions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Answer the definition that holds for a key: its own, else the latest pattern that matches."""
    pattern = None
    for body in definitions:
        name = body.get("name")
        if name == key:
            return body
        if isinstance(name, str) and "*" in name and fnmatchcase(key, name.replace("[", "[[]")):
            pattern = body
    return pattern


def _kinds(summary: Any) -> Sequence[str]:
    if isinstance(summary, str):
        return [part.strip() for part in summary.split(",")]
    return [part for part in summary if isinstance(part, str)] if isinstance(summary, list) else ()
