"""`tracker ui` follows a folder: live runs, dead ones, broken ones, the trash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.core.clock import Clock
from tracker.core.journal.frame import SEGMENT, SEGMENT_MAGIC
from tracker.core.paths import RunPath, streams
from tracker.core.record import Kind
from tracker.server.paths import encode_path
from tracker.server.trash import restore_folder, trash_folder

from .helpers import Server, Writer, until, write_run

TRAINING = textwrap.dedent(
    """
    import sys, time
    import tracker

    run = tracker.init(project="live", dir=sys.argv[1], id="live", name="live run", mode="offline")
    for step in range(int(sys.argv[2])):
        run.log({"loss": 1 / (step + 1)})
        print(step, flush=True)
        time.sleep(0.02)
    run.finish()
    """
)


def train(root: Path, steps: int) -> subprocess.Popen[bytes]:
    """Start a process that logs."""
    return subprocess.Popen([sys.executable, "-c", TRAINING, str(root), str(steps)], stdout=subprocess.PIPE)


def state(server: Server, run: str) -> str | None:
    answer = server.client.get(f"/api/v1/runs/{run}")
    return answer.json()["state"] if answer.status_code == 200 else None


def test_a_process_that_logs_is_followed(start: Callable[..., Server], tmp_path: Path) -> None:
    """What is logged is there within a second or two, and the end as well."""
    server = start("ui", root=tmp_path)
    process = train(tmp_path, 150)
    assert process.stdout is not None
    until(lambda: state(server, "local/live/live") == "running")
    step = int(process.stdout.readline())
    begun = time.monotonic()
    until(lambda: server.get("/runs/local/live/live")["points"] > step, 5)
    took = time.monotonic() - begun
    process.communicate()
    until(lambda: state(server, "local/live/live") == "finished")
    run = server.get("/runs/local/live/live")

    assert took < 5
    assert (run["points"], run["summary"], run["name"]) == (150, {"loss": 1 / 150}, "live run")


def test_a_killed_process_is_crashed_at_once_with_all_it_logged(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("ui", root=tmp_path)
    process = train(tmp_path, 10_000)
    assert process.stdout is not None
    until(lambda: state(server, "local/live/live") == "running")
    for _ in range(20):
        logged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    logged = max([logged, *map(int, process.communicate()[0].split())])
    begun = time.monotonic()
    until(lambda: state(server, "local/live/live") == "crashed", 10)
    took = time.monotonic() - begun

    assert took < 10
    until(lambda: server.get("/runs/local/live/live")["points"] >= logged + 1, 5)


def test_silence_of_another_machine_is_a_crash_until_it_is_heard_again(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """The process cannot be seen from here; the last sign of life is 50 seconds old, then a new one comes."""
    clock = Clock(wall=lambda: time.time_ns() - int(50e9))
    far = Writer(tmp_path, RunPath("local", "far", "away"), clock, host="another-machine", pid=1)
    far.log(1, loss=1.0)
    server = start("ui", root=tmp_path)
    until(lambda: state(server, "local/far/away") == "crashed")
    far.clock = Clock()
    far.record(Kind.HEARTBEAT, {})
    until(lambda: state(server, "local/far/away") == "running")
    far.end()

    until(lambda: state(server, "local/far/away") == "finished")


def damage(folder: Path, how: str) -> None:
    """Break a run's only stream."""
    (stream,) = streams(folder)
    (segment,) = stream.iterdir()
    data = segment.read_bytes()
    if how == "newer format":
        segment.write_bytes(SEGMENT.pack(SEGMENT_MAGIC, 99, SEGMENT.size, 0, 0, 0) + data[SEGMENT.size :])
    elif how == "garbage":
        segment.write_bytes(os.urandom(4096))
    elif how == "zeros":
        segment.write_bytes(bytes(1 << 20))
    elif how == "empty":
        segment.write_bytes(b"")
    elif how == "a folder":
        segment.unlink()
        segment.mkdir()
    elif how == "nothing":
        segment.unlink()
    elif how == "a loop":
        segment.unlink()
        segment.symlink_to(segment.name)


