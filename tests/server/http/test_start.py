"""Starting and ending: ports, the lock, open streams, pages built and not built."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn

from tracker.core.paths import RunPath
from tracker.server import pages
from tracker.server.app import create_app
from tracker.server.stores import open_stores

from .helpers import Server, Writer, frames_of, start_server, until, write_run


def refused(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracker.server.run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("mode", ["ui", "server"])
def test_a_second_server_says_where_the_first_one_runs(start: Callable[..., Server], tmp_path: Path, mode: str) -> None:
    first = start(mode, root=tmp_path / "runs", folder=tmp_path / "store")
    second = refused(
        "--mode", mode, "--root", str(tmp_path / "runs"), "--folder", str(tmp_path / "store"), "--port", "0"
    )
    first.process.kill()
    first.process.wait()
    third = start(mode, root=tmp_path / "runs", folder=tmp_path / "store")

    assert second.returncode == 2
    assert first.url in second.stderr
    assert "Traceback" not in second.stderr
    assert third.get("/health")["status"] == "ok"


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        ended = refused("--root", str(tmp_path), "--folder", str(tmp_path / "store"), "--port", str(port))

    assert ended.returncode == 2
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "--port" in ended.stderr


def test_it_ends_within_two_seconds_with_pages_open(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("ui", root=tmp_path)
    welcomed: list[str] = []

    def listen() -> None:
        with suppress(httpx.HTTPError):
            for name, _ in server.events():
                welcomed.append(name)

    listeners = [threading.Thread(target=listen, daemon=True) for _ in range(10)]
    for thread in listeners:
        thread.start()
    until(lambda: len(welcomed) == 10)
    begun = time.monotonic()
    server.process.terminate()
    code = server.process.wait(10)
    took = time.monotonic() - begun

    assert took < 2.5
    assert code in (0, -15)
    assert "Traceback" not in server.log.read_text()


def test_a_killed_server_goes_on_where_it_was(start: Callable[..., Server], tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs", rows=500)
    stream, body, last = frames_of(path.folder(tmp_path / "runs"))
    server = start("server", folder=tmp_path / "store")
    assert server.send(path, stream, body).json() == {"acked": last}
    server.process.kill()
    server.process.wait()
    again = start("server", folder=tmp_path / "store")
    repeated = again.send(path, stream, body)

    assert repeated.json() == {"acked": last}
    assert again.get(f"/runs/{path}")["points"] == 500


def test_a_silent_sender_is_crashed_within_a_minute(team: Server) -> None:
    """The store derives it from the time a stream was last heard; here only that a fresh one is running."""
    from tracker.core.journal import encode_frame
    from tracker.core.record import Kind, encode_control

    path = RunPath("local", "silent", "one")
    frame = encode_frame(Kind.RUN, 1, encode_control(1, {"name": "n", "pid": 1, "host": "elsewhere"}))
    team.send(path, "018b0000-1-abcd", frame)

    assert team.get(f"/runs/{path}")["state"] == "running"


def test_the_description_is_the_same_each_time() -> None:
    runs = [
        subprocess.run([sys.executable, "-m", "tracker.server.openapi"], capture_output=True, timeout=60) for _ in "ab"
    ]
    schema = json.loads(runs[0].stdout)

    assert runs[0].stdout == runs[1].stdout
    assert {"/api/v1/runs", "/api/v1/series", "/api/v1/events"} <= set(schema["paths"])
    assert {"Run", "RunDetail", "Project", "Metric", "SeriesRequest"} <= set(schema["components"]["schemas"])


@pytest.mark.parametrize("page", ["/docs", "/login"])
def test_pages_ask_nobody_else(ui: Server, page: str) -> None:
    """Everything they load comes from here, and nothing stands inline."""
    text = ui.client.get(page).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', text)

    assert all(link.startswith("/") and not link.startswith("//") for link in loaded)
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", text)
    for link in loaded:
        answer = ui.client.get(link)
        assert answer.status_code == 200
        assert "http://" not in answer.text.replace("http://www.w3.org", "")
        assert "https://" not in answer.text


@pytest.fixture
def page_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], httpx.Client]]:
    """Serve from this process, so that the folder of the dashboard can be another."""
    with ExitStack() as stack:

        def make(static: Path) -> httpx.Client:
            monkeypatch.setattr(pages, "STATIC", static)
            pages._listing_at.cache_clear()
            app = create_app(open_stores(tmp_path / "store"), mode="ui", root=tmp_path / "runs")
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(setattr, server, "should_exit", True)
            return stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}"))

        yield make


def test_without_the_dashboard_a_plain_page_shows_the_runs(
    page_client: Callable[[Path], httpx.Client], tmp_path: Path
) -> None:
    writer = Writer(tmp_path / "runs", RunPath("local", "demo", "x"), name="<script>alert(1)</script>")
    writer.log(1, **{"<b>loss": 0.25, "t": "</td><img src=x>"})
    writer.end()
    client = page_client(tmp_path / "nothing")
    text = until(lambda: "0.25" in (page := client.get("/any/where").text) and page)

    assert "npm" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;loss: 0.25" in text
    assert not re.search(r"<script|<img|<style|<b>loss", text)


def test_the_built_dashboard_is_served(page_client: Callable[[Path], httpx.Client], tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>built</title>")
    (static / "assets" / "index-abc.js").write_text("1")
    (static / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    (static / "assets" / "link.txt").symlink_to(tmp_path / "secret.txt")
    client = page_client(static)
    asset = client.get("/assets/index-abc.js")
    for route in ("/", "/local/demo", "/local/demo/runs/x.y", "/index.html"):
        answer = client.get(route)
        assert (answer.text, answer.headers["cache-control"]) == ("<!doctype html><title>built</title>", "no-cache")
    icon = client.get("/favicon.svg")
    missing = client.get("/assets/index-old.js")

    assert (asset.text, asset.headers["content-type"]) == ("1", "text/javascript; charset=utf-8")
    assert "immutable" in asset.headers["cache-control"]
    assert icon.headers["content-type"] == "image/svg+xml"
    assert missing.status_code == 404


def test_a_store_of_a_newer_tracker_is_left_alone(start: Callable[..., Server], tmp_path: Path) -> None:
    import sqlite3

    start("server", folder=tmp_path / "store").stop()
    database = sqlite3.connect(tmp_path / "store" / "metadata.db")
    database.execute("PRAGMA user_version = 999")
    database.close()
    ended = refused("--mode", "server", "--folder", str(tmp_path / "store"), "--port", "0")

    assert ended.returncode == 2
    assert "newer" in ended.stderr


@pytest.mark.fault
def test_a_full_disk_is_507_and_the_server_stays_readable(tmp_path: Path) -> None:
    """On a file system of its own; skipped where none can be mounted."""
    store = tmp_path / "store"
    store.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(store)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    server = None
    try:
        server = start_server(tmp_path / "log", "server", folder=store)
        path = write_run(tmp_path / "runs", rows=50)
        stream, body, last = frames_of(path.folder(tmp_path / "runs"))
        assert server.send(path, stream, body).json() == {"acked": last}
        with suppress(OSError), (store / "ballast").open("wb") as ballast:
            while True:
                ballast.write(bytes(4096))
                ballast.flush()
        large = RunPath("local", "demo", "large")
        local = write_run(tmp_path / "runs", "large", rows=20_000)
        stream, body, last = frames_of(local.folder(tmp_path / "runs"))
        refused_with = server.send(large, stream, body)
        readable = server.client.get("/api/v1/runs").status_code
        (store / "ballast").unlink()
        accepted = server.send(large, stream, body)
        assert refused_with.status_code == 507
        assert readable == 200
        assert accepted.json() == {"acked": last}
        assert server.get(f"/runs/{large}")["points"] == 20_000
    finally:
        if server is not None:
            server.stop()
        subprocess.run(["umount", str(store)], check=False)
