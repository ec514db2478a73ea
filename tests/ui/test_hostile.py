"""Logged text stays text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from .conftest import Seen, Server, until
from .data import PAYLOADS, log_payloads

# Elements that the payloads would make, were they ever read as HTML.
GROWN = "body :is(script, iframe, object, embed, base, meta, link, style, form, video, math, img)"


def test_markup_in_every_logged_text_stays_text(
    tmp_path: Path, serve: Callable[..., Server], page: Page, seen: Seen
) -> None:
    """No dialog, no request to another host, no element of theirs: in the workspace and on each run's page."""
    log_payloads(tmp_path)
    server = serve(tmp_path)
    until(lambda: server.json("/runs?entity=local&project=hostile")["total"] == len(PAYLOADS))

    page.goto(f"{server.url}/local/hostile")
    expect(page.locator(".run-row").first).to_be_visible()
    expect(page.locator(".chart").first).to_be_visible()
    page.locator(".u-over").first.hover()
    page.locator(".run-name").first.hover()
    assert page.locator(GROWN).count() == 0
    for number, payload in enumerate(PAYLOADS):
        page.goto(f"{server.url}/local/hostile/runs/hostile-{number}")
        expect(page.locator("h1")).to_have_text(payload.strip())
        expect(page.locator(".tag")).to_have_text(payload)
        assert page.locator(GROWN).count() == 0
    page.goto(f"{server.url}/local/hostile/runs/hostile-1?tab=charts")
    expect(page.locator(".panel h3").first).to_be_visible()

    assert page.locator(GROWN).count() == 0
    assert seen.faults == []
