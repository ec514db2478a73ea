"""Real processes: a server that can be killed and frozen, a client that logs, a sync; and what is on the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tracker.core.journal import Block, scan

from .client import row

CLIENT = Path(__file__).with_name("client.py")
LIMIT_SECONDS = 60.0


def free_port() -> int:
    """Answer a port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """`tracker server` as a process of its own. Use as a context manager.

    Args:
        folder: Where its stores lie; they survive `kill`.
        wants_key: Whether it wants an API key; see `key`.
    """

    def __init__(self, folder: Path, *, wants_key: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.key: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        if wants_key:
            self.replace_key()

    def replace_key(self) -> None:
        """Make a new key, the only one that is valid from now on."""
        from tracker.server.gate.keys import KeyFile

        self.folder.mkdir(parents=True, exist_ok=True)
        file = KeyFile(self.folder / "keys.json")
        older = [key.id for key in file.keys()]  # noqa: SIM118 - no dict
        _, self.key = file.add("test")
        for key_id in older:
            file.remove(key_id)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "tracker.server.run", "--mode", "server"]
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(
                [*command, "--folder", str(self.folder), "--port", str(self.port)], stdout=log, stderr=log
            )
        limit = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                if self._session.get(f"http://127.0.0.1:{self.port}/api/v1/health", timeout=5).ok:
                    return
            except requests.RequestException:
                assert self._process.poll() is None, self.folder.with_suffix(".log").read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections (the kernel does) and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def _get(self, path: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        answer = self._session.get(f"http://127.0.0.1:{self.port}/api/v1{path}", headers=headers, timeout=30)
        answer.raise_for_status()
        return answer

    def run(self, run_id: str) -> dict[str, Any]:
        """Answer what the server says of a run."""
        answer: dict[str, Any] = self._get(f"/runs/local/faults/{run_id}").json()
        return answer

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        """Answer all rows of a run, unsampled."""
        body = self._get(f"/runs/local/faults/{run_id}/history").content
        return [values for frame in scan(body) for _, _, values in Block.from_frame(frame).rows()]


@dataclass
class Verdict:
    """What came of a run: what was promised by `log` against what the server has.

    Args:
        promised: Rows for which `log` had returned.
        lost, doubled, wrong, invented: Numbers of rows; all empty where all is well.
    """

    promised: int
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    invented: list[int] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether every promised row is there, once, as it was."""
        return not (self.lost or self.doubled or self.wrong or self.invented)


def judge(folder: Path, server: Server, run_id: str) -> Verdict:
    """Compare what was promised with what the server has.

    A row that was being logged when the process died may be there or not: it is neither lost nor invented.
    """
    promised = [int(line) for line in (folder / f"promised-{run_id}").read_text().split()]
    seen: dict[int, int] = {}
    verdict = Verdict(len(promised))
    for values in server.rows(run_id):
        number = values["i"]
        seen[number] = seen.get(number, 0) + 1
        if values != row(number):
            verdict.wrong.append(number)
    verdict.lost = [number for number in promised if number not in seen]
    verdict.doubled = [number for number, count in seen.items() if count > 1]
    verdict.invented = sorted(set(seen) - set(promised) - {len(promised)})
    return verdict


class Client:
    """A training process.

    Args:
        folder: Keeps its runs and what it was promised.
        url: The server it is told of.
        run_id: Its run.
        seconds: How long it trains.
        rate: Rows a second.
        exit_code: What it exits with, whatever happens to the server.
        environment: More of it.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        run_id: str,
        *,
        seconds: float,
        rate: float = 400,
        exit_code: int = 7,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.exit_code = exit_code
        arguments = [str(folder), run_id, str(seconds), str(rate), str(exit_code)]
        self.process = subprocess.Popen(
            [sys.executable, str(CLIENT), *arguments],
            env={**os.environ, "TRACKER_BASE_URL": url, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.folder = folder
        self.run_id = run_id

    def begun(self) -> None:
        """Wait until it logs."""
        limit = time.monotonic() + LIMIT_SECONDS
        path = self.folder / f"promised-{self.run_id}"
        while not (path.exists() and path.stat().st_size):
            assert time.monotonic() < limit
            time.sleep(0.01)

    def result(self) -> tuple[dict[str, Any], str]:
        """Wait for its end; answer what it measured, and what it said on stderr. It never fails for our sake."""
        out, said = self.process.communicate(timeout=LIMIT_SECONDS * 2)
        assert self.process.returncode == self.exit_code, said
        measured: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        assert measured["raised"] == 0, said
        assert "Traceback" not in said, said
        return measured, said


def sync(folder: Path, url: str, *more: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `tracker sync` on a client's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "tracker.core.cli", "sync", str(folder / "runs"), "--url", url, "--json", *more],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
