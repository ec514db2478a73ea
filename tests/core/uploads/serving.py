"""`tracker server` as a process of its own, for tests of what talks to it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

LIMIT_SECONDS = 60.0


class Server:
    """A server that can be killed and started again on the same port. Use as a context manager.

    Args:
        folder: Where its stores lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._session.close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "tracker.server.run", "--mode", "server", "--folder", str(self.folder)]
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen([*command, "--port", str(self.port)], stdout=log, stderr=log)
        limit = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                if self._session.get(f"{self.url}/api/v1/health", timeout=5).ok:
                    return
            except requests.RequestException:
                assert self._process.poll() is None, self.folder.with_suffix(".log").read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def get(self, route: str, **options: Any) -> requests.Response:
        """Ask."""
        return self._session.get(f"{self.url}/api/v1{route}", timeout=30, **options)

    def json(self, route: str, **options: Any) -> Any:
        """Ask for JSON."""
        answer = self.get(route, **options)
        assert answer.ok, answer.text
        return answer.json()
