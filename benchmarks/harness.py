"""What the subjects share: interpreters, child processes, servers, and the figures that come out."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = ("wandb", "mlflow", "trackio", "tensorboardX")


class Skipped(Exception):
    """A figure that cannot be had here, and why."""


@dataclass
class Figure:
    """One row of the table.

    Args:
        name: What was measured, with its unit.
        ours: What tracker reached; None where it could not be measured.
        peers: The same of each peer that was measured.
        target: What is to be reached.
        is_more_better: Whether a larger figure is the better one.
        digits: How many significant digits to print.
        note: What a reader must know beside it, or why something is missing.
    """

    name: str
    ours: float | None
    peers: dict[str, float] = field(default_factory=dict)
    target: float | None = None
    is_more_better: bool = False
    digits: int = 3
    note: str = ""

    @property
    def best(self) -> tuple[str, float] | None:
        """The best peer and its figure."""
        pick = max if self.is_more_better else min
        return pick(self.peers.items(), key=lambda item: item[1]) if self.peers else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.ours is None or self.target is None:
            return None
        return self.ours >= self.target if self.is_more_better else self.ours <= self.target


@dataclass
class Bench:
    """The options of this run, and the means to measure.

    Args:
        folder: Where everything is written; removed afterwards.
        peers: The interpreter that has the peers; None leaves them out.
        is_quick: Less of everything: minutes in place of an hour.
        python: The interpreter that has tracker.
    """

    folder: Path
    peers: str | None
    is_quick: bool = False
    python: str = sys.executable
    skipped: list[str] = field(default_factory=list)
    _number: int = 0

    def room(self) -> Path:
        """Answer a new, empty folder."""
        self._number += 1
        room = self.folder / f"{self._number:04}"
        room.mkdir()
        return room

    def pick(self, whole: int, quick: int) -> int:
        """Answer how many: the first number, or the second in a quick run."""
        return quick if self.is_quick else whole

    def interpreter(self, tool: str) -> str:
        """Answer the interpreter that has a tool."""
        if tool not in PEERS:
            return self.python
        if self.peers is None:
            raise Skipped("peers are not installed (--peers-venv)")
        return self.peers

    def start(self, tool: str, subject: str, function: str, room: Path | None = None, /, **arguments: Any) -> Child:
        """Begin a function of a subject in the tool's interpreter."""
        command = [self.interpreter(tool), str(HERE / "child.py"), subject, function, json.dumps(arguments)]
        return Child(command, room or self.room())

    def call(self, tool: str, subject: str, function: str, room: Path | None = None, /, **arguments: Any) -> Any:
        """Answer what a function of a subject answers in the tool's interpreter."""
        return self.start(tool, subject, function, room, **arguments).answer(f"{tool}: {subject}.{function}")

    def each(self, tools: Sequence[str], rounds: int, measure: Callable[[str], Any]) -> dict[str, list[Any]]:
        """Measure each tool in turn, round by round, so that a busy moment hits all alike.

        A tool that fails is left out from then on, and the reason is told below the table.
        """
        found: dict[str, list[Any]] = {}
        failed: set[str] = set()
        for _ in range(rounds):
            for tool in tools:
                if tool in failed:
                    continue
                try:
                    found.setdefault(tool, []).append(measure(tool))
                except Skipped as reason:
                    failed.add(tool)
                    self.tell(f"{tool}: {reason}")
        return {tool: values for tool, values in found.items() if values}

    def tell(self, reason: str) -> None:
        """Remember what was left out, once."""
        if reason not in self.skipped:
            self.skipped.append(reason)
            print(f"  left out: {reason}", file=sys.stderr, flush=True)


