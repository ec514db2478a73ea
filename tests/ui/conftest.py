"""A real server over a folder of real runs, and a real browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

import tracker.server

BUILT_PAGE = Path(tracker.server.__file__).parent / "static" / "index.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Nothing of the browser's own may reach the network: a test asserts that no foreign host is asked.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS = 30.0


def chromium() -> str | None:
    """Answer the browser's program: `TRACKER_CHROMIUM`, or one on the path."""
    named = os.environ.get("TRACKER_CHROMIUM")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session", autouse=True)
def _what_is_needed() -> None:
    if not BUILT_PAGE.exists():
        pytest.skip("the dashboard is not built: run `npm ci && npm run build` in server/web")
    if chromium() is None:
        pytest.skip("there is no Chromium on the path; TRACKER_CHROMIUM may name one")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Server:
    """A `tracker ui` process."""

    process: subprocess.Popen[bytes]
    url: str

    def stop(self) -> None:
        """End it as Ctrl+C would."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def json(self, path: str) -> Any:
        """Answer what the API says at `path`."""
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=10) as answer:
            return json.load(answer)


def free_port() -> int:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start `tracker ui` over a folder; all that were started end with the session."""
    servers: list[Server] = []

    def start(folder: Path, port: int | None = None) -> Server:
        port = port or free_port()
        environment = {**os.environ, "TRACKER_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
        environment.pop("TRACKER_DIR", None)
        command = [sys.executable, "-m", "tracker.core.cli", "ui", str(folder), "--port", str(port), "--no-browser"]
        log = tmp_path_factory.mktemp("log") / "server.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        server = Server(process, f"http://127.0.0.1:{port}")
        servers.append(server)
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit and process.poll() is None:
            with suppress(OSError):
                server.json("/health")
                return server
            time.sleep(0.05)
        pytest.fail(f"`tracker ui` did not come up:\n{log.read_text(errors='replace')[-4000:]}")

    yield start
    for server in servers:
        server.stop()


@dataclass
class Seen:
    """What a page did while it was watched."""

    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def series(self) -> list[dict[str, Any]]:
        """Answer the bodies of the requests for lines, in their order."""
        return [json.loads(request.post_data or "{}") for request in self.requests if request.url.endswith("/series")]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(browser: Browser, seen: Seen) -> Iterator[Page]:
    """A page that fails its test on an exception, a dialog, a refused script, or a request to anyone else."""
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    page = context.new_page()
    page.set_default_timeout(15_000)

    def dialog(dialog: Any) -> None:
        seen.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def request(request: Request) -> None:
        seen.requests.append(request)
        if urlsplit(request.url).hostname != "127.0.0.1":
            seen.faults.append(f"foreign request: {request.url}")

    page.on("dialog", dialog)
    page.on("request", request)
    page.on("pageerror", lambda error: seen.faults.append(f"exception: {error}"))
    page.on("console", lambda message: seen.faults.append(message.text) if "Content Security" in message.text else None)
    yield page
    context.close()

    assert seen.faults == []


def until(claim: Callable[[], Any], seconds: float = 15.0, page: Page | None = None) -> Any:
    """Answer the first truth that `claim` says; fail after `seconds`."""
    limit = time.monotonic() + seconds
    while True:
        if truth := claim():
            return truth
        if time.monotonic() > limit:
            pytest.fail(f"not true after {seconds} s: {claim.__doc__ or claim}")
        # The page's own wait keeps the browser's events coming in.
        page.wait_for_timeout(20) if page else time.sleep(0.02)
