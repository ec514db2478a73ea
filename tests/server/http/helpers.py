"""Journals written as a training process would, and a server process to ask."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tracker.core.clock import Clock
from tracker.core.journal import Journal, StreamReader, encode_frame
from tracker.core.paths import RunPath, streams
from tracker.core.record import Kind, encode_control
from tracker.core.values import encodable

FRAMES = "application/x-tracker-frames"
START_SECONDS = 30.0


def until(claim: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Answer the first truth that `claim` says; raise after `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        if truth := claim():
            return truth
        if time.monotonic() > limit:
            raise AssertionError(f"not true after {seconds} s: {claim.__doc__ or claim}")
        time.sleep(0.02)


class Writer:
    """A run's journal, written from this process.

    Args:
        root: The folder of all runs.
        path: Which run.
        clock: Gives the times of its records.
        fields: More fields of its first RUN record; `host` and `pid` among them say who writes.
    """

    def __init__(self, root: Path, path: RunPath, clock: Clock | None = None, **fields: Any) -> None:
        self.path = path
        self.folder = path.folder(root)
        self.clock = clock or Clock()
        self.journal = Journal(self.folder / "streams", self.clock)
        known = {"id": path.id, "entity": path.entity, "project": path.project, "name": f"name of {path.id}"}
        self.record(Kind.RUN, {**known, "host": socket.gethostname(), "pid": os.getpid(), **fields})

    def record(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Append a record that is no row."""
        self.journal.append(kind, encode_control(self.clock.now_ns(), dict(body)))

    def log(self, step: float, **values: Any) -> None:
        """Append a row."""
        self.journal.append(Kind.ROW, msgspec.msgpack.encode((step, self.clock.now_ns(), encodable(values))))

    def end(self, state: str = "finished", **more: Any) -> None:
        """Append the end, and close."""
        self.record(Kind.EXIT, {"state": state, "exit_code": 0, **more})
        self.journal.close()


def write_run(root: Path, run_id: str = "one", project: str = "demo", rows: int = 10, **fields: Any) -> RunPath:
    """Write a finished run whose loss falls from 1."""
    path = RunPath("local", project, run_id)
    writer = Writer(root, path, **fields)
    writer.record(Kind.CONFIG, {"set": {"lr": 0.1}, "remove": []})
    for step in range(rows):
        writer.log(step, loss=1 / (step + 1))
    writer.end()
    return path


def frames_of(folder: Path) -> tuple[str, bytes, int]:
    """Answer a run's only stream: its id, its frames as they are sent, and the last sequence number."""
    (stream,) = streams(folder)
    reader = StreamReader(stream)
    body = b"".join(encode_frame(f.kind, f.seq, f.payload, f.flags, f.records) for f in reader.frames())
    return stream.name, body, reader.cursor


@dataclass
class Server:
    """A server process.

    Args:
        process: The process.
        url: Its address.
        log: What it wrote to stdout and stderr.
        client: Asks it, without a key.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    client: httpx.Client

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def get(self, path: str, **options: Any) -> Any:
        """Answer the JSON at a path of the API."""
        answer = self.client.get(f"/api/v1{path}", **options)
        answer.raise_for_status()
        return answer.json()

    def send(self, path: RunPath, stream: str, body: bytes, after: int = 0, **headers: str) -> httpx.Response:
        """Send frames."""
        return self.client.post(
            f"/api/v1/streams/{path.entity}/{path.project}/{path.id}/{stream}",
            params={"after": after},
            content=body,
            headers={"content-type": FRAMES, **headers},
        )

    def raw(self, request: bytes, seconds: float = 5.0) -> bytes:
        """Send bytes as they are; answer what comes back until the server closes, or has nothing more to say."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(request)
            answer = b""
            with suppress(TimeoutError, ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
                    head, found, rest = answer.partition(b"\r\n\r\n")
                    if found and _is_whole(head, rest):
                        break
            return answer

    def events(self, project: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk the server's events."""
        query = {"project": project} if project else None
        with self.client.stream("GET", "/api/v1/events", params=query, timeout=30) as answer:
            assert answer.status_code == 200, answer.read()
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])
                elif line.startswith(": welcome"):
                    yield "welcome", {}

    def stop(self) -> int:
        """End it as Ctrl+C would; answer its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def _is_whole(head: bytes, rest: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(rest) >= int(line.partition(b":")[2])
    return False


def start_server(
    log: Path,
    mode: str,
    *,
    root: Path | None = None,
    folder: Path | None = None,
    cache: Path | None = None,
    arguments: Sequence[str] = (),
    needs_health: bool = True,
) -> Server:
    """Start a server on a free port, and wait until it answers.

    Args:
        log: The file that takes its output.
        mode: "ui" or "server".
        root: The folder of runs ("ui").
        folder: The folder of the stores.
        cache: Where the index of "ui" goes without `folder`.
        arguments: More arguments.
        needs_health: Wait until it says that it is up.
    """
    command = [sys.executable, "-m", "tracker.server.run", "--mode", mode, "--port", "0", *arguments]
    if root is not None:
        command += ["--root", str(root)]
    if folder is not None:
        command += ["--folder", str(folder)]
    environment = {**os.environ, "TRACKER_CACHE_DIR": str(cache or log.parent / "cache")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        text = log.read_text(errors="replace")
        if "http://" in text and "\n" in text:
            url = "http://127.0.0.1:" + text.partition("http://")[2].split()[0].rpartition(":")[2]
            server = Server(process, url, log, httpx.Client(base_url=url, timeout=20))
            if not needs_health:
                return server
            with suppress(httpx.TransportError):
                if server.client.get("/api/v1/health").status_code == 200:
                    return server
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"the server did not come up:\n{log.read_text(errors='replace')[-4000:]}")
