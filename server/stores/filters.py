"""Filters and orders of runs, as MongoDB and W&B's API write them; parsed into conditions of our own, never executed.

    {"$and": [{"config.lr": {"$lt": 0.01}}, {"$or": [{"state": "finished"}, {"tags": {"$in": ["baseline"]}}]}]}

Keys: `config.<key>`, `summary.<key>` (or `summary_metrics.<key>`), `fields.<key>`, and what `NAMES` lists. A key that a
run does not have equals null. `$gt` and its like compare numbers with numbers and texts with texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

from ...core.errors import UsageError
from .patterns import bounded_pattern

MAX_CONDITIONS = 500
MAX_DEPTH = 20

NAMES = {
    "id": "id",
    "run_id": "id",
    "name": "name",
    "display_name": "name",
    "displayName": "name",
    "state": "state",
    "tags": "tags",
    "group": "group",
    "job_type": "job_type",
    "jobType": "job_type",
    "notes": "notes",
    "host": "host",
    "entity": "entity",
    "project": "project",
    "created_at": "created_ns",
    "createdAt": "created_ns",
    "created_ns": "created_ns",
    "updated_at": "updated_ns",
    "updatedAt": "updated_ns",
    "updated_ns": "updated_ns",
    "heartbeat_at": "updated_ns",
    "ended_at": "ended_ns",
    "ended_ns": "ended_ns",
    "duration": "duration_s",
    "duration_s": "duration_s",
    "last_step": "last_step",
    "points": "points",
}
_TIMES = ("created_ns", "updated_ns", "ended_ns")
_NESTED = {"config": "config", "summary": "summary", "summary_metrics": "summary", "fields": "fields"}


class Subject(Protocol):
    """What conditions are asked of: a run."""

    def value(self, name: str, path: str | None) -> Any:
        """Answer the value of a name in `NAMES`' values, or of a path below config, summary or fields."""
        ...


class Key(NamedTuple):
    """Where a value is found in a run."""

    name: str
    path: str | None

    def of(self, run: Subject) -> Any:
        """Answer the run's value, None where it has none."""
        return run.value(self.name, self.path)


class All(NamedTuple):
    """True where all parts are."""

    parts: Sequence[Condition]

    def holds(self, run: Subject) -> bool:
        """Answer whether it is true of the run."""
        return all(part.holds(run) for part in self.parts)


class Either(NamedTuple):
    """True where one part is."""

    parts: Sequence[Condition]

    def holds(self, run: Subject) -> bool:
        """Answer whether it is true of the run."""
        return any(part.holds(run) for part in self.parts)


class Not(NamedTuple):
    """True where the part is not."""

    part: Condition

    def holds(self, run: Subject) -> bool:
        """Answer whether it is true of the run."""
        return not self.part.holds(run)


class Test(NamedTuple):
    """True where the value passes, or one item of it where it is a list."""

    key: Key
    passes: Callable[[Any], bool]

    def holds(self, run: Subject) -> bool:
        """Answer whether it is true of the run."""
        value = self.key.of(run)
        if isinstance(value, (list, tuple)):
            return self.passes(value) or any(self.passes(item) for item in value)
        return self.passes(value)


Condition = All | Either | Not | Test


def parse_filter(filter: Mapping[str, Any] | None) -> Condition:
    """Answer the condition that a filter states.

    Raises:
        UsageError: It has an unknown key or operator, a value that does not fit, or is too large.
    """
    return _Parser().conditions(filter or {}, MAX_DEPTH)


def parse_order(order: str | Sequence[str] | None) -> list[tuple[Key, bool]]:
    """Answer keys and whether each runs downwards.

    Args:
        order: Such as `-created_at` or `+summary.loss`; several with commas, or as a sequence.

    Raises:
        UsageError: A key is unknown.
    """
    parts = (order or "").split(",") if order is None or isinstance(order, str) else list(order)
    found = []
    for part in parts:
        name = part.strip()
        if name:
            found.append((parse_key(name.lstrip("+-")), name.startswith("-")))
    return found


def sort_key(value: Any) -> tuple[int, Any]:
    """Answer what sorts values of any types: numbers, then texts; those without an order come last."""
    if isinstance(value, bool):
        return (0, int(value))
    if isinstance(value, (int, float)) and value == value:
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, (list, tuple)) and value:
        return (1, str(value[0]))
    return (9, 0)


def parse_key(name: str) -> Key:
    """Answer where the value of a key is found.

    Raises:
        UsageError: There is no such key.
    """
    if name in NAMES:
        return Key(NAMES[name], None)
    head, dot, path = name.partition(".")
    if dot and path and head in _NESTED:
        return Key(_NESTED[head], path)
    raise UsageError(
        f"runs have no key {name[:100]!r}. There are config.<key>, summary.<key>, and: {', '.join(sorted(set(NAMES)))}."
    )


