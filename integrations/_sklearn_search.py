"""A search over parameters: all candidates as one table, the best of them as runs of their own.

All of it is read from `cv_results_` when the search is over. So it makes no difference in which process a candidate was
fitted, and nothing is logged while the search works.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tracker

from . import _sklearn_facts as facts
from .base import Session

MAX_CANDIDATES = 10_000
MAX_ENDING = 8  # runs at a time
# A run that is written down after the fact: of this process it has nothing to tell.
PLAIN_RUN = {
    "quiet": True,
    "console": "off",
    "x_disable_stats": True,
    "disable_code": True,
    "disable_git": True,
    "disable_meta": True,
    "finish_stall_seconds": 1.0,  # a server that is away holds the script up for each; what is left is sent later
}


def is_search(estimator: Any) -> bool:
    """Answer whether an estimator is a fitted or an unfitted search."""
    return hasattr(estimator, "_run_search") and hasattr(estimator, "get_params")


def log_results(session: Session, search: Any, name: str = "cv_results") -> None:
    """Log all candidates as a table: their parameters, scores on each split, ranks and times."""
    results = getattr(search, "cv_results_", None)
    candidates = _candidates(results)
    if results is None or not candidates:
        return
    columns: dict[str, list[Any]] = {}
    for parameter in dict.fromkeys(key for candidate in candidates for key in candidate):
        columns[f"param_{parameter}"] = _alike([facts.plain(candidate.get(parameter)) for candidate in candidates])
    for key, values in results.items():
        if key != "params" and not key.startswith("param_") and len(values) == len(results["params"]):
            columns[key] = _alike([facts.plain(value) for value in _items(values)[:MAX_CANDIDATES]])
    table = tracker.Table(columns=["candidate", *columns])
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        table.add_data(number, *row)
    session.log({name: table})


def best(search: Any) -> dict[str, Any]:
    """Answer what the search has chosen, as values to log."""
    found: dict[str, Any] = {}
    chosen = getattr(search, "best_params_", None)
    if isinstance(chosen, Mapping):
        for parameter, value in chosen.items():
            plain = facts.plain(value)
            found[f"best_params/{parameter}"] = plain if _is_value(plain) else str(plain)
    index = getattr(search, "best_index_", None)
    if index is not None:
        found["best_index"] = int(index)
    results = getattr(search, "cv_results_", None)
    if results is not None:
        found["candidates"] = len(_items(results.get("params", ())))
    return found


def log_children(session: Session, search: Any, group: str, count: int) -> None:
    """Open and end a run for each of the best candidates.

    Args:
        session: Of the search.
        search: Fitted.
        group: What all of them belong to.
        count: At most so many.
    """
    parent = session.run
    results = getattr(search, "cv_results_", None)
    candidates = _candidates(results)
    if parent is None or results is None or not candidates or count <= 0:
        return
    scores = sorted(key for key in results if key.startswith("mean_test_"))
    ranked = _ranked(search, results, len(candidates))
    base = facts.parameters(getattr(search, "estimator", search))  # many a model has a length: no `or`
    with ThreadPoolExecutor(MAX_ENDING) as ending:  # where a server is away, each end takes its time
        for place, number in enumerate(ranked[:count]):
            chosen = {str(key): facts.plain(value) for key, value in candidates[number].items()}
            with tracker.confined("nowhere"):  # what others log meanwhile is none of its business
                run = tracker.init(
                    entity=parent.entity,
                    project=parent.project,
                    dir=parent.folder.parents[2],
                    mode=getattr(parent.settings, "mode", None),
                    name=f"{parent.name} · candidate {number}",
                    group=group,
                    job_type="candidate",
                    reinit="create_new",
                    settings=PLAIN_RUN,
                    config={
                        "model": facts.structure(getattr(search, "estimator", search)),
                        "params": {**base, **chosen},
                        "candidate": {"number": number, "place": place + 1, "search": parent.id},
                    },
                )
            for split, row in enumerate(_splits(results, scores, number)):
                run.log({"split": split, **row}, step=split)
            told = {key: _finite(results[key][number]) for key in _told(results)}
            run.log({key: value for key, value in told.items() if value is not None})
            ending.submit(run.finish, quiet=True)


def _told(results: Mapping[str, Any]) -> list[str]:
    starts = ("mean_", "std_", "rank_")
    return [key for key in results if key.startswith(starts) or key in ("iter", "n_resources")]


def _candidates(results: Any) -> list[Mapping[str, Any]]:
    return [] if results is None else list(_items(results.get("params", ())))[:MAX_CANDIDATES]


def _ranked(search: Any, results: Mapping[str, Any], count: int) -> list[int]:
    """Answer the candidates' numbers, the best first; the one that the search has chosen leads."""
    refit = getattr(search, "refit", None)
    named = f"rank_test_{refit}" if isinstance(refit, str) else "rank_test_score"
    key = named if named in results else next((key for key in results if key.startswith("rank_test_")), None)
    order = list(range(count)) if key is None else sorted(range(count), key=lambda place: int(results[key][place]))
    chosen = getattr(search, "best_index_", None)
    if chosen is not None and int(chosen) in order:
        order.remove(int(chosen))
        order.insert(0, int(chosen))
    return order


def _splits(results: Mapping[str, Any], scores: list[str], number: int) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for score in scores:
        metric = score.removeprefix("mean_test_")
        for part in ("test", "train"):
            split = 0
            while f"split{split}_{part}_{metric}" in results:
                if len(rows) <= split:
                    rows.append({})
                value = _finite(results[f"split{split}_{part}_{metric}"][number])
                if value is not None:
                    rows[split][f"{part}/{metric}"] = value
                split += 1
    return rows


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _items(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _is_value(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _alike(values: list[Any]) -> list[Any]:
    """Answer a column of one type: its values as they are, or, where they differ in kind, as texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        return values
    return [None if value is None else str(value) for value in values]
