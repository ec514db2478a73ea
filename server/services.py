"""What the routes work with, made once per application."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starlette.requests import Request

from .actions import Actions
from .events import Hub
from .gate.keys import KeyFile
from .index import Index
from .places import Places
from .tables import Engine
from .watching.liveness import Liveness, Tells
from .watching.watcher import Watcher

Mode = Literal["ui", "server"]


@dataclass(frozen=True)
class Services:
    """The parts of one server.

    Args:
        mode: "ui" reads a folder, "server" takes runs in over HTTP.
        root: The folder of all runs, in mode "ui".
        keys: The API keys, where there may be any.
    """

    mode: Mode
    root: Path | None
    index: Index
    places: Places
    tables: Engine
    hub: Hub
    actions: Actions
    tell: Tells
    watcher: Watcher | None
    liveness: Liveness
    keys: KeyFile | None


def services(request: Request) -> Services:
    """Answer the services of the application that a request came to."""
    found: Services = request.app.state.services
    return found
