"""How a metric is to be shown and summed up: what `define_metric` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .errors import UsageError

MODES = ("min", "max", "mean", "last", "first", "best", "copy", "none")
_GOALS = {"minimize": "min", "min": "min", "maximize": "max", "max": "max"}


class Definition(NamedTuple):
    """One definition; `name` may be a pattern such as `val/*`."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: tuple[str, ...] = ()
    goal: str | None = None

    def body(self) -> dict[str, Any]:
        """Answer the fields of the METRIC record."""
        return {**self._asdict(), "summary": list(self.summary)}


class Definitions:
    """The definitions of one run, in order; a later one adds to what earlier ones say of the same name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Definition] = {}

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._by_name.values())

    def define(
        self,
        name: str,
        step_metric: Any = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | Sequence[str] | None = None,
        overwrite: bool | None = None,
        goal: str | None = None,
    ) -> Definition:
        """Take a definition in; see `Run.define_metric`.

        Raises:
            UsageError: A mode or goal that does not exist, or a name that is no text.
        """
        if not isinstance(name, str) or not name:
            raise UsageError(f"define_metric was given the name {name!r}; name a metric or a pattern, such as 'val/*'.")
        modes = tuple(part.strip() for part in summary.split(",")) if isinstance(summary, str) else tuple(summary or ())
        if wrong := [mode for mode in modes if mode not in MODES]:
            raise UsageError(f"define_metric({name!r}) was given summary={wrong[0]!r}; it can be {', '.join(MODES)}.")
        if goal is not None and goal not in _GOALS:
            raise UsageError(f"define_metric({name!r}) was given goal={goal!r}; it can be 'minimize' or 'maximize'.")
        step_name = getattr(step_metric, "name", step_metric)  # W&B takes the definition of the step metric as well
        return self.take(
            Definition(name, step_name, step_sync, hidden, modes, _GOALS.get(goal or "")), is_alone=bool(overwrite)
        )

    def take(self, new: Definition, *, is_alone: bool = False) -> Definition:
        """Take a checked definition in, on top of what is known of its name, or alone."""
        old = None if is_alone else self._by_name.get(new.name)
        if old is not None:
            known = {key: value for key, value in new._asdict().items() if value not in (None, ())}
            new = old._replace(**known)
        self._by_name[new.name] = new
        return new

    def take_body(self, body: Mapping[str, Any]) -> None:
        """Take the fields of a METRIC record in."""
        known = {key: body.get(key) for key in Definition._fields if key != "summary"}
        self.take(Definition(**{**known, "name": str(body.get("name")), "summary": tuple(body.get("summary") or ())}))

    def match(self, key: str) -> Definition | None:
        """Answer the definition of a key: the one of its own name, else the first pattern that fits."""
        exact = self._by_name.get(key)
        if exact is not None:
            return exact
        return next((one for one in self._by_name.values() if fnmatchcase(key, one.name)), None)


def summarise(definition: Definition | None, statistics: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Answer a key's entries in the summary.

    Args:
        definition: What `define_metric` said of it, if anything.
        statistics: first, last, min, max and mean of its values, as far as they are known.
        key: Its name.

    Returns:
        `{key: last}`, or, where modes were asked for, `{"key.min": ..., ...}`; nothing for the mode "none".
    """
    modes = definition.summary if definition else ()
    if "none" in modes:
        return {}
    if not modes or definition is None:
        return {key: statistics["last"]} if "last" in statistics else {}
    found: dict[str, Any] = {}
    for mode in modes:
        source = {"copy": "last", "best": "max" if definition.goal == "max" else "min"}.get(mode, mode)
        if statistics.get(source) is not None:
            found[key if mode == "copy" else f"{key}.{mode}"] = statistics[source]
    return found
