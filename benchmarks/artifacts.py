"""Artifacts: how long a checkpoint holds the training thread, until when it is stored, what the next one adds.

Beside the peers: `cp -r`, and `sha256sum` of all files, which is the least that keeping and naming bytes takes by the
usual tools.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .harness import Bench, Figure, Skipped, folder_bytes, median

RIVALS = ("wandb", "mlflow")
CHANGED_SHARE = 0.05
PLACES = 20
SMALL_FILES, SMALL_BYTES = 5_000, 10_000


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    megabytes = bench.pick(2_000, 300)
    rounds = bench.pick(3, 1)
    source = bench.folder / "checkpoints"
    _make_checkpoint(source / "first", megabytes)
    _make_next(source / "first", source / "second")
    _make_small(source / "small")
    tools = ["tracker", *RIVALS]
    large = bench.each(
        [*tools, "cp"], rounds, lambda tool: _measure(bench, tool, source, ["first", "second"], megabytes)
    )
    small = bench.each([*tools, "cp"], rounds, lambda tool: _measure(bench, tool, source, ["small"], 0))
    shutil.rmtree(source)

    size = megabytes / 1e3
    least, usual = None, "there is no `cp`"
    if "cp" in large:
        copied, hashed = _best(large, "cp", "copied") / size, _best(large, "cp", "hashed") / size
        least, usual = copied + hashed, f"the target is `cp` {copied:.2f} and `sha256sum` {hashed:.2f} in this go"
    if {"tracker", "wandb"} <= large.keys():
        usual += f"; {_best(large, 'tracker', 'stored') / _best(large, 'wandb', 'stored'):.2f} of wandb's"
    small_target = _best(small, "wandb", "stored") / 5 if "wandb" in small else None
    return [
        _figure(large, f"`log_artifact` of a {size:.1f} GB checkpoint: training held, ms", "held", 1e3, 20),
        _figure(
            large,
            "… until stored, s for each GB",
            "stored",
            1 / size,
            least,
            f"best of {rounds}; {usual}; ours is on disk by then, `cp`'s is not",
        ),
        _figure(large, f"the next, {CHANGED_SHARE:.0%} changed in {PLACES} places: bytes added, %", "added", 100, 8),
        _figure(
            small,
            f"{SMALL_FILES:,} files of {SMALL_BYTES // 1000} kB until stored, s",
            "stored",
            1,
            small_target,
            f"`cp -r`: {_best(small, 'cp', 'copied'):.2f}" if "cp" in small else "",
        ),
        _figure(small, "… training held, ms", "held", 1e3),
        _figure(
            {"tracker": large.get("tracker", []) + small.get("tracker", [])},
            "peak memory of these over idle, MB",
            "peak_mb",
            1,
            200,
            "of the training process, which does all of it",
            pick=max,
        ),
    ]


def measure(tool: str, sources: list[str]) -> dict[str, float]:
    """Log folders as versions of one artifact, in the tool's interpreter."""
    log, close = _TOOLS[tool]()
    warm = Path("warm")
    warm.mkdir()
    (warm / "file").write_bytes(os.urandom(100_000))
    log(warm, "warm")  # imports, and whatever comes with the first
    idle = _peak_mb(anew=True)
    found: dict[str, float] = {}
    for number, source in enumerate(sources):
        before = folder_bytes(Path.cwd())
        start = time.perf_counter()
        held = log(Path(source), "checkpoint")
        stored = time.perf_counter() - start
        if number == 0:
            found |= {"held": held, "stored": stored}
        else:
            found["added"] = (folder_bytes(Path.cwd()) - before) / folder_bytes(Path(source))
    found["peak_mb"] = _peak_mb() - idle
    close()
    return found


def _measure(bench: Bench, tool: str, source: Path, names: list[str], megabytes: int) -> dict[str, float]:
    room = bench.room()
    try:
        if tool == "cp":
            return _measure_cp(source / names[0], room, bool(megabytes))
        sources = [str(source / name) for name in names]
        found: dict[str, float] = bench.call(tool, "artifacts", "measure", room, tool=tool, sources=sources)
        return found
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _measure_cp(source: Path, room: Path, is_hashed: bool) -> dict[str, float]:
    if shutil.which("cp") is None or shutil.which("sha256sum") is None:
        raise Skipped("there is no cp or sha256sum here")
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(room / "copy")], check=True)
    found = {"copied": time.perf_counter() - start}
    if is_hashed:
        start = time.perf_counter()
        files = [str(path) for path in (room / "copy").rglob("*") if path.is_file()]
        subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
        found["hashed"] = time.perf_counter() - start
    return found


