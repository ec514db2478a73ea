"""What a browser sees: the dashboard where it is built, else a plain page; the login page; the API's documentation.

No page asks anybody but this server for anything, and none holds scripts or styles inline.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from .openapi import schema_bytes
from .paths import encode_path
from .services import Services, services
from .stores.base import RunRow

router = APIRouter(include_in_schema=False)
Our = Annotated[Services, Depends(services)]
# The built dashboard; it need not be there.
STATIC = Path(__file__).with_name("static")
BUILTIN = Path(__file__).with_name("builtin")
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
_FOREVER = "public, max-age=31536000, immutable"
_PLAIN_RUNS = 200
_PLAIN_VALUES = 12


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Answer the API's description."""
    return _bytes(schema_bytes(request.app), "json", "no-cache")


@router.get("/docs")
async def docs() -> Response:
    """Show the API's description."""
    return await run_in_threadpool(_builtin, "docs.html")


@router.get("/login")
async def login_page() -> Response:
    """Ask for a key."""
    return await run_in_threadpool(_builtin, "login.html")


@router.get("/builtin/{name}")
async def builtin(name: str) -> Response:
    """Answer a script or style of the pages that are always there."""
    return await run_in_threadpool(_builtin, name)


@router.api_route("/api/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def unknown(rest: str) -> Response:
    """Answer what no route of the API does; not with a page."""
    raise HTTPException(404, "there is no such route; /docs shows all.")


@router.get("/{path:path}")
def page(path: str, our: Our) -> Response:
    """Answer a file of the dashboard, else the dashboard itself: its routes are its own affair."""
    index = _file("index.html")
    if index is None:
        if path == "favicon.ico":
            raise HTTPException(404, "there is no icon.")
        return _bytes(_plain_page(our).encode(), "html", "no-cache")
    parts = path.split("/")
    if len(parts) <= 2 and path != "index.html":
        found = _file(path)
        if found is not None:
            return _bytes(found, path.rpartition(".")[2], _FOREVER if parts[0] == "assets" else "no-cache")
        if parts[0] == "assets" or path == "favicon.ico":
            raise HTTPException(404, "there is no such file.")
    return _bytes(index, "html", "no-cache")


def _file(path: str) -> bytes | None:
    """Answer a file of the built dashboard. Names are looked up in a list of what is there, never opened as given."""
    known = _listing(STATIC)
    found = known.get(path)
    if found is None:
        return None
    try:
        return found.read_bytes()
    except OSError:  # built anew just now
        _listing_at.cache_clear()
        return None


@lru_cache(maxsize=4)
def _listing_at(folder: Path, _mark: float) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_file():
                found[entry.name] = entry
            elif entry.is_dir() and entry.name == "assets":
                found.update({f"assets/{asset.name}": asset for asset in entry.iterdir() if asset.is_file()})
    return found


def _listing(folder: Path) -> dict[str, Path]:
    return _listing_at(folder, time.monotonic() // 2)  # a new build is seen after two seconds


def _builtin(name: str) -> Response:
    for entry in BUILTIN.iterdir():
        if entry.name == name and entry.is_file():
            return _bytes(entry.read_bytes(), name.rpartition(".")[2], "no-cache")
    raise HTTPException(404, "there is no such file.")


def _bytes(content: bytes, suffix: str, cache: str) -> Response:
    return Response(
        content, headers={"content-type": _TYPES.get(suffix, "application/octet-stream"), "cache-control": cache}
    )


# --- the plain page ----------------------------------------------------------------------


def _plain_page(our: Services) -> str:
    page = our.index.metadata.runs(limit=_PLAIN_RUNS)
    rows = "\n".join(map(_row, page.runs))
    more = f"<p>{page.total - len(page.runs):,} older runs are not shown.</p>" if page.total > len(page.runs) else ""
    none = "<p>There are no runs yet.</p>" if not page.total else ""
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>tracker</title>
<link rel="icon" href="/builtin/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/builtin/style.css"></head>
<body><h1>tracker</h1>
<p class="note">The dashboard is not built here. To build it, run <code>npm ci &amp;&amp; npm run build</code> in
<code>server/web</code>, or install a released package. The API works all the same: <a href="/docs">/docs</a>.</p>
<table><thead><tr><th>run</th><th>project</th><th>state</th><th>started</th><th>points</th><th>last values</th></tr></thead>
<tbody>
{rows}
</tbody></table>{none}{more}</body></html>
"""


def _row(row: RunRow) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.created_ns / 1e9))
    link = escape(f"/api/v1/runs/{encode_path(row.path)}", quote=True)
    return (
        f'<tr><td><a href="{link}">{escape(row.name)}</a></td><td>{escape(row.path.entity)}/{escape(row.path.project)}</td>'
        f"<td>{escape(row.state)}</td><td>{started}</td><td>{row.points:,}</td><td>{_values(row.summary)}</td></tr>"
    )


def _values(summary: Mapping[str, Any]) -> str:
    shown = [f"{escape(key)}: {escape(_short(value))}" for key, value in list(summary.items())[:_PLAIN_VALUES]]
    return ", ".join(shown) + (" …" if len(summary) > _PLAIN_VALUES else "")


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
