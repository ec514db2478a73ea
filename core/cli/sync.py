"""`tracker sync`: what was written offline goes to the server."""

from __future__ import annotations

import click


@click.command()
def sync() -> None:
    """Placeholder until the sender has landed."""
