"""`tracker demo`: real training, watched live."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import deque
from pathlib import Path

import click

from . import output
from .serve import can_open_browser

_TOLD_EPOCHS = 10  # where there is no terminal for a bar, a line each


@click.command()
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many runs.")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(1, 100_000), help="Of each run.")
@click.option("--ui/--no-ui", default=True, help="Show the dashboard while it trains, and afterwards.")
@click.option("--browser/--no-browser", default=None, help="Open a browser; by default where there is one.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The dashboard's; by default 8765, or the next free one.")
@click.option("--dir", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help="Keep the runs there.")
def demo(runs: int, epochs: int, ui: bool, browser: bool | None, port: int | None, dir: Path | None) -> None:
    """Train small neural networks on the digits of scikit-learn, and watch them live.

    Several runs with different hyperparameters, some 20 seconds in all; then the dashboard stays until Ctrl+C.

    \b
    Examples:
      tracker demo
      tracker demo --runs 10 --epochs 60
      tracker demo --no-ui
    """
    from ..demo.digits import require_sklearn
    from .serve import configured_folder

    require_sklearn()  # here, and not in the middle of it
    folder = (dir or configured_folder()).expanduser().absolute()
    if not ui:
        train_all(runs, epochs, folder)
        click.echo(f"See them with: tracker ui {folder}" if dir else "See them with: tracker ui")
        return
    from ...server.run import serve  # uvicorn

    # Training has a process of its own, as it has in real life: the page stays quick while it goes on.
    trainer = multiprocessing.get_context("spawn").Process(
        target=_train_aside, args=(runs, epochs, folder), name="tracker-demo", daemon=True
    )
    trainer.start()
    is_opening = can_open_browser() if browser is None else browser
    code = serve("ui", root=folder, port=port, is_opening=is_opening)
    if code and trainer.is_alive():  # a dashboard of this folder is open already, or no port is free
        trainer.join()
        code = trainer.exitcode or 0
    raise click.exceptions.Exit(code)


def _train_aside(runs: int, epochs: int, folder: Path) -> None:
    try:
        train_all(runs, epochs, folder)
    except KeyboardInterrupt:
        sys.exit(130)
    click.echo("All runs are done; look at them in the dashboard. Ctrl+C ends it.")


def train_all(runs: int, epochs: int, folder: Path) -> None:
    """Train one run after the other, and show how far it is."""
    from ..demo.digits import train, trials

    began = time.monotonic()
    for number, trial in enumerate(trials(runs), 1):
        hidden = "-".join(map(str, trial["hidden"]))
        label = f"run {number}/{runs}  lr {trial['lr']:<6.4g} hidden {hidden:<6}"
        if output.is_terminal():
            with click.progressbar(
                train(trial, epochs, folder),
                length=epochs,
                label=label,
                width=20,  # all of it within 80 columns
                item_show_func=lambda epoch: epoch and f"accuracy {epoch.val_accuracy:.3f}",
            ) as bar:
                deque(bar, maxlen=0)
        else:
            for epoch in train(trial, epochs, folder):
                if epoch.number % _TOLD_EPOCHS == 0 or epoch.number == epochs:
                    click.echo(f"{label}  epoch {epoch.number:>3}/{epochs}  accuracy {epoch.val_accuracy:.3f}")
    click.echo(f"{runs} runs of {epochs} epochs in {output.duration(time.monotonic() - began)}, kept in {folder}.")
