"""The pages of the server itself in a real browser: they work under the policy, and ask nobody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from .helpers import Server

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
PROGRAM = os.environ.get("TRACKER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def page() -> Iterator[Any]:
    """A page that fails its test on an error in its console."""
    if PROGRAM is None:
        pytest.skip("there is no Chromium on the path; TRACKER_CHROMIUM may name one")
    faults: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith("http://127.0.0.1:") else faults.append(r.url))
        yield page
        browser.close()

    assert [fault for fault in faults if "401" not in fault] == []  # a wrong key is answered so on purpose


def test_the_documentation_shows_all_routes(ui: Server, page: Any) -> None:
    page.goto(f"{ui.url}/docs")
    page.get_by_text("/api/v1/series").wait_for()
    page.get_by_text("RunDetail", exact=True).first.wait_for()
    page.locator("summary", has_text="/api/v1/series").click()

    assert page.get_by_text("application/json: SeriesRequest").is_visible()
    assert page.locator("h1").evaluate("e => getComputedStyle(e).fontFamily").startswith("system-ui")


def test_logging_in_leads_where_one_wanted_to_go(locked: tuple[Server, str], page: Any) -> None:
    server, key = locked
    page.goto(f"{server.url}/docs")
    page.get_by_label("API key").fill("tk_wrong")
    page.get_by_role("button").click()
    page.get_by_text("not a key of this server").wait_for()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button").click()
    page.wait_for_url(f"{server.url}/docs")
    page.get_by_text("/api/v1/series").wait_for()

    assert page.evaluate("document.cookie") == ""
    assert key not in page.content()
