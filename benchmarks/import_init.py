"""What it costs to be there: the import, `init()`, an empty run, its processes, and the start-up hook."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from . import tools
from .harness import PEERS, Bench, Figure, environment, median

IMPORTS = {name: name for name in ("tracker", "wandb", "mlflow", "trackio", "tensorboardX")}
EMPTY = {
    "tracker": "import tracker; tracker.init(project='empty', mode='offline').finish()",
    "wandb": "import wandb; wandb.init(project='empty', mode='offline').finish()",
    "mlflow": "import mlflow; mlflow.start_run(); mlflow.end_run()",
    "trackio": "import trackio; trackio.init(project='empty', embed=False); trackio.finish()",
    "tensorboardX": "from tensorboardX import SummaryWriter; SummaryWriter('events').close()",
}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    tools_ = list(IMPORTS)
    many = bench.pick(15, 5)

    def over_bare(tool: str, code: str) -> float:
        python, room = bench.interpreter(tool), bench.room()
        return cpu_seconds(python, code, room) - cpu_seconds(python, "pass", room)

    imports = bench.each(tools_, many, lambda tool: over_bare(tool, f"import {IMPORTS[tool]}"))
    inits = bench.each(tools_, many, lambda tool: bench.call(tool, "import_init", "measure", tool=tool))
    empties = bench.each(tools_, bench.pick(7, 3), lambda tool: over_bare(tool, EMPTY[tool]))

    def row(name: str, values: dict[str, float], target: float, note: str = "") -> Figure:
        peers = {tool: value for tool, value in values.items() if tool in PEERS}
        return Figure(name, values.get("tracker"), peers, target, note=note)

    found = [
        row("import, CPU over bare, ms", {t: min(v) * 1e3 for t, v in imports.items()}, 40),
        row(
            "`init()`, ms",
            {t: median([one["init"] for one in v]) * 1e3 for t, v in inits.items()},
            15,
            "trackio's writes nothing; ours returns with the journal open and on disk",
        ),
        row("empty run, CPU over bare, s", {t: min(v) for t, v in empties.items()}, 0.1),
        row(
            "processes of one run",
            {t: max(one["processes"] for one in v) for t, v in inits.items()},
            1,
            'ours: the second passes on what is printed, and writes it down; with `console="wrap"` there is one',
        ),
    ]
    try:
        hook = _hook(bench)
        found.append(Figure("start-up hook, CPU over none, ms", hook, {}, 1.0))
    except ValueError as reason:
        bench.tell(str(reason))
    return found


def measure(tool: str) -> dict[str, float]:
    """Time `init()` after the import, and count the processes of a run; in the tool's interpreter."""
    if tool in ("tracker", "wandb", "mlflow", "trackio"):
        __import__(tool)
    one = tools.TOOLS[tool]()
    mark = "TRACKER_BENCHMARK_MARK"
    os.environ[mark] = str(os.getpid())
    start = time.perf_counter()
    log = one.open(Path.cwd())
    seconds = time.perf_counter() - start
    log({"loss": 0.5})
    processes = 1  # what the mark was put into later does not show in our own /proc entry
    wanted = f"{mark}={os.getpid()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            processes += wanted in (folder / "environ").read_bytes() and int(folder.name) != os.getpid()
        except OSError:
            continue
    one.close()
    return {"init": seconds, "processes": processes}


def cpu_seconds(python: str, code: str, room: Path, **extra: str) -> float:
    """Answer the CPU time of a whole interpreter and its children."""
    process = subprocess.Popen(
        [python, "-c", code],
        cwd=room,
        env=environment(room) | extra,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _adopt()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    while True:  # what it left behind has come to us
        try:
            _, _, rest = os.wait4(-1, 0)
        except ChildProcessError:
            break
        seconds += rest.ru_utime + rest.ru_stime
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        from .harness import Skipped

        raise Skipped(f"`{code}` ended with {process.returncode}")
    return seconds


def _adopt() -> None:
    """Have processes whose parent has ended become ours, so that their time is told to us (Linux)."""
    import ctypes

    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _hook(bench: Bench) -> float:
    room = bench.room()
    check = "import sys; sys.exit('_tracker_hook' not in sys.modules)"
    if subprocess.run([bench.python, "-c", check], cwd=room).returncode:
        raise ValueError("start-up hook: it is not installed in this environment")
    cpu_seconds(bench.python, "pass", room)  # compiled by now
    pairs = [
        (cpu_seconds(bench.python, "pass", room), cpu_seconds(bench.python, "pass", room, TRACKER_DISABLED="1"))
        for _ in range(bench.pick(100, 30))
    ]
    return 1e3 * max(0.0, median([one for one, _ in pairs]) - median([other for _, other in pairs]))
