"""The API's description: `python -m tracker.server.openapi` prints it, the same bytes for the same code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def schema_bytes(app: FastAPI) -> bytes:
    """Answer the description as JSON, in a fixed order."""
    return (json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main() -> None:
    """Print the description."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from .app import create_app  # it imports the pages, and these this file
    from .stores import open_stores

    with TemporaryDirectory() as folder:
        stores = open_stores(Path(folder))
        try:
            sys.stdout.buffer.write(schema_bytes(create_app(stores, mode="server")))
        finally:
            stores.close()


if __name__ == "__main__":
    main()
