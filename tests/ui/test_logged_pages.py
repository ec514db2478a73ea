"""A logged page runs, so that its user sees what it draws; but in an origin of its own, from which it reaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import tracker
from tracker.core.blobs import FolderBlobs
from tracker.core.paths import run_blobs

from .conftest import Server, until

# Tries what a hostile page would, and tells the page around it, or the one that looks, how far it came.
HOSTILE = """<!doctype html><title>logged</title><h1 id="drawn"></h1><script>
const tell = {};
async function attempt(name, what) {
  try { tell[name] = String(await what()); } catch (error) { tell[name] = "refused"; }
}
(async () => {
  document.getElementById("drawn").textContent = "drawn by a script";
  await attempt("origin", () => self.origin);
  await attempt("cookie", () => document.cookie);
  await attempt("storage", () => localStorage.length);
  await attempt("around", () => parent === self ? "refused" : parent.document.title);
  await attempt("api", async () => (await fetch("/api/v1/runs")).status);
  await attempt("edit", async () => (await fetch("/api/v1/runs/local/pages/one", {method: "DELETE"})).status);
  await attempt("elsewhere", async () => (await fetch("http://127.0.0.1:1/", {mode: "no-cors"})).status);
  await attempt("opened", () => window.open("/api/v1/runs") ? "opened" : "refused");
  document.title = "told";
  self.tell = tell;
  if (parent !== self) parent.postMessage(tell, "*");
})();
</script>"""
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>
document.documentElement.setAttribute("width", "99")</script></svg>"""
NOTHING = dict.fromkeys(("cookie", "storage", "around", "api", "edit", "elsewhere", "opened"), "refused")


@pytest.fixture
def logged(tmp_path: Path, serve: Callable[..., Server]) -> tuple[Server, str, str]:
    """A server over a run that has logged the page and the picture; their addresses."""
    with tracker.init(project="pages", id="one", dir=tmp_path, settings={"silent": True}) as run:
        run.log({"loss": 1.0})
    blobs = FolderBlobs(run_blobs(run.folder))
    server = serve(tmp_path)
    until(lambda: server.json("/runs?entity=local&project=pages")["total"] == 1)
    route = f"{server.url}/api/v1/runs/local/pages/one/blobs"
    html, svg = blobs.put(HOSTILE.encode()), blobs.put(SVG.encode())
    return server, f"{route}/{html}?format=html", f"{route}/{svg}?format=svg"


def test_a_page_in_a_frame_draws_and_reaches_nothing(logged: tuple[Server, str, str], browser: Browser) -> None:
    """As the dashboard shows it: a frame without `allow-same-origin`."""
    server, html, _ = logged
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{server.url}/docs")
        told: dict[str, Any] = page.evaluate(
            """address => new Promise(resolve => {
                addEventListener("message", event => resolve({...event.data, sender: event.origin}));
                const frame = document.createElement("iframe");
                frame.src = address;
                document.body.append(frame);
            })""",
            html,
        )
        drawn = page.frames[1].locator("#drawn").text_content()

    assert drawn == "drawn by a script"
    assert (told.pop("origin"), told.pop("sender")) == ("null", "null")
    assert told == NOTHING
    assert server.json("/runs/local/pages/one")["trashed"] is False


def test_a_page_that_is_opened_by_itself_reaches_nothing(logged: tuple[Server, str, str], browser: Browser) -> None:
    """Whoever follows a link to the bytes is as safe: the policy comes with them."""
    _, html, _ = logged
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(html)
        page.wait_for_function("document.title === 'told'")
        told = page.evaluate("self.tell")

    assert told.pop("origin") == "null"
    assert told == NOTHING


def test_a_picture_with_a_script_does_not_run_it(logged: tuple[Server, str, str], browser: Browser) -> None:
    _, _, svg = logged
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(svg)
        width = page.evaluate("document.documentElement.getAttribute('width')")

    assert width == "9"
