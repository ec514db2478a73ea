"""`tracker status`: every setting, its value, and where it comes from."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .output import Column


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show every setting, its value, and where it comes from.

    What is given in the program wins over the environment, that over the project's file (tracker.toml, or
    [tool.tracker] in pyproject.toml), that over the user's file, that over the defaults. Keys are not shown.

    \b
    Examples:
      tracker status
      tracker status --json
    """
    rows = settings()
    if as_json:
        output.print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    output.print_table(
        [
            Column("SETTING", [name for name, _, _ in rows], least=20),
            Column("VALUE", ["-" if value is None else _shown(value) for _, value, _ in rows], least=20),
            Column("FROM", [source for _, _, source in rows], least=12),
        ]
    )


def settings() -> list[tuple[str, Any, str]]:
    """Answer name, value and source of each setting; the key only as far as it tells keys apart."""
    from ..paths import cache_root, data_root
    from ..settings import Settings, resolve

    found = resolve()
    rows: list[tuple[str, Any, str]] = []
    for name in Settings.__annotations__:
        value = getattr(found, name)
        source = found.sources.get(name, "default")
        if name == "dir" and value is None:
            value = data_root()
        if name == "api_key" and value is not None:
            value = hidden(str(value))
        rows.append((name, str(value) if name == "dir" else value, source))
    return [*rows, ("cache_dir", str(cache_root()), _cache_source())]


def hidden(key: str) -> str:
    """Answer what may be shown of a key: its form, and four characters."""
    return f"{key[:3]}…{key[-4:]}" if len(key) >= 20 else "…"


def _cache_source() -> str:
    import os

    return "TRACKER_CACHE_DIR" if os.environ.get("TRACKER_CACHE_DIR") else "default"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
