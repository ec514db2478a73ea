"""The application: routes, gate and watcher, put together by `create_app`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from tracker import __version__

from ..core.errors import StorageError, UsageError
from ..core.paths import RunPath
from . import pages
from .actions import Actions
from .events import Hub
from .gate.auth import policy
from .gate.keys import KeyFile
from .gate.security import Gate, HostList, RefusedError
from .index import Index
from .limits import LIVENESS_SECONDS, RETRY_AFTER_SECONDS
from .models import Error
from .places import Places
from .repeat import Repeat
from .routes import (
    artifacts,
    blobs,
    console,
    events,
    files,
    health,
    lineage,
    login,
    projects,
    registries,
    runs,
    series,
    streams,
    tables,
)
from .services import Mode, Services
from .stores.base import Stores
from .tables import Engine, TableFiles
from .trouble import StoreTroubleError, store_trouble
from .watching.liveness import Liveness
from .watching.watched import WatchedMemory
from .watching.watcher import Watcher
from .wire import Json

_log = logging.getLogger("tracker.server")


def create_app(
    stores: Stores,
    *,
    mode: Mode,
    root: Path | None = None,
    keys: KeyFile | None = None,
    needs_key: bool = False,
    bound: str = "127.0.0.1",
    allowed_hosts: Iterable[str] = (),
) -> FastAPI:
    """Make the application.

    Args:
        stores: Where runs are kept; closed when the application ends.
        mode: "ui" follows the folder `root`, "server" takes runs in over HTTP.
        root: The folder of all runs.
        keys: The API keys. Once there is one, requests need it.
        needs_key: Refuse requests even while there is no key: others can reach the server.
        bound: The address it listens on.
        allowed_hosts: More host names it answers to.
    """
    index = Index(stores)
    hub = Hub()

    def tell(path: RunPath, parts: set[str], is_project: bool = False) -> None:
        if not len(hub):
            return
        hub.publish(path, index.metadata.state(path) or "removed", parts, is_project=is_project)

    liveness = Liveness(index.metadata, tell, is_local=mode == "ui")
    watcher = None
    if mode == "ui" and root is not None:
        watcher = Watcher(root, index, liveness, tell, WatchedMemory(stores.folder / "watched"))
    sweeper = Repeat("tracker-liveness", LIVENESS_SECONDS, liveness.sweep)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if watcher is not None:
            watcher.start()
        else:
            sweeper.start()
        try:
            yield
        finally:
            hub.close()
            if watcher is not None:
                watcher.stop()
            else:
                sweeper.stop()
            stores.close()

    app = FastAPI(
        title="tracker",
        version=__version__,
        description="The HTTP API of tracker. Times are nanoseconds since the epoch. What JSON has no number for "
        'travels as an object: `{"$float": "nan"}`, `{"$int": "9007199254740993"}`.',
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=_operation_id,
        lifespan=lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    places = Places(stores, root if mode == "ui" else None)
    app.state.services = Services(
        mode=mode,
        root=root,
        index=index,
        places=places,
        tables=Engine(TableFiles(stores.metrics, places, stores.folder / "tables")),
        hub=hub,
        actions=Actions(index, tell, root if mode == "ui" else None, watcher),
        tell=tell,
        watcher=watcher,
        liveness=liveness,
        keys=keys,
    )
    api = APIRouter(prefix="/api/v1", responses={status: {"model": Error} for status in (404, 422)})
    for module in (
        health,
        projects,
        runs,
        files,
        series,
        streams,
        events,
        blobs,
        artifacts,
        registries,
        lineage,
        tables,
        console,
    ):
        api.include_router(module.router, tags=[module.__name__.rpartition(".")[2]])
    app.include_router(api)
    app.include_router(login.router)
    app.include_router(pages.router)
    _answer_errors(app)
    app.add_middleware(Gate, hosts=HostList(bound, allowed_hosts), authorise=policy(keys, is_required=needs_key))
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _answer_errors(app: FastAPI) -> None:
    """Have every error answered as `{"detail": sentence}`."""

    async def usage(_request: Request, error: Exception) -> Response:
        return Json({"detail": _plain(str(error))}, 422)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Without what was sent: it may be large, secret, or no text at all.
        faults = [f"{'.'.join(map(str, e['loc'][1:])) or 'the body'}: {e['msg']}" for e in error.errors()[:3]]
        return Json({"detail": _plain("; ".join(faults))}, 422)

    async def storage(_request: Request, error: Exception) -> Response:
        trouble = store_trouble(error) or StoreTroubleError(503, "the server's store cannot be read or written now.")
        _log.warning("%s (%s)", trouble.detail, error)
        return Json({"detail": trouble.detail}, trouble.status, {"retry-after": str(RETRY_AFTER_SECONDS)})

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # by the gate, while the route read the body
        return error.answer()

    async def fault(_request: Request, _error: Exception) -> Response:
        return Json({"detail": "the server met a fault; its log says which."}, 500)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(UsageError, usage)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(StoreTroubleError, storage)
    app.add_exception_handler(StorageError, storage)
    app.add_exception_handler(Exception, fault)


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()[:2000]
