"""Kill the process at a random moment: how many points that `log()` had returned for are gone?"""

from __future__ import annotations

import mmap
import random
import re
import struct
import time
from pathlib import Path

from . import tools
from .harness import PEERS, Bench, Child, Figure, Skipped

METRICS = 5


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    lost: dict[str, float] = {}
    note = ""
    chance = random.Random(20)
    for tool in ("tracker", "tracker write(2)", *PEERS):
        kills = {"tracker": bench.pick(200, 20), "tracker write(2)": bench.pick(50, 10)}.get(tool, bench.pick(8, 3))
        acked = gone = 0
        try:
            for _ in range(kills):
                done, kept = _kill(bench, tool, chance.uniform(0.01, 0.4))
                acked += done
                gone += done - kept
        except Skipped as reason:
            bench.tell(f"{tool}: {reason}")
            continue
        lost[tool] = 100 * gone / max(acked, 1)
        if tool == "tracker":
            note = f"{gone:,} of {acked:,} rows in {kills} kills"
    peers = {tool: value for tool, value in lost.items() if tool in PEERS}
    found = [Figure("SIGKILL: acknowledged points lost, %", lost.get("tracker"), peers, 0, note=note)]
    if "tracker write(2)" in lost:
        found.append(Figure("the same, by `write(2)`", lost["tracker write(2)"], {}, 0))
    return found


def _kill(bench: Bench, tool: str, seconds: float) -> tuple[int, int]:
    """Answer how many rows were acknowledged, and how many of these are there afterwards."""
    room = bench.room()
    (room / "acked").write_bytes(bytes(8))
    child = bench.start(tool, "kill9", "log_for_ever", room, tool=tool)
    try:
        _wait_for_the_first(child, room)
        time.sleep(seconds)
    finally:
        child.stop()
    acked = _acked(room)
    kept = bench.call(tool, "kill9", "read_back", room, tool=tool, acked=acked)
    return acked, kept


def _wait_for_the_first(child: Child, room: Path) -> None:
    until = time.monotonic() + 120
    while not _acked(room):
        if child.process.poll() is not None or time.monotonic() > until:
            raise Skipped(f"kill9: it did not log: {child.log.read_text(errors='replace')[-200:]!r}")
        time.sleep(0.002)


def _acked(room: Path) -> int:
    return int(struct.unpack("<q", (room / "acked").read_bytes())[0])


def log_for_ever(tool: str) -> None:
    """Log rows that know their number; write down each one when `log()` has returned."""
    rows = tools.rows(512, METRICS)
    with open("acked", "r+b") as file:
        acked = mmap.mmap(file.fileno(), 8)
    log = tools.TOOLS[tool]().open(Path.cwd())
    number = 0
    while True:
        log({**rows[number % 512], "number": number})
        number += 1
        struct.pack_into("<q", acked, 0, number)


def read_back(tool: str, acked: int) -> int:
    """Answer how many of the first `acked` rows are on disk."""
    return len({number for number in _numbers(tool) if 0 <= number < acked})


def _numbers(tool: str) -> list[int]:
    if tool.startswith("tracker"):
        from tracker.testing import read_runs

        found = [row["number"] for run in read_runs(Path.cwd() / "runs") for row in run["history"]]
        assert len(found) == len(set(found)), "a row is there twice"
        return found
    if tool == "trackio":
        from trackio.sqlite_storage import SQLiteStorage

        return [
            row["number"]
            for record in SQLiteStorage.get_run_records("bench")
            for row in SQLiteStorage.get_logs("bench", record["name"], run_id=record.get("id"))
        ]
    if tool == "mlflow":
        import mlflow

        client = mlflow.MlflowClient()
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(ids)
        return [int(m.value) for run in runs for m in client.get_metric_history(run.info.run_id, "number")]
    if tool == "tensorboardX":
        return _tensorboard_numbers()
    return _wandb_numbers()


def _tensorboard_numbers() -> list[int]:
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in Path("events").glob("events.out.*"):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            length = struct.unpack_from("<Q", data, at)[0]
            if at + 16 + length > len(data):
                break
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [event.step for value in event.summary.value if value.tag.endswith("number")]
            at += 16 + length
    return found


def _wandb_numbers() -> list[int]:
    # A log in the manner of LevelDB: blocks of 32 KiB, in them chunks of crc, length and type (1 is a whole record,
    # 2 to 4 its first, middle and last part). The value stands in the record's protobuf as text.
    found = []
    for path in Path("wandb").glob("offline-run-*/*.wandb"):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            left = 32768 - at % 32768
            length, kind = struct.unpack_from("<HB", data, at + 4)
            if left < 7 or kind not in (1, 2, 3, 4):
                at += left
                continue
            piece = data[at + 7 : at + 7 + length]
            record = piece if kind in (1, 2) else record + piece
            if kind in (1, 4) and len(piece) == length:
                found += [int(value) for value in re.findall(rb"\x06number\x82\x01.(\d+)", record, re.S)]
            at += 7 + length
    return found
