"""What watching a model's gradients and parameters costs a training step, on the CPU.

A network of 10 M parameters, batch 128, Adam, one thread. Blocks of steps, with and without, alternate in one process.
torch has to be in both environments.
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Skipped, median

WIDTHS = (784, 2048, 2048, 2048, 10)
BATCH = 128
BLOCK = 5  # steps
SELDOM = 100


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    if importlib.util.find_spec("torch") is None:
        raise Skipped("torch is not installed")
    blocks = bench.pick(12, 3)
    values = bench.each(
        ["tracker", "wandb"],
        bench.pick(5, 1),
        lambda tool: bench.call(tool, "watch", "measure", tool=tool, blocks=blocks if tool == "tracker" else 3),
    )

    def of(name: str) -> dict[str, float]:
        return {tool: median([one[name] for one in many]) for tool, many in values.items() if name in many[0]}

    every, spent, seldom, idle, step = of("every"), of("spent"), of("seldom"), of("idle"), of("step")
    ratio = every["tracker"] / every["wandb"] if {"tracker", "wandb"} <= set(every) else None
    network = f"10 M parameters, batch {BATCH}: a step of {step['tracker']:.0f} ms without" if step else ""

    def peers(found: dict[str, float]) -> dict[str, float]:
        return {"wandb": found["wandb"]} if "wandb" in found else {}

    return [
        Figure('slowdown by `watch(log="all", log_freq=1)`, %', every.get("tracker"), peers(every), 10.0, note=network),
        Figure(
            "the same in CPU time of all threads, %",
            spent.get("tracker"),
            peers(spent),
            note="a busy machine shows less in it",
        ),
        Figure("the slowdown ÷ wandb's", ratio, {}, 0.1),
        Figure(
            f'slowdown by `watch(log="all", log_freq={SELDOM})`, %',
            seldom.get("tracker"),
            {},
            0.5,
            note="what a recorded step takes longer, and all others by their hooks, over all of them",
        ),
        Figure("a step of a watched model that is not recorded, µs more", idle.get("tracker"), {}, 5.0),
    ]


def measure(tool: str, blocks: int) -> dict[str, float]:
    """Train; in the tool's interpreter."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[Any] = []
    for before, behind in itertools.pairwise(WIDTHS):
        layers += [torch.nn.Linear(before, behind), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x, y = torch.randn(BATCH, WIDTHS[0]), torch.randint(0, WIDTHS[-1], (BATCH,))
    one: Any = tools.TOOLS[tool]()
    log = one.open(Path.cwd())

    def step() -> tuple[float, float]:
        start, spent = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        log({"loss": 0.5})
        return time.perf_counter() - start, time.process_time() - spent

    found: dict[str, list[tuple[float, float]]] = {"without": [], "every": [], "seldom": []}
    for _ in range(3):
        step()
    for number in range(blocks):
        for kind in ("without", "every") if number % 2 else ("every", "without"):
            if kind == "every":
                one.run.watch(model, log="all", log_freq=1)
            step()  # what is loaded or made at first is not what a step costs
            found[kind] += [step() for _ in range(BLOCK)]
            if kind == "every":
                one.run.unwatch(model)
        if tool == "tracker":
            for _ in range(BLOCK):
                one.run.watch(model, log="all", log_freq=SELDOM)
                found["seldom"].append(step())  # the first step is recorded
                one.run.unwatch(model)
                found["without"].append(step())
    clock = {kind: median([times[0] for times in many]) for kind, many in found.items() if many}
    spent = {kind: median([times[1] for times in many]) for kind, many in found.items() if many}
    answer = {
        "every": 100 * (clock["every"] / clock["without"] - 1),
        "spent": 100 * (spent["every"] / spent["without"] - 1),
        "step": 1000 * clock["without"],
    }
    if tool == "tracker":
        idle = _idle(one, model)
        answer["idle"] = 1e6 * idle
        answer["seldom"] = 100 * ((clock["seldom"] - clock["without"]) / SELDOM + idle) / clock["without"]
    one.close()
    return answer


def _idle(one: Any, model: Any) -> float:
    """Answer what a watched step takes longer where nothing is due, in seconds; a tiny optimizer shows it."""
    import torch

    tiny = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(20):
        for is_watched in (True, False):
            if is_watched:
                one.run.watch(model, log="all", log_freq=10**9)
            tiny.step()
            start = time.thread_time()
            for _ in range(500):
                tiny.step()
            times[is_watched].append((time.thread_time() - start) / 500)
            if is_watched:
                one.run.unwatch(model)
    return max(0.0, median(times[True]) - median(times[False]))