class Child:
    """A process of one tool, with a home and folders of its own."""

    def __init__(self, command: Sequence[str], room: Path) -> None:
        self.log = room / "stderr.txt"
        self.room = room
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=room,
                env=environment(room),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # by which what it leaves to others to look after is found
            )

    def answer(self, what: str = "child", timeout: float = 1800) -> Any:
        """Wait, and answer what the function answered.

        Raises:
            Skipped: It failed; the last line it wrote says why.
        """
        try:
            output, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Skipped(f"{what} took longer than {timeout:.0f} s") from None
        if self.process.returncode:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["no word"]
            raise Skipped(f"{what} ended with {self.process.returncode}: {lines[-1][:200]}")
        return json.loads(output.splitlines()[-1])

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def environment(room: Path) -> dict[str, str]:
    """Answer the environment of a child: nobody's settings, nobody's network, one thread for linear algebra."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRACKER_", "WANDB_", "MLFLOW_", "TRACKIO_", "HF_", "XDG_", "PYTHON"))
    }
    return kept | {
        "HOME": str(room),
        "TRACKER_DIR": str(room / "runs"),
        "TRACKER_CACHE_DIR": str(room / "cache"),
        "TRACKER_SILENT": "true",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(room),
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{room}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TRACKIO_DIR": str(room / "trackio"),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


# --- servers -------------------------------------------------------------------------------


def free_port() -> int:
    """Answer a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A server process that can be killed, frozen and begun anew on the same port."""

    def __init__(self, command: Sequence[str], room: Path, port: int, health: str) -> None:
        self.command, self.room, self.port = command, room, port
        self.url = f"http://127.0.0.1:{port}"
        self.health = self.url + health
        self.start()

    def start(self) -> None:
        """Begin, and wait until it answers."""
        self.child = Child(self.command, self.room)
        until = time.monotonic() + 90
        while time.monotonic() < until:
            if self.child.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.health, timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        self.child.stop()
        lines = self.child.log.read_text(errors="replace").strip().splitlines() or ["no word"]
        raise Skipped(f"the server did not start: {lines[-1][:200]}")

    def cpu_seconds(self) -> float:
        """Answer the CPU time it and its children have used."""
        return sum(cpu_of(pid) for pid in tree_of(self.child.process.pid))

    def signal(self, number: int) -> None:
        """Send a signal to it and its children."""
        for pid in tree_of(self.child.process.pid):
            os.kill(pid, number)

    def stop(self) -> None:
        """Kill it and its children."""
        for pid in reversed(tree_of(self.child.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.stop()


@contextmanager
def serving(command: Sequence[str], room: Path, port: int, health: str) -> Iterator[Server]:
    """Have a server for the length of a block."""
    server = Server(command, room, port, health)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def tracker_server(bench: Bench, verb: str = "server", room: Path | None = None) -> Iterator[Server]:
    """Have a `tracker server`, or a `tracker ui` on the runs in the room."""
    port, room = free_port(), room or bench.room()
    options = ["--folder", str(room / "store")] if verb == "server" else ["--no-browser", str(room / "runs")]
    command = [bench.python, "-m", "tracker.core.cli", verb, "--port", str(port), *options]
    with serving(command, room, port, "/api/v1/health") as server:
        yield server


def tree_of(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            tasks = Path(f"/proc/{parent}/task").iterdir()
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    session = _session(pid)
    for folder in Path("/proc").glob("[0-9]*") if session == pid else ():
        other = int(folder.name)
        if other not in found and _session(other) == session:  # nobody's child, and of it all the same
            found.append(other)
    return found


def _session(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, ValueError, IndexError):
        return 0


def cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- small things --------------------------------------------------------------------------


def folder_bytes(folder: Path) -> int:
    """Answer the bytes in all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def median(values: Sequence[float]) -> float:
    """Answer the middle value."""
    return statistics.median(values)


def machine(folder: Path) -> str:
    """Name the machine: processor, cores, kernel, file system, Python."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    kind = ""
    if shutil.which("df"):
        kind = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True).stdout.split()[-1]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{model}, {cores} cores, {platform.system()} {platform.release()}, {kind or 'unknown file system'}, "
        f"Python {platform.python_version()}"
    )
