"""The list of projects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from .conftest import Server
from .data import begin


def test_an_empty_folder_shows_the_code_that_fills_it(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    """The first run appears without a reload."""
    server = serve(tmp_path)
    page.goto(server.url)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("tracker.init(")

    run = begin(tmp_path, "first")
    run.log({"loss": 1.0})
    run.finish()

    row = page.get_by_role("row").filter(has_text="first")
    expect(row).to_be_visible(timeout=10_000)
    expect(row.locator(".state-finished").first).to_be_visible(timeout=10_000)
    row.get_by_role("link").click()
    expect(page.locator(".run-row")).to_have_count(1)


def test_an_unknown_address_says_so(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    """The page itself answers where the server sends it for any address."""
    server = serve(tmp_path)

    page.goto(f"{server.url}/a/b/c")

    expect(page.get_by_text("There is nothing at this address")).to_be_visible()
