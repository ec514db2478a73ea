"""A `Trainer` of transformers that logs at each step, and one that saves 200 MB at each tenth, beside no tracking.

A run's first moments, in which machine, packages and code are captured beside the training, are a figure of their own:
they come once, however long the training is.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path
from typing import Any

from .harness import PEERS, Bench, Figure, median

REPORTERS = {
    "tracker": "tracker",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "tensorboardX": "tensorboard",
}
STEPS, FIRST_STEPS = 150, 50
SAVE_STEPS = 10
STEP_SECONDS = 0.05
CHECKPOINT_BYTES = 200_000_000


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    tools = ["tracker", *PEERS]
    logged = bench.each(
        tools,
        bench.pick(5, 2),
        lambda tool: bench.call(tool, "hf_trainer", "measure_log", tool=tool, blocks=bench.pick(8, 3)),
    )
    saved = bench.each(
        [tool for tool in tools if tool in ("tracker", "wandb", "mlflow")],  # the others keep no checkpoints
        bench.pick(3, 1),
        lambda tool: bench.call(tool, "hf_trainer", "measure_save", tool=tool, saves=bench.pick(20, 6)),
    )
    slower = {tool: median([one["slower"] for one in many]) for tool, many in logged.items()}
    first = {tool: median([one["first_ms"] for one in many]) for tool, many in logged.items()}
    longer = {tool: median([one["longer_ms"] for one in many]) for tool, many in saved.items()}
    note = f"a step is {median([one['step_ms'] for one in logged['tracker']]):.1f} ms" if "tracker" in logged else ""
    p99 = f"{median([one['p99_ms'] for one in saved['tracker']]):.0f} ms without" if "tracker" in saved else ""
    return [
        Figure(
            'HF Trainer, `logging_steps=1`: slowdown against `report_to="none"`, %',
            slower.get("tracker"),
            {tool: slower[tool] for tool in PEERS if tool in slower},
            2.0,
            note=note,
        ),
        Figure(
            f"the same, the first {FIRST_STEPS} steps: ms in all",
            first.get("tracker"),
            {tool: first[tool] for tool in PEERS if tool in first},
        ),
        Figure(
            "HF Trainer, 200 MB saved at each 10th step of 50 ms: p99 of a step, ms more than without tracking",
            longer.get("tracker"),
            {tool: longer[tool] for tool in PEERS if tool in longer},
            20.0,
            note=p99,
        ),
    ]


def measure_log(tool: str, blocks: int) -> dict[str, float]:
    """Train with and without the tool, in turn; in the tool's interpreter."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(0, 100, (256, 32))]
    found: dict[str, list[float]] = {"none": [], tool: []}
    first: dict[str, list[float]] = {"none": [], tool: []}
    for block in range(blocks + 1):
        for name in ("none", tool) if block % 2 else (tool, "none"):
            model = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_positions=32, n_embd=64, n_layer=2, n_head=2))
            steps = _train(model, rows, REPORTERS.get(name, name), max_steps=STEPS, logging_steps=1, save_strategy="no")
            if block:  # in the first, things are imported
                first[name].append(sum(steps[:FIRST_STEPS]))
                found[name].append(sum(steps[FIRST_STEPS:]) / len(steps[FIRST_STEPS:]))
    _finish(tool)
    return {
        "slower": 100 * (median(found[tool]) / median(found["none"]) - 1),
        "first_ms": 1e3 * (median(first[tool]) - median(first["none"])),
        "step_ms": 1e3 * median(found["none"]),
    }


def measure_save(tool: str, saves: int) -> dict[str, float]:
    """Train and save with and without the tool; in the tool's interpreter."""
    import torch

    torch.set_num_threads(1)
    os.environ.update(TRACKER_LOG_MODEL="checkpoint", WANDB_LOG_MODEL="checkpoint", HF_MLFLOW_LOG_ARTIFACTS="1")

    class Model(torch.nn.Module):
        """Mostly weights that do not learn: what is measured is the saving."""

        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(64, 1)
            self.rest = torch.nn.Parameter(torch.randn(CHECKPOINT_BYTES // 4), requires_grad=False)

        def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
            """Answer the loss."""
            time.sleep(STEP_SECONDS)  # the processor is free meanwhile, as where a device computes
            said = self.head(x).squeeze(-1)
            return {"loss": (said - labels).square().mean(), "logits": said}

    rows = [{"x": torch.randn(64), "labels": torch.tensor(0.5)} for _ in range(256)]
    found: dict[str, list[float]] = {}
    for name in ("none", tool, tool, "none"):
        more = {"save_steps": SAVE_STEPS, "save_strategy": "steps", "save_total_limit": 1, "optim": "sgd"}
        found.setdefault(name, []).extend(
            _train(Model(), rows, REPORTERS.get(name, name), max_steps=saves * SAVE_STEPS, logging_steps=1, **more)
        )
    _finish(tool)
    without, with_tool = _p99(found["none"]), _p99(found[tool])
    return {"longer_ms": 1e3 * (with_tool - without), "p99_ms": 1e3 * without}


def _train(model: Any, rows: list[Any], report_to: str, **given: Any) -> list[float]:
    """Train, and answer the seconds of each step, with all that happens until the next one."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

    out = Path.cwd() / "out"
    arguments = TrainingArguments(
        str(out), report_to=report_to, use_cpu=True, disable_tqdm=True, per_device_train_batch_size=8, **given
    )
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[Clock()])
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == "PrinterCallback":
            trainer.remove_callback(type(callback))
    trainer.train()
    shutil.rmtree(out, ignore_errors=True)
    return [after - before for before, after in itertools.pairwise(times)]


def _finish(tool: str) -> None:
    """End the tool's last run: what it still has to do is not part of a training."""
    if tool in ("tracker", "wandb"):  # the others are ended by their callbacks
        __import__(tool).finish()


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]