class _Parser:
    def __init__(self) -> None:
        self._count = 0

    def conditions(self, filter: Any, depth: int) -> Condition:
        if not isinstance(filter, Mapping):
            raise UsageError(f"a filter is an object such as {{'state': 'finished'}}, got {_shown(filter)}.")
        if not depth:
            raise UsageError(f"the filter is nested more than {MAX_DEPTH} levels deep.")
        parts: list[Condition] = []
        for name, value in filter.items():
            self._count += 1
            if self._count > MAX_CONDITIONS:
                raise UsageError(f"the filter has more than {MAX_CONDITIONS} conditions.")
            if name in ("$and", "$or", "$nor"):
                if not isinstance(value, (list, tuple)) or not value:
                    raise UsageError(f"{name} takes a list of filters, got {_shown(value)}.")
                inner = [self.conditions(part, depth - 1) for part in value]
                parts.append(All(inner) if name == "$and" else Either(inner) if name == "$or" else Not(Either(inner)))
            elif name == "$not":
                parts.append(Not(self.conditions(value, depth - 1)))
            elif name.startswith("$"):
                raise UsageError(f"{name!r} is no operator between filters; there are $and, $or, $nor and $not.")
            else:
                parts.append(self._about(parse_key(name), value, depth - 1))
        return parts[0] if len(parts) == 1 else All(parts)

    def _about(self, key: Key, value: Any, depth: int) -> Condition:
        if not depth:
            raise UsageError(f"the filter is nested more than {MAX_DEPTH} levels deep.")
        if not isinstance(value, Mapping) or not any(str(name).startswith("$") for name in value):
            return Test(key, _equals(_operand(key, value)))
        parts: list[Condition] = []
        for operator, operand in value.items():
            self._count += 1
            if operator == "$options":
                continue
            if operator == "$not":
                parts.append(Not(self._about(key, operand, depth - 1)))
            elif operator == "$exists":
                test = Test(key, lambda found: found is not None)
                parts.append(test if operand else Not(test))
            elif operator == "$regex":
                pattern = bounded_pattern(operand, ignore_case="i" in str(value.get("$options", "")))
                parts.append(Test(key, _matches(pattern)))
            elif operator in ("$in", "$nin", "$all"):
                if not isinstance(operand, (list, tuple)) or len(operand) > 10_000:
                    raise UsageError(f"{operator} takes a list of at most 10,000 values, got {_shown(operand)}.")
                tests: list[Condition] = [Test(key, _equals(_operand(key, item))) for item in operand]
                parts.append(
                    All(tests) if operator == "$all" else Either(tests) if operator == "$in" else Not(Either(tests))
                )
            elif operator == "$eq":
                parts.append(Test(key, _equals(_operand(key, operand))))
            elif operator == "$ne":
                parts.append(Not(Test(key, _equals(_operand(key, operand)))))
            elif operator in _COMPARE:
                parts.append(Test(key, _compares(_COMPARE[operator], _operand(key, operand))))
            else:
                raise UsageError(
                    f"{operator!r} is no operator; there are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $all, $exists, "
                    "$regex and $not."
                )
        return parts[0] if len(parts) == 1 else All(parts)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda found, operand: bool(found > operand),
    "$gte": lambda found, operand: bool(found >= operand),
    "$lt": lambda found, operand: bool(found < operand),
    "$lte": lambda found, operand: bool(found <= operand),
}


def _matches(pattern: Callable[[str], bool]) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, str) and pattern(found)


def _equals(operand: Any) -> Callable[[Any], bool]:
    if isinstance(operand, float) and math.isnan(operand):
        return lambda found: isinstance(found, float) and math.isnan(found)
    if isinstance(operand, bool):
        return lambda found: found is operand
    if isinstance(operand, (int, float)):
        return lambda found: not isinstance(found, bool) and isinstance(found, (int, float)) and found == operand
    return lambda found: bool(found == operand)


def _compares(compare: Callable[[Any, Any], bool], operand: Any) -> Callable[[Any], bool]:
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        raise UsageError(f"$gt and its like compare with a number or a text, got {_shown(operand)}.")
    if isinstance(operand, str):
        return lambda found: isinstance(found, str) and compare(found, operand)
    return lambda found: isinstance(found, (int, float)) and not isinstance(found, bool) and compare(found, operand)


def _operand(key: Key, value: Any) -> Any:
    if key.name not in _TIMES:
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise UsageError(f"{value[:60]!r} is no time; write it like 2026-01-31T12:00:00.") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = int(moment.replace(microsecond=0).timestamp())
        return seconds * 10**9 + moment.microsecond * 1000
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e11:
        return value * 1_000_000_000  # seconds; nanoseconds of our days are far larger
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
