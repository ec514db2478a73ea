"""What a callback costs a training of XGBoost: 1,000 rounds of tiny trees, one thread.

Each tool has its defaults: tracker keeps model, importances and predictions, MLflow the model, wandb the importances.
Trainings with and without alternate in one process; runs are opened before and closed after. xgboost and scikit-learn
have to be in both environments.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Skipped, median

ROWS, COLUMNS, DEPTH, ROUNDS = 5_000, 20, 3, 1_000


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    if importlib.util.find_spec("xgboost") is None:
        raise Skipped("xgboost is not installed")
    values = bench.each(
        ["tracker", "wandb", "mlflow"],
        bench.pick(5, 1),
        lambda tool: bench.call(tool, "xgboost_rounds", "measure", tool=tool, pairs=bench.pick(3, 1)),
    )

    def of(name: str) -> dict[str, float]:
        return {tool: median([one[name] for one in many]) for tool, many in values.items()}

    slower, thread, end, plain, each = of("slower"), of("thread"), of("end"), of("plain"), of("each")
    trees = f"depth {DEPTH}, {ROWS:,} × {COLUMNS}; {plain['tracker']:.2f} s without" if "tracker" in plain else ""

    def figure(name: str, found: dict[str, float], target: float | None = None, note: str = "") -> Figure:
        return Figure(name, found.get("tracker"), {t: found[t] for t in found if t != "tracker"}, target, note=note)

    return [
        figure(f"XGBoost, {ROUNDS:,} rounds of tiny trees: slowdown, %", slower, 5.0, trees),
        figure("the same in CPU time of the training's thread, %", thread, note="a busy machine shows less in it"),
        figure("the same of 10 rounds: what begins and ends a training, ms", end),
        figure("a round more, beyond 10: slowdown, %", each, note="a larger model to keep in it"),
    ]


def measure(tool: str, pairs: int) -> dict[str, float]:
    """Train; in the tool's interpreter."""
    import numpy
    import xgboost

    random = numpy.random.default_rng(0)
    x = random.random((ROWS, COLUMNS), dtype=numpy.float32)
    y = (x[:, 0] + x[:, 1] + 0.5 * random.random(ROWS) > 1.2).astype(int)
    train, test = xgboost.DMatrix(x[:4000], y[:4000]), xgboost.DMatrix(x[4000:], y[4000:])
    params = {"objective": "binary:logistic", "eval_metric": "logloss", "max_depth": DEPTH, "nthread": 1, "eta": 0.05}

    def fit(rounds: int, callbacks: list[Any]) -> tuple[float, float]:
        start, spent = time.perf_counter(), time.thread_time()
        evals = [(train, "train"), (test, "validation")]
        xgboost.train(params, train, rounds, evals=evals, verbose_eval=False, callbacks=callbacks)
        return time.perf_counter() - start, time.thread_time() - spent

    def fit_logged(rounds: int) -> tuple[float, float]:
        one: Any = tools.TOOLS[tool]()
        one.open(Path.cwd())
        try:
            return fit(rounds, _callbacks(tool))
        finally:
            one.close()
            _off(tool)

    fit(10, [])
    found: dict[str, list[tuple[float, float]]] = {"without": [], "with": [], "short": [], "short without": []}
    fit_logged(10)  # what is loaded at first is not what a training costs
    for _ in range(pairs):
        found["without"].append(fit(ROUNDS, []))
        found["with"].append(fit_logged(ROUNDS))
        found["short without"].append(fit(10, []))
        found["short"].append(fit_logged(10))
    clock = {kind: median([times[0] for times in many]) for kind, many in found.items()}
    spent = {kind: median([times[1] for times in many]) for kind, many in found.items()}
    return {
        "slower": 100 * (clock["with"] / clock["without"] - 1),
        "thread": 100 * (spent["with"] / spent["without"] - 1),
        "end": 1000 * (clock["short"] - clock["short without"]),
        "each": 100 * ((clock["with"] - clock["short"]) / (clock["without"] - clock["short without"]) - 1),
        "plain": clock["without"],
    }


def _callbacks(tool: str) -> list[Any]:
    if tool == "wandb":
        from wandb.integration.xgboost import WandbCallback

        return [WandbCallback()]
    if tool == "mlflow":
        import mlflow.xgboost

        mlflow.xgboost.autolog(silent=True)
        return []
    from tracker.integrations.xgboost import TrackerCallback

    return [TrackerCallback()]


def _off(tool: str) -> None:
    if tool == "mlflow":  # so that the trainings without it are without it
        import mlflow.xgboost

        mlflow.xgboost.autolog(disable=True, silent=True)
