"""What a run captures by itself, part by part; none of it is imported before `init` has a run to give it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..run import Run

# Modules of this folder with `begin(run, settings)`, in the order in which they begin; they end in the opposite one.
# `begin` answers what ends the part, or None where it captures nothing. It costs microseconds: what takes longer is a
# thread's work.
PARTS: tuple[str, ...] = ("console", "leftovers", "sampler", "code")


def begin(run: Run, settings: Any) -> None:
    """Begin every part; one that cannot begin is said, and harms neither the run nor the others.

    Args:
        run: The run, open.
        settings: The settings in force.
    """
    for name in PARTS:
        try:
            end = import_module(f".{name}", __package__).begin(run, settings)
        except Exception as error:  # whatever a machine has in store
            run._complaints.say(f"{name} is not captured ({type(error).__name__}: {error}).")
        else:
            if end is not None:
                run._captured.append(guarded(run, name, end))


def guarded(run: Run, name: str, end: Callable[[], object]) -> Callable[[], None]:
    """Answer the end of a part such that it cannot raise."""

    def ended() -> None:
        try:
            end()
        except Exception as error:
            run._complaints.say(f"{name} did not end as it should ({type(error).__name__}: {error}).")

    return ended