def _figure(
    values: dict[str, list[dict[str, float]]],
    name: str,
    key: str,
    scale: float,
    target: float | None = None,
    note: str = "",
    pick: Callable[[list[float]], float] | None = None,
) -> Figure:
    # The best of the rounds for times: a shared machine adds to them and takes nothing away.
    chosen = pick or (min if key in ("held", "stored") else median)
    found = {tool: chosen([one[key] for one in many]) * scale for tool, many in values.items() if many and tool != "cp"}
    return Figure(
        name, found.get("tracker"), {tool: found[tool] for tool in RIVALS if tool in found}, target, note=note
    )


def _best(values: dict[str, list[dict[str, float]]], tool: str, key: str) -> float:
    return min(one[key] for one in values[tool])


# --- what is logged -----------------------------------------------------------------------


def _make_checkpoint(folder: Path, megabytes: int) -> None:
    folder.mkdir(parents=True)
    for name, share in (("model.safetensors", 0.7), ("optimizer.pt", 0.3)):
        with (folder / name).open("wb") as file:
            for _ in range(int(megabytes * share)):
                file.write(os.urandom(1_000_000))
    (folder / "config.json").write_text('{"hidden_size": 768}')
    (folder / "trainer_state.json").write_text('{"global_step": 1000}' * 500)


def _make_next(first: Path, second: Path) -> None:
    shutil.copytree(first, second)
    for path in second.iterdir():
        size = path.stat().st_size
        length = int(size * CHANGED_SHARE / PLACES)
        if length < 1000:
            continue
        with path.open("r+b") as file:
            for number in range(PLACES):
                file.seek(size * number // PLACES + length)
                file.write(os.urandom(length))


def _make_small(folder: Path) -> None:
    noise = random.Random(0)
    for number in range(SMALL_FILES):
        if number % 100 == 0:
            (folder / f"{number // 100:02}").mkdir(parents=True)
        (folder / f"{number // 100:02}" / f"{number:05}.bin").write_bytes(noise.randbytes(SMALL_BYTES))


# --- the tools ----------------------------------------------------------------------------

# Logs a folder under a name and returns when it is stored; answers the seconds after which training could have gone on.
Log = Callable[[Path, str], float]


def _tracker() -> tuple[Log, Callable[[], Any]]:
    import tracker

    run = tracker.init(project="bench", mode="offline", settings={"silent": True})

    def log(source: Path, name: str) -> float:
        start = time.perf_counter()
        artifact = tracker.Artifact(name, "model")
        artifact.add_dir(str(source))
        run.log_artifact(artifact)
        held = time.perf_counter() - start
        artifact.wait()
        return held

    return log, run.finish


def _wandb() -> tuple[Log, Callable[[], Any]]:
    import wandb

    run = wandb.init(project="bench", mode="offline", settings=wandb.Settings(silent=True))

    def log(source: Path, name: str) -> float:
        start = time.perf_counter()
        artifact = wandb.Artifact(name, "model")
        artifact.add_dir(str(source))
        run.log_artifact(artifact)  # offline it is staged by now, and nothing more comes
        return time.perf_counter() - start

    return log, run.finish


def _mlflow() -> tuple[Log, Callable[[], Any]]:
    import mlflow

    mlflow.create_experiment("bench", artifact_location=(Path.cwd() / "mlartifacts").as_uri())
    mlflow.set_experiment("bench")
    mlflow.start_run()
    versions = iter(range(1000))

    def log(source: Path, name: str) -> float:
        start = time.perf_counter()
        mlflow.log_artifacts(str(source), f"{name}-{next(versions)}")
        return time.perf_counter() - start

    return log, mlflow.end_run


_TOOLS: dict[str, Callable[[], tuple[Log, Callable[[], Any]]]] = {
    "tracker": _tracker,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _peak_mb(*, anew: bool = False) -> float:
    """Answer the most memory this process has had, since the last call that began anew."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise Skipped("peak memory is read from /proc")
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3
