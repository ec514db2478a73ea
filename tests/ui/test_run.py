"""One run's page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import Server, until
from .data import log_failure


@pytest.fixture
def run(tmp_path: Path, serve: Callable[..., Server], page: Page) -> Page:
    log_failure(tmp_path)
    server = serve(tmp_path)
    until(lambda: server.json("/runs?entity=local&project=odd")["total"] == 1)
    page.goto(f"{server.url}/local/odd/runs/failed")
    return page


def test_a_failed_run_says_why(run: Page) -> None:
    """The banner holds the last words of the process."""
    banner = run.get_by_role("alert")

    expect(banner).to_contain_text("The run failed")
    expect(banner).to_contain_text("ValueError: the loss is NaN")


def test_the_overview_shows_what_the_owner_wrote(run: Page) -> None:
    """Notes, tags and group stand beside the facts."""
    overview = run.get_by_role("region", name="overview")

    for text in ("Tried a warmup.", "a", "b", "g", "failed"):
        expect(overview.get_by_text(text, exact=True).first).to_be_visible()


def test_the_config_is_a_tree_that_can_be_searched(run: Page) -> None:
    """NaN and integers beyond 2**53 are shown as they were logged."""
    config = run.get_by_role("region", name="config")
    expect(config.locator("li").filter(has_text="dropout")).to_contain_text("NaN")
    expect(config.locator("li").filter(has_text="seed")).to_contain_text("1,180,591,620,717,411,303,424")
    expect(config.locator("li").filter(has_text="shards")).to_contain_text("[1,2,3]")

    config.get_by_label("Search config").fill("act")
    expect(config.locator("li")).to_have_count(2)
    config.get_by_label("Search config").fill("")
    config.get_by_role("button", name="model").click()

    expect(config.locator("li").filter(has_text="dropout")).to_have_count(0)


def test_the_summary_sorts(run: Page) -> None:
    """NaN has its place: after every number."""
    summary = run.get_by_role("region", name="summary")

    summary.get_by_role("button", name="Value").click()

    expect(summary.locator(".grid-body .grid-row").first).to_contain_text("acc")
    expect(summary.locator(".grid-body .grid-row").nth(1)).to_contain_text("NaN")


def test_the_charts_of_the_run(run: Page) -> None:
    """They are a tab with an address of its own."""
    run.get_by_role("tab", name="charts").click()

    expect(run.locator('[data-metric="acc"] .chart')).to_be_visible()
    expect(run.locator('[data-metric="loss"]')).to_be_visible()
    assert run.url.endswith("?tab=charts")


def test_a_run_that_is_not_there(run: Page) -> None:
    """The page says so in words."""
    run.goto(run.url.replace("failed", "nowhere"))

    expect(run.get_by_text("There is no such run")).to_be_visible()
