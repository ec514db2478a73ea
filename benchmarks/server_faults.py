"""What a training loop feels, and what is lost, when the server or the power goes away in mid-run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from . import tools
from .harness import Bench, Figure, Server, Skipped, free_port, median, serving, tracker_server

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN; with 2, what was not synced is dropped, as by a power cut


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found = []
    away = bench.pick(10, 3)
    for what, fault in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
        ours: list[dict[str, Any]] = []
        peers: dict[str, float] = {}
        wrong = 0
        try:
            for _ in range(bench.pick(3, 1)):
                with tracker_server(bench) as server:
                    ours.append(_outage(bench, "tracker", server, fault, away))
                    kept = bench.call("tracker", "server_faults", "read_server", url=server.url)
                    wrong += ours[-1]["rows"] - len(set(kept)) + len(kept) - len(set(kept))
        except Skipped as reason:
            bench.tell(f"tracker: {reason}")
        try:
            with _mlflow_server(bench) as server:
                peers["mlflow"] = _outage(bench, "mlflow", server, fault, away)["longest"]
        except Skipped as reason:
            bench.tell(f"mlflow: {reason}")
        name = f"server {what} for {away} s"
        if not ours:
            continue
        control = max(one["control"] for one in ours)
        times = ", ".join(f"{one['longest']:.1f}" for one in ours)
        note = f"each time: {times}; json+write in the same loops: {control:.1f}"
        longest = median([one["longest"] for one in ours])
        found.append(Figure(f"{name}: longest `log()`, ms", longest, peers, 5, note=note))
        note = f"of {sum(one['rows'] for one in ours):,} rows"
        found.append(Figure(f"{name}: rows lost or twice", wrong, {}, 0, note=note))
    return [*found, *_power(bench)]


def _outage(bench: Bench, tool: str, server: Server, fault: int, away: float) -> dict[str, Any]:
    room = bench.room()
    child = bench.start(tool, "server_faults", f"log_{tool}", room, url=server.url, seconds=away + 6)
    try:
        until = time.monotonic() + 60
        while not (room / "logging").exists() and child.process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(2)
        server.signal(fault)
        time.sleep(away)
        if fault == signal.SIGKILL:
            server.child.stop()
            server.start()
        else:
            server.signal(signal.SIGCONT)
        answer: dict[str, Any] = child.answer(f"server_faults of {away:.0f} s", timeout=300)
        return answer
    finally:
        child.stop()


def _mlflow_server(bench: Bench) -> AbstractContextManager[Server]:
    port, room = free_port(), bench.room()
    command = [bench.interpreter("mlflow"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{room}/mlflow.db"]
    return serving(command, room, port, "/health")


def log_tracker(url: str, seconds: float) -> dict[str, Any]:
    """Log some 200 rows a second to a server, and finish."""
    import tracker

    run = tracker.init(project="faults", mode="online", settings={"base_url": url, "finish_stall_seconds": 60})
    answer = _log_at_pace(run.log, seconds)
    run.finish()
    return answer


def log_mlflow(url: str, seconds: float) -> dict[str, Any]:
    """Log to an MLflow server, synchronously, as by default."""
    import mlflow

    mlflow.set_tracking_uri(url)
    mlflow.start_run()
    return _log_at_pace(mlflow.log_metrics, seconds)


def _log_at_pace(log: Any, seconds: float) -> dict[str, Any]:
    """Log, and beside each row do the same with json+write: its longest time is the machine's part in ours."""
    rows = tools.rows(512, 5)
    raw = tools.Raw().open(Path.cwd())
    Path("logging").touch()
    longest, control, number, end = 0.0, 0.0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        row = {**rows[number % 512], "number": number}
        start = time.perf_counter()
        log(row)
        middle = time.perf_counter()
        raw(row)
        control = max(control, time.perf_counter() - middle)
        longest = max(longest, middle - start)
        number += 1
        time.sleep(0.005)
    return {"rows": number, "longest": longest * 1e3, "control": control * 1e3}


def read_server(url: str) -> list[int]:
    """Answer the number of each row that the server has."""
    import tracker

    runs = tracker.Api(base_url=url).runs("faults")
    return [row["number"] for run in runs for row in run.scan_history(keys=["number"])]


# --- power ---------------------------------------------------------------------------------


def _power(bench: Bench) -> list[Figure]:
    seconds, flushed = [], 0
    cuts = bench.pick(10, 3)
    try:
        for _ in range(cuts):
            late, gone = _cut(bench)
            seconds.append(late)
            flushed += gone
    except (Skipped, OSError, subprocess.CalledProcessError) as reason:
        bench.tell(f"power cut: {reason}")
        return []
    note = f"the worst of {cuts} cuts of an ext4; median {median(seconds):.2f}"
    return [
        Figure("power cut: seconds of points lost", max(seconds), {}, 1.0, note=note),
        Figure("power cut: rows lost that `flush()` had returned for", flushed, {}, 0),
    ]


def _cut(bench: Bench) -> tuple[float, int]:
    with _disk(bench) as (image, mount):
        room = bench.room()
        (room / "state").write_bytes(bytes(16))
        child = bench.start("tracker", "server_faults", "log_on_disk", room, folder=str(mount))
        time.sleep(3.7)
        handle = os.open(mount, os.O_RDONLY)
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", 2))
        cut = time.time()
        os.close(handle)
        flushed = struct.unpack("<q", (room / "state").read_bytes()[:8])[0]
        child.stop()
        _do("umount", str(mount))
        _do("mount", "-o", "loop", str(image), str(mount))
        found = bench.call("tracker", "server_faults", "read_disk", folder=str(mount))
    last, numbers = found["last"], set(found["numbers"])
    return max(0.0, cut - last), len(set(range(flushed)) - numbers)


@contextmanager
def _disk(bench: Bench) -> Iterator[tuple[Path, Path]]:
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mkfs.ext4") or not shutil.which("losetup"):
        raise Skipped("it wants root, mkfs.ext4 and a loop device")
    room = bench.room()
    image, mount = room / "disk.img", room / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    _do("mkfs.ext4", "-q", "-F", str(image))
    _do("mount", "-o", "loop", str(image), str(mount))
    try:
        yield image, mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"{command[0]}: {done.stderr.strip()[:200]}")


def log_on_disk(folder: str) -> None:
    """Log for ever; now and then flush, and write down up to where."""
    import tracker

    run = tracker.init(project="power", dir=folder, mode="offline", settings={"silent": True})
    rows = tools.rows(512, 5)
    number = 0
    with open("state", "r+b", buffering=0) as state:
        while True:
            run.log({**rows[number % 512], "number": number})
            number += 1
            if number == 1000:
                run.flush()
                state.seek(0)
                state.write(struct.pack("<q", number))
            time.sleep(0.001)


def read_disk(folder: str) -> dict[str, Any]:
    """Answer what is left on the disk."""
    from tracker.testing import read_runs

    history = [row for run in read_runs(folder) for row in run["history"]]
    times = [row["_timestamp"] for row in history]
    return {"last": max(times, default=0.0), "numbers": [row["number"] for row in history]}
