"""The `tracker` command: one file per group of verbs, each imported only when it is called."""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with 0, 1 for a failure, 2 for a call that cannot be understood."""
    from .command import run

    run()


__all__ = ["main"]
