"""API keys: who is let in, and where a key never shows up."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from tracker.server.app import create_app
from tracker.server.gate.auth import COOKIE
from tracker.server.gate.keys import KeyFile, is_well_formed, make_key
from tracker.server.gate.security import body_rule
from tracker.server.run import key_file
from tracker.server.stores import open_stores

from .helpers import Server

# Every route, and whether it wants a key. "page": without one the browser is led to the login page.
ROUTES = {
    ("GET", "/api/v1/health"): "open",
    ("GET", "/api/v1/projects"): "key",
    ("GET", "/api/v1/projects/{entity}/{project}/metrics"): "key",
    ("GET", "/api/v1/runs"): "key",
    ("GET", "/api/v1/runs/{entity}/{project}/{id}"): "key",
    ("PATCH", "/api/v1/runs/{entity}/{project}/{id}"): "key",
    ("DELETE", "/api/v1/runs/{entity}/{project}/{id}"): "key",
    ("POST", "/api/v1/runs/{entity}/{project}/{id}/restore"): "key",
    ("GET", "/api/v1/runs/{entity}/{project}/{id}/history"): "key",
    ("GET", "/api/v1/runs/{entity}/{project}/{id}/files"): "key",
    ("GET", "/api/v1/runs/{entity}/{project}/{id}/files/{name:path}"): "key",
    ("POST", "/api/v1/series"): "key",
    ("GET", "/api/v1/streams/{entity}/{project}/{id}/{stream_id}"): "key",
    ("POST", "/api/v1/streams/{entity}/{project}/{id}/{stream_id}"): "key",
    ("GET", "/api/v1/events"): "key",
    ("POST", "/api/v1/blobs/missing"): "key",
    **{(method, "/api/v1/blobs/{digest}"): "key" for method in ("GET", "HEAD", "PUT")},
    ("POST", "/api/v1/runs/{entity}/{project}/{id}/blobs/missing"): "key",
    **{(method, "/api/v1/runs/{entity}/{project}/{id}/blobs/{digest}"): "key" for method in ("GET", "HEAD", "PUT")},
    ("GET", "/api/v1/artifacts"): "key",
    **{(method, "/api/v1/artifacts/{entity}/{project}/{name}"): "key" for method in ("GET", "PATCH")},
    ("POST", "/api/v1/artifacts/{entity}/{project}/{name}/versions"): "key",
    **{(method, "/api/v1/artifacts/{entity}/{project}/{name}/{which}"): "key" for method in ("GET", "PATCH", "DELETE")},
    **{(method, "/api/v1/artifacts/{entity}/{project}/{name}/{which}/uses"): "key" for method in ("GET", "POST")},
    ("GET", "/api/v1/artifacts/{entity}/{project}/{name}/{which}/manifest"): "key",
    ("GET", "/api/v1/artifacts/{entity}/{project}/{name}/{which}/diff/{other}"): "key",
    ("GET", "/api/v1/artifacts/{entity}/{project}/{name}/{which}/file/{path:path}"): "key",
    ("GET", "/api/v1/registries"): "key",
    ("GET", "/api/v1/registries/{registry}"): "key",
    ("GET", "/api/v1/edges"): "key",
    ("POST", "/api/v1/tables/query"): "key",
    ("GET", "/api/v1/runs/{entity}/{project}/{id}/console"): "key",
    ("GET", "/api/v1/lineage"): "key",
    ("POST", "/login"): "open",
    ("POST", "/logout"): "key",
    ("GET", "/login"): "open",
    ("GET", "/openapi.json"): "key",
    ("GET", "/docs"): "page",
    ("GET", "/builtin/{name}"): "open",
    ("GET", "/{path:path}"): "page",
    **{(method, "/api/{rest:path}"): "key" for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")},
}


def routes_of(app: object) -> set[tuple[str, str]]:
    from starlette.routing import BaseRoute

    found: set[tuple[str, str]] = set()

    def walk(routes: list[BaseRoute], prefix: str) -> None:
        for route in routes:
            if isinstance(route, APIRoute):
                path = route.path if route.path.startswith(prefix) else prefix + route.path
                found.update((method, path) for method in route.methods or ())
            else:
                inner = getattr(route, "original_router", None)
                assert inner is not None, f"a route of another kind: {route!r}; add it to the table"
                walk(inner.routes, prefix + getattr(getattr(route, "include_context", None), "prefix", ""))

    walk(app.routes, "")  # type: ignore[attr-defined]
    return found


def test_the_table_has_every_route(tmp_path: Path) -> None:
    """A new route fails here until somebody has decided who may use it."""
    stores = open_stores(tmp_path)
    try:
        assert routes_of(create_app(stores, mode="server")) == set(ROUTES)
    finally:
        stores.close()


@pytest.mark.parametrize("key", ["none", "wrong", "malformed", "basic", "query", "right", "cookie", "forged cookie"])
@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_every_route_by_every_key(locked: tuple[Server, str], method: str, route: str, key: str) -> None:
    server, right = locked
    path = re.sub(r"\{(\w+)(:path)?\}", lambda m: {"path": "", "name": "style.css"}.get(m[1], "x"), route)
    wants = ROUTES[method, route]
    headers = {"content-type": body_rule(method, path).type}
    query = {"after": "0"} if "/streams/" in route else {}
    cookies = {}
    if key == "wrong":
        headers["authorization"] = f"Bearer {make_key()}"
    elif key == "malformed":
        headers["authorization"] = f"Bearer {right}x"
    elif key == "basic":
        headers["authorization"] = f"Basic {right}"
    elif key == "query":
        query["key"] = query["api_key"] = make_key()
    elif key == "right":
        headers["authorization"] = f"Bearer {right}"
    elif key == "cookie":
        cookies[COOKIE] = session(server, right)
    elif key == "forged cookie":
        cookies[COOKIE] = session(server, right)[:-4] + "0000"
    headers |= {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    with (
        httpx.Client(base_url=server.url, timeout=20) as client,
        client.stream(
            method, path, headers=headers, params=query, content=b"" if method in ("GET", "HEAD") else b"{}"
        ) as answer,
    ):
        status = answer.status_code
        led_to = answer.headers.get("location", "")

    if wants == "open" or key in ("right", "cookie"):
        assert status not in ((303,) if route == "/login" and method == "POST" else (401, 303))
        assert status < 500
    elif wants == "key":
        assert status == 401
    else:
        assert (status, led_to.partition("?")[0]) == (303, "/login")


def session(server: Server, key: str) -> str:
    answer = httpx.post(f"{server.url}/login", json={"key": key})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    return answer.cookies[COOKIE]


@pytest.mark.parametrize("key", ["", "tk_", "x" * 200, "tk_" + "0" * 49, "é"])
def test_logging_in_needs_a_key(locked: tuple[Server, str], key: str) -> None:
    server, _ = locked

    assert server.client.post("/login", json={"key": key}).status_code == 401


def test_next_leads_only_within(locked: tuple[Server, str]) -> None:
    server, _ = locked
    for path in ("//evil.example", "/\\evil.example", "/a?b=https://evil.example"):
        led_to = server.client.get(path, follow_redirects=False).headers["location"]
        assert led_to.startswith("/login?next=/")


def test_a_removed_key_is_refused_at_once(start: Callable[..., Server], tmp_path: Path) -> None:
    keys = key_file(tmp_path / "store")
    kept, first = keys.add("first")
    _, second = keys.add("second")
    server = start("server", folder=tmp_path / "store")
    cookie = session(server, first)
    keys.remove(kept.id)
    answers = [
        server.client.get("/api/v1/runs", headers={"authorization": f"Bearer {key}"}).status_code
        for key in (first, second)
    ]

    assert answers == [401, 200]
    assert server.client.get("/api/v1/runs", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_a_key_is_in_no_file_and_no_output(start: Callable[..., Server], tmp_path: Path) -> None:
    """Only the hash is kept, in a file of the owner's; errors and logs say nothing of the key."""
    keys = key_file(tmp_path / "store")
    _, key = keys.add("somebody")
    server = start("server", folder=tmp_path / "store", arguments=["--log-level", "debug"])
    bearer = {"authorization": f"Bearer {key}"}
    answers = [
        server.client.get(path, headers=bearer) for path in ("/api/v1/runs", "/api/v1/x", "/api/v1/runs?limit=x")
    ]
    answers += [server.client.post("/login", json={"key": key}), server.client.post("/login", json={"key": key + "x"})]
    answers += [server.client.post("/login", json={"key": [key]}), server.client.get("/", headers=bearer)]
    server.stop()

    assert not [a for a in answers if key in a.text or any(key in value for value in a.headers.values())]
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and key.encode() in f.read_bytes()]
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_a_key_tells_a_typing_error() -> None:
    key = make_key()
    swapped = key[:10] + key[11] + key[10] + key[12:]

    assert is_well_formed(key)
    assert swapped == key or not is_well_formed(swapped)
    assert not is_well_formed(key[:-1])
    assert not is_well_formed(key.replace("tk_", "sk_"))
    assert len({make_key() for _ in range(100)}) == 100


def test_a_damaged_file_of_keys_lets_nobody_in(start: Callable[..., Server], tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "store" / "keys.json")
    _, key = keys.add("x")
    server = start("server", folder=tmp_path / "store")
    keys.path.write_text("{")

    for headers in ({}, {"authorization": f"Bearer {key}"}):
        assert server.client.get("/api/v1/runs", headers=headers).status_code == 503


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
@pytest.mark.parametrize("mode", ["ui", "server"])
def test_others_are_not_let_in_without_a_key(tmp_path: Path, mode: str, host: str) -> None:
    command = [sys.executable, "-m", "tracker.server.run", "--mode", mode, "--port", "0", "--host", host]
    command += ["--folder", str(tmp_path / "store"), "--root", str(tmp_path / "runs")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert ended.returncode == 2
    assert "tracker server key add" in ended.stderr


def test_with_a_key_others_are_let_in(start: Callable[..., Server], tmp_path: Path) -> None:
    _, key = key_file(tmp_path / "store").add("x")
    server = start("server", folder=tmp_path / "store", arguments=["--host", "0.0.0.0"])

    assert server.client.get("/api/v1/runs").status_code == 401
    assert server.client.get("/api/v1/runs", headers={"authorization": f"Bearer {key}"}).status_code == 200
