"""Servers to ask: one of each mode for all tests that change nothing of it, and `start` for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracker.core.paths import RunPath
from tracker.server.run import key_file

from .helpers import Server, start_server, until, write_run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    servers: list[Server] = []

    def begin(mode: str = "ui", **options: Any) -> Server:
        options.setdefault("cache", tmp_path / "cache")
        server = start_server(tmp_path / f"server-{len(servers)}.log", mode, **options)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunPath]:
    """A folder of one run, for servers that are only read."""
    root = tmp_path_factory.mktemp("runs")
    return root, write_run(root)


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory, shared_runs: tuple[Path, RunPath]) -> Iterator[Server]:
    """`tracker ui` over the shared runs."""
    server = start_server(tmp_path_factory.mktemp("ui") / "log", "ui", root=shared_runs[0])
    until(lambda: server.get("/runs")["total"] == 1)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tracker server` on loopback without a key."""
    home = tmp_path_factory.mktemp("team")
    server = start_server(home / "log", "server", folder=home / "store")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """`tracker server` that wants a key, and the key."""
    home = tmp_path_factory.mktemp("locked")
    _, key = key_file(home / "store").add("test")
    server = start_server(home / "log", "server", folder=home / "store")
    yield server, key
    server.stop()
