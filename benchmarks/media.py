"""What logging an image costs the training thread, and what its encoding costs the numbers that are logged meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import tools
from .harness import PEERS, Bench, Figure, median

SIDE = 512
_PAUSE_SECONDS = 0.06  # as long as an image takes to encode on a slow core: nothing piles up


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    count = bench.pick(60, 20)
    images = bench.each(
        ["tracker", *PEERS],
        bench.pick(3, 1),
        lambda tool: bench.call(tool, "media", "measure_images", tool=tool, count=count),
    )
    caller = {tool: median([one["p50"] for one in many]) for tool, many in images.items()}
    ours = images.get("tracker", [{}])
    note = (
        f"p90 {median([one['p90'] for one in ours]):.2f} ms, the first one {median([one['first'] for one in ours]):.1f} ms; "
        f"all stored {median([one['end'] for one in ours]):.0f} ms after the last"
        if caller.get("tracker")
        else ""
    )
    peers = {tool: value for tool, value in caller.items() if tool != "tracker"}
    found = [Figure(f"`log()` of an image of {SIDE}×{SIDE}×3 bytes, ms", caller.get("tracker"), peers, 1.0, note=note)]
    seconds = bench.pick(40, 10) / 10
    numbers = bench.each(
        ["tracker"],
        bench.pick(5, 2),
        lambda tool: bench.call(tool, "media", "measure_numbers", tool=tool, seconds=seconds),
    )
    pairs = numbers.get("tracker", [])
    if pairs:
        ratio = median([one["beside"] / one["alone"] for one in pairs])
        tail = median([one["beside p99"] / one["alone p99"] for one in pairs])
        note = f"p99 {tail:.2f}; {median([one['images'] for one in pairs]):.0f} images were encoded meanwhile"
        found.append(Figure("`log()` p50 of 10 metrics while images are encoded, ÷ alone", ratio, {}, 1.2, note=note))
    return found


def measure_images(tool: str, count: int) -> dict[str, float]:
    """Time the call that logs an image, in milliseconds; in the tool's interpreter."""
    import numpy as np

    rng = np.random.default_rng(0)
    # Neither noise, which nothing compresses, nor a plain surface: what a camera gives.
    wave = np.add.outer(np.sin(np.arange(SIDE) / 40), np.cos(np.arange(SIDE) / 30))[:, :, None]
    arrays = [
        (127 + 50 * wave + rng.normal(0, 6, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        for _ in range(min(count, 20))
    ]
    one = tools.TOOLS[tool]()
    one.open(Path.cwd())
    log = _image_logger(tool, one)
    times = []
    for number in range(count):
        array = arrays[number % len(arrays)]
        start = time.perf_counter()
        log(array, number)
        times.append((time.perf_counter() - start) * 1e3)
        time.sleep(_PAUSE_SECONDS)
    start = time.perf_counter()
    one.close()
    end = (time.perf_counter() - start) * 1e3
    rest = sorted(times[1:])
    return {"p50": median(rest), "p90": rest[int(len(rest) * 0.9)], "first": times[0], "end": end}


def _image_logger(tool: str, one: Any) -> Callable[[Any, int], object]:
    if tool == "tracker":
        import tracker

        return lambda array, _: one.run.log({"image": tracker.Image(array)})
    if tool == "wandb":
        import wandb

        return lambda array, _: one.run.log({"image": wandb.Image(array)})
    if tool == "trackio":
        return lambda array, _: one.trackio.log({"image": one.trackio.Image(array)})
    if tool == "mlflow":
        return lambda array, step: one.mlflow.log_image(array, key="image", step=step)
    return lambda array, step: one.writer.add_image("image", array, step, dataformats="HWC")


def measure_numbers(tool: str, seconds: float) -> dict[str, float]:
    """Time rows of numbers with and without images between them, in nanoseconds."""
    import numpy as np

    import tracker

    rows = tools.rows(512, 10)
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    array = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    log({"image": tracker.Image(array)})
    one.run.flush()
    found: dict[str, float] = {"images": 0}
    for name in ("alone", "beside", "alone", "beside"):
        times: list[int] = []
        end = time.perf_counter() + seconds / 4
        next_image = 0.0
        clock = time.perf_counter_ns
        while time.perf_counter() < end:
            if name == "beside" and time.perf_counter() >= next_image:
                array[0, 0] += 1
                log({"image": tracker.Image(array)})
                found["images"] += 1
                next_image = time.perf_counter() + _PAUSE_SECONDS
            for row in rows[:64]:
                start = clock()
                log(row)
                times.append(clock() - start)
        one.run.flush()
        times.sort()
        for key, part in ((name, 0.5), (f"{name} p99", 0.99)):
            value = times[int(len(times) * part)]
            found[key] = min(found.get(key, value), value)
    one.close()
    return found
