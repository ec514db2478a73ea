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

# What a setting of the run turns on in rooms that core does not know: setting -> "module:function", put in by the face.
# The function is called as a part's `begin`, where the setting is neither None nor False.
EXTENSIONS: dict[str, str] = {}


def begin(run: Run, settings: Any, parts: tuple[str, ...] | None = None) -> None:
    """Begin every part; one that cannot begin is said, and harms neither the run nor the others.

    Args:
        run: The run, open.
        settings: The settings in force.
        parts: Only these.
    """
    for name in PARTS if parts is None else parts:
        _begin(run, settings, name, f"{__package__}.{name}", "begin")
    extend(run, settings)


def extend(run: Run, settings: Any) -> None:
    """Begin what settings turn on in other rooms; the same run may come again with other settings.

    Args:
        run: The run, open.
        settings: The settings in force.
    """
    for name, where in EXTENSIONS.items():
        if getattr(settings, name, None):
            module, _, function = where.partition(":")
            _begin(run, settings, name, module, function)


def _begin(run: Run, settings: Any, name: str, module: str, function: str) -> None:
    try:
        end = getattr(import_module(module), function)(run, settings)
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