@pytest.mark.parametrize("how", ["newer format", "garbage", "zeros", "empty", "a folder", "nothing", "a loop"])
def test_a_broken_run_does_not_stop_the_others(start: Callable[..., Server], tmp_path: Path, how: str) -> None:
    for number in range(10):
        path = write_run(tmp_path, f"run{number}")
        if number == 5:
            damage(path.folder(tmp_path), how)
    (tmp_path / "local" / "demo" / "no run").mkdir()
    (tmp_path / "a file").write_text("")
    (tmp_path / "local" / "%ff%fe").mkdir()
    server = start("ui", root=tmp_path)
    expected = {f"run{number}" for number in range(10)} - {"run5"}
    until(lambda: {run["id"] for run in server.get("/runs")["runs"] if run["state"] == "finished"} >= expected)
    write_run(tmp_path, "later")

    until(lambda: state(server, "local/demo/later") == "finished", 5)


def test_a_flipped_bit_costs_one_record(start: Callable[..., Server], tmp_path: Path) -> None:
    path = write_run(tmp_path, rows=100)
    (stream,) = streams(path.folder(tmp_path))
    (segment,) = stream.iterdir()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    server = start("ui", root=tmp_path)
    until(lambda: state(server, "local/demo/one") == "finished")
    run = server.get("/runs/local/demo/one")

    assert (run["points"], run["lost"]) == (99, 1)


