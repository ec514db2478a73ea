"""How a metric is to be shown and summed up: what `define_metric` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import UsageError
from .values import short

MODES = ("min", "max", "mean", "last", "first", "best", "copy", "none")
_SELDOM = ("min", "max", "mean", "first", "best")  # what has a key of its own in the summary
_GOALS = {"minimize": "minimize", "min": "minimize", "maximize": "maximize", "max": "maximize"}


class Definition(NamedTuple):
    """One definition; `name` may be a pattern such as `val/*`.

    Args:
        name: The metric, or a pattern: `*` is any text, `?` one character.
        step_metric: The metric that is its x-axis.
        step_sync: Whether a missing step metric is to be filled in, as in W&B; kept, without effect.
        hidden: Left out of the automatic charts.
        summary: Some of `MODES`, each once.
        goal: "minimize" or "maximize": what `best` means.
    """

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: tuple[str, ...] = ()
    goal: str | None = None

    def body(self) -> dict[str, Any]:
        """Answer the fields of the METRIC record: all that is known of the name, earlier definitions included."""
        return {**self._asdict(), "summary": list(self.summary)}

    def over(self, other: Definition) -> Definition:
        """Answer this definition, with what it leaves open taken from another one."""
        return other._replace(**{key: value for key, value in self._asdict().items() if value not in (None, ())})


class Definitions:
    """The definitions of one run, in order; a later one adds to what earlier ones say of the same name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Definition] = {}
        self._matched: dict[str, Definition | None] = {}

    def __iter__(self) -> Iterator[Definition]:
        """Walk the definitions in order."""
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
        where = f"define_metric({name!r})"
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{where} names no metric; give its name, or a pattern such as 'val/*'.")
        step_name = getattr(step_metric, "name", step_metric)  # W&B takes the definition of the step metric as well
        if step_name is not None and not isinstance(step_name, str):
            raise UsageError(f"{where} was given step_metric={step_metric!r}; give the name of a metric.")
        if isinstance(step_name, str) and "*" in step_name:
            raise UsageError(f"{where} was given step_metric={step_name!r}; give one metric, not a pattern.")
        for flag, value in (("step_sync", step_sync), ("hidden", hidden), ("overwrite", overwrite)):
            if value is not None and not isinstance(value, bool):
                raise UsageError(f"{where} was given {flag}={value!r}; it can be True or False.")
        if goal is not None and goal not in _GOALS:
            raise UsageError(f"{where} was given goal={goal!r}; it can be 'minimize' or 'maximize'.")
        known_goal = None if goal is None else _GOALS[goal]
        new = Definition(name, step_name, step_sync, hidden, _modes(summary, where), known_goal)
        return self.take(new, is_alone=bool(overwrite))

    def knows(self, name: Any) -> bool:
        """Answer whether a definition bears this name."""
        return name in self._by_name

    def take(self, new: Definition, *, is_alone: bool = False) -> Definition:
        """Take a checked definition in, on top of what is known of its name, or alone; answer the outcome."""
        old = None if is_alone else self._by_name.get(new.name)
        if old is not None:
            new = new.over(old)
        self._by_name[new.name] = new
        self._matched.clear()
        return new

    def take_body(self, body: Mapping[str, Any]) -> None:
        """Take the fields of a METRIC record in: it tells all that is known of its name. Fields unknown are left."""
        known = {key: body.get(key) for key in ("step_metric", "step_sync", "hidden")}
        modes = body.get("summary")
        kept = tuple(mode for mode in modes if isinstance(mode, str)) if isinstance(modes, (list, tuple)) else ()
        goal = _GOALS.get(str(body.get("goal")))
        self.take(Definition(str(body.get("name")), **known, summary=kept, goal=goal), is_alone=True)

    def match(self, key: str) -> Definition | None:
        """Answer what is said of a key: by its own name, and where that leaves something open by patterns, later first."""
        try:
            return self._matched[key]
        except KeyError:
            pass
        found: Definition | None = None
        for one in self._by_name.values():
            if one.name != key and _fits(one.name, key):
                found = one if found is None else one.over(found)
        exact = self._by_name.get(key)
        if exact is not None:
            found = exact if found is None else exact.over(found)
        if len(self._matched) < 10_000:
            self._matched[key] = found
        return found


def summarise(definition: Definition | None, statistics: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Answer a key's entries in the summary.

    Args:
        definition: What `define_metric` said of it, if anything.
        statistics: first, last, min, max and mean of its values, as far as they are known.
        key: Its name.

    Returns:
        `{key: last}`, and beside it `"key.min"` and the like where they were asked for; nothing for the mode "none".
    """
    modes = definition.summary if definition else ()
    found: dict[str, Any] = {}
    if "last" in statistics and "none" not in modes:
        found[key] = short(statistics["last"])
    for mode in modes:
        if mode not in _SELDOM or definition is None or "min" not in statistics:  # no numbers among the values
            continue
        source = mode if mode != "best" else "max" if definition.goal == "maximize" else "min"
        value = statistics.get(source)
        if value is not None:
            found[f"{key}.{mode}"] = value
    return found


def _modes(summary: Any, where: str) -> tuple[str, ...]:
    parts = summary.split(",") if isinstance(summary, str) else () if summary is None else summary
    if not isinstance(parts, (list, tuple, set, frozenset)):
        raise UsageError(f"{where} was given summary={summary!r}; give a text such as 'min,max', or a list of such.")
    modes = tuple(dict.fromkeys(part.strip() if isinstance(part, str) else part for part in parts))
    for mode in modes:
        if mode not in MODES:
            raise UsageError(f"{where} was given summary={mode!r}; it can be {', '.join(MODES)}.")
    if "none" in modes and len(modes) > 1:
        raise UsageError(f"{where} was given summary={summary!r}; 'none' stands alone.")
    return modes


def _fits(pattern: str, key: str) -> bool:
    if "*" not in pattern:
        return False
    from fnmatch import fnmatchcase  # only where there are patterns

    return fnmatchcase(key, pattern.replace("[", "[[]"))  # metrics are named `loss[0]`; a set of characters is none
