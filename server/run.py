"""Starting a server: `serve(...)` is what `tracker ui` and `tracker server` call."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from ..core.errors import StorageError, TrackerError
from ..core.paths import data_root, index_folder
from .gate.connection import BoundedConnection
from .gate.keys import KeyFile
from .gate.security import is_loopback
from .limits import KEEP_ALIVE_SECONDS, SHUTDOWN_SECONDS
from .lock import StoreLock
from .services import Mode

if TYPE_CHECKING:
    from .events import Hub

DEFAULT_PORT = 8765
_PORTS_TRIED = 20
EXIT_REFUSED = 2
KEYS_FILE = "keys.json"


def server_root() -> Path:
    """Answer the default folder of `tracker server`: in the user's data folder."""
    from platformdirs import user_data_path  # it costs an import

    return user_data_path("tracker", appauthor=False) / "server"


def key_file(folder: Path | None = None) -> KeyFile:
    """Answer the API keys of a server's folder."""
    return KeyFile((folder or server_root()) / KEYS_FILE)


class _Server(uvicorn.Server):
    """uvicorn's server, which ends event streams at once when it is asked to end."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def serve(
    mode: Mode,
    *,
    root: Path | None = None,
    folder: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed_hosts: Sequence[str] = (),
    is_opening: bool = False,
    log_level: str = "warning",
) -> int:
    """Run a server until it is told to end.

    Args:
        mode: "ui" shows the runs of a folder, "server" takes runs in over HTTP.
        root: The folder of runs to show; `TRACKER_DIR` by default. Only "ui".
        folder: Where the stores lie; an index in the user's cache ("ui"), or the user's data folder ("server").
        host: The address to listen on.
        port: The port; 0 for any. Without one the usual one is taken, or the next that is free.
        allowed_hosts: More host names to answer to, of a proxy in front for instance.
        is_opening: Open a browser.
        log_level: Of uvicorn; requests are never logged.

    Returns:
        The exit code: 0, or 2 where the server refuses to start.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    root = (root or data_root()).expanduser().absolute() if mode == "ui" else None
    stores_folder = (folder or (index_folder(root) if root else server_root())).expanduser().absolute()
    keys = key_file(stores_folder if mode == "server" else None)
    is_open = is_loopback(host)
    try:
        if not is_open and not keys.keys():
            return _refuse(
                f"binding to {host} lets other machines reach this server, and it has no API key. "
                "Make one first with: tracker server key add. Or bind to 127.0.0.1."
            )
        sockets = [_bind(host, port)]
    except OSError as error:
        return _refuse(str(error))
    lock = StoreLock(stores_folder)
    try:
        lock.take()
        return _run(mode, root, stores_folder, keys, sockets, host, allowed_hosts, is_opening, log_level, lock)
    except TrackerError as error:
        return _refuse(str(error))
    finally:
        lock.release()
        for listener in sockets:
            listener.close()


def _run(
    mode: Mode,
    root: Path | None,
    folder: Path,
    keys: KeyFile,
    sockets: list[socket.socket],
    host: str,
    allowed_hosts: Sequence[str],
    is_opening: bool,
    log_level: str,
    lock: StoreLock,
) -> int:
    from .app import create_app  # half a second of imports; what is refused is refused at once
    from .stores import open_stores

    is_open = is_loopback(host)
    app = create_app(
        open_stores(folder, is_index=mode == "ui"),
        mode=mode,
        root=root,
        keys=keys if mode == "server" or not is_open else None,
        needs_key=not is_open,
        bound=host,
        allowed_hosts=allowed_hosts,
    )
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        access_log=False,
        log_level=log_level,
        server_header=False,
        timeout_keep_alive=int(KEEP_ALIVE_SECONDS),
        timeout_graceful_shutdown=int(SHUTDOWN_SECONDS) or 1,
        lifespan="on",
    )
    url = _url(host, sockets[0].getsockname()[1])
    lock.tell(url)
    # One line, flushed: programs that start a server wait for it.
    print(f"tracker {'ui' if mode == 'ui' else 'server'} · {root or folder} · {url}  (Ctrl+C ends it)", flush=True)  # noqa: T201 - the same
    if is_opening:
        _open_soon(url)
    server = _Server(config, app.state.services.hub)
    try:
        server.run(sockets)
    except KeyboardInterrupt:  # raised again by uvicorn once all is closed
        pass
    return 0 if server.started else 1


def _bind(host: str, port: int | None) -> socket.socket:
    """Listen; on the next free port where none was asked for.

    Raises:
        StorageError: The address cannot be had.
    """
    wanted = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED), 0]
    bare = host.strip("[]")
    last: OSError | None = None
    for candidate in wanted:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                bare or None, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            last = error
            continue
        try:
            if os.name == "posix":  # on Windows this would let two listen on one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            listener.close()
            last = error
            if error.errno != errno.EADDRINUSE:
                break
            continue
        return listener
    assert last is not None
    advice = "Choose another port with --port, or --port 0 for any." if port else "Choose another address with --host."
    raise StorageError(f"{host}:{wanted[0]} cannot be listened on ({last.strerror or last}). {advice}")


def _url(host: str, port: int) -> str:
    bare = host.strip("[]")
    if bare in ("", "0.0.0.0", "::"):  # noqa: S104 - told apart, not bound
        bare = "127.0.0.1" if bare != "::" else "::1"
    return f"http://{f'[{bare}]' if ':' in bare else bare}:{port}"


def _open_soon(url: str) -> None:
    from threading import Timer

    timer = Timer(0.8, webbrowser.open, (url,))  # by then it answers; the socket listens already, so none is lost
    timer.daemon = True
    timer.start()


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201 - the answer to a command
    return EXIT_REFUSED


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a server from the command line; `tracker ui` and `tracker server` say more."""
    parser = argparse.ArgumentParser(prog="python -m tracker.server.run", description=main.__doc__)
    parser.add_argument("--mode", choices=("ui", "server"), default="ui")
    parser.add_argument("--root", type=Path, help="the folder of runs (ui)")
    parser.add_argument("--folder", type=Path, help="the folder of the stores")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--open", action="store_true", help="open a browser")
    parser.add_argument("--log-level", default="warning")
    given = parser.parse_args(arguments)
    return serve(
        given.mode,
        root=given.root,
        folder=given.folder,
        host=given.host,
        port=given.port,
        allowed_hosts=given.allow_host,
        is_opening=given.open,
        log_level=given.log_level,
    )


if __name__ == "__main__":
    sys.exit(main())