def test_a_thousand_runs_come_newest_first_and_are_not_read_twice(start: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for number in range(1000):
        write_run(root, f"r{number:04d}", rows=2)
    begun = time.monotonic()
    server = start("ui", root=root)
    seen = until(lambda: server.get("/runs", params={"limit": 1000})["runs"])
    until(lambda: server.get("/runs", params={"limit": 1})["total"] == 1000, 60)
    first = time.monotonic() - begun
    server.stop()
    begun = time.monotonic()
    again = start("ui", root=root)
    assert again.get("/runs", params={"limit": 1})["total"] == 1000
    page = time.monotonic()
    again.get("/runs", params={"limit": 1000})
    print(f"first {first:.1f} s, again {page - begun:.1f} s, a page of 1,000 {time.monotonic() - page:.2f} s")

    assert "r0999" in {run["id"] for run in seen}
    with open(f"/proc/{again.process.pid}/status") as status:
        megabytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
    assert megabytes < 400


def test_trash_moves_the_folder_and_restore_brings_it_back(start: Callable[..., Server], tmp_path: Path) -> None:
    path = write_run(tmp_path)
    other = write_run(tmp_path, "two")
    server = start("ui", root=tmp_path)
    until(lambda: server.get("/runs")["total"] == 2)
    before = path.folder(tmp_path)
    thrown = server.client.delete(f"/api/v1/runs/{encode_path(path)}").json()
    assert not before.exists()
    time.sleep(1.5)  # the watcher looks again: a run that was thrown away has not vanished
    assert [run["id"] for run in server.get("/runs", params={"trash": True})["runs"]] == [path.id]
    assert [run["id"] for run in server.get("/runs")["runs"]] == [other.id]
    assert server.client.patch(f"/api/v1/runs/{encode_path(path)}", json={"name": "x"}).status_code == 409
    assert server.client.post(thrown["restore"]).status_code == 200
    assert before.is_dir()
    assert not list((tmp_path / ".trash").glob("*"))
    until(lambda: server.get("/runs")["total"] == 2)
    assert server.get(f"/runs/{encode_path(path)}")["points"] == 10


def test_the_trash_is_seen_by_a_new_index(start: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    path = write_run(root)
    server = start("ui", root=root)
    until(lambda: server.get("/runs")["total"])
    server.client.delete(f"/api/v1/runs/{encode_path(path)}")
    other = start("ui", root=root, cache=tmp_path / "another")
    listed = until(lambda: other.get("/runs", params={"trash": True})["runs"])

    assert [run["id"] for run in listed] == [path.id]
    assert other.get("/runs")["total"] == 0
    assert other.client.post(f"/api/v1/runs/{encode_path(path)}/restore").status_code == 200
    assert path.folder(root).is_dir()


def test_what_another_program_throws_away_is_listed_as_that(start: Callable[..., Server], tmp_path: Path) -> None:
    """`tracker rm` moves the folder while `tracker ui` looks on, and back."""
    path = write_run(tmp_path)
    write_run(tmp_path, "two")
    server = start("ui", root=tmp_path)
    until(lambda: server.get("/runs")["total"] == 2)
    trash_folder(tmp_path, path)
    until(lambda: [run["id"] for run in server.get("/runs", params={"trash": True})["runs"]] == ["one"], 8)
    assert server.get("/runs")["total"] == 1
    restore_folder(tmp_path, path)

    until(lambda: server.get("/runs")["total"] == 2, 8)
    assert server.get("/runs", params={"trash": True})["total"] == 0


def test_restoring_does_not_cover_a_new_run_of_that_name(start: Callable[..., Server], tmp_path: Path) -> None:
    path = write_run(tmp_path, rows=3)
    server = start("ui", root=tmp_path)
    until(lambda: server.get("/runs")["total"])
    server.client.delete(f"/api/v1/runs/{encode_path(path)}")
    write_run(tmp_path, rows=7)
    run = until(lambda: next((r for r in server.get("/runs")["runs"] if r["points"] == 7), None))

    assert run["state"] == "finished"
    assert server.client.post(f"/api/v1/runs/{encode_path(path)}/restore").status_code in (200, 409)
    assert server.get(f"/runs/{encode_path(path)}")["points"] == 7


def test_a_running_run_is_not_thrown_away(start: Callable[..., Server], tmp_path: Path) -> None:
    writer = Writer(tmp_path, RunPath("local", "demo", "alive"))
    server = start("ui", root=tmp_path)
    until(lambda: state(server, "local/demo/alive") == "running")

    assert server.client.delete("/api/v1/runs/local/demo/alive").status_code == 409
    writer.end()


def test_a_removed_folder_leaves_the_list(start: Callable[..., Server], tmp_path: Path) -> None:
    import shutil

    path = write_run(tmp_path)
    write_run(tmp_path, "kept")
    server = start("ui", root=tmp_path)
    until(lambda: server.get("/runs")["total"] == 2)
    shutil.rmtree(path.folder(tmp_path))

    until(lambda: [run["id"] for run in server.get("/runs")["runs"]] == ["kept"], 8)


class Listener:
    """Collects a server's events on a thread."""

    def __init__(self, server: Server, project: str | None = None) -> None:
        self.heard: list[tuple[float, str, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._listen, args=(server, project), daemon=True)
        self._thread.start()
        until(lambda: self.heard)

    def _listen(self, server: Server, project: str | None) -> None:
        try:
            for name, data in server.events(project):
                self.heard.append((time.monotonic(), name, data))
        except Exception:  # the server ended
            return

    def parts(self, run: str) -> set[str]:
        """Answer all that was told of a run."""
        return {
            part for _, name, data in self.heard if name == "run" and data["path"] == run for part in data["changed"]
        }


def test_changes_are_told_as_they_come(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("ui", root=tmp_path)
    listener = Listener(server)
    other = Listener(server, "local/other")
    writer = Writer(tmp_path, RunPath("local", "demo", "a b"))
    writer.record(Kind.CONFIG, {"set": {"lr": 1}, "remove": []})
    until(lambda: {"info", "config"} <= listener.parts("local/demo/a%20b"))
    begun = time.monotonic()
    for step in range(200):
        writer.log(step, loss=1.0)
        time.sleep(0.01)
    writer.end()
    until(lambda: "state" in listener.parts("local/demo/a%20b"))
    told = [at for at, name, _ in listener.heard if name == "run" and at >= begun]
    last = [data for _, name, data in listener.heard if name == "run"][-1]

    assert {"rows", "state"} <= listener.parts("local/demo/a%20b")
    assert len(told) <= 4 * (told[-1] - told[0]) + 2
    assert last["state"] == "finished"
    assert ("project", {"project": "local/demo"}) in [(name, data) for _, name, data in listener.heard]
    assert [name for _, name, _ in other.heard] == ["welcome"]


def test_an_idle_server_says_nothing(ui: Server) -> None:
    listener = Listener(ui)
    time.sleep(2)

    assert [name for _, name, _ in listener.heard] == ["welcome"]


def test_a_client_that_takes_nothing_costs_no_other_anything(start: Callable[..., Server], tmp_path: Path) -> None:
    import socket

    server = start("ui", root=tmp_path)
    deaf = []
    for _ in range(20):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deaf.append(connection)
    listener = Listener(server)
    for number in range(50):
        write_run(tmp_path, f"r{number}", rows=1)
    until(lambda: len({data.get("path") for _, _, data in listener.heard}) > 50)
    begun = time.monotonic()
    assert server.get("/runs")["total"] == 50
    assert time.monotonic() - begun < 2
    for connection in deaf:
        connection.close()


def test_runs_sent_to_a_server_are_told_too(team: Server, tmp_path: Path) -> None:
    from .helpers import frames_of

    path = write_run(tmp_path, "told", project="told")
    stream, body, _ = frames_of(path.folder(tmp_path))
    listener = Listener(team, "local/told")
    team.send(path, stream, body)

    until(lambda: {"rows", "config", "state"} <= listener.parts("local/told/told"))
