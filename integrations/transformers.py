"""Hugging Face transformers: what a `Trainer` reports at its global step, as `train/…`, `eval/…` and `test/…`.

`Trainer(args=TrainingArguments(report_to="tracker"))` is all a script needs; PEFT, TRL and sentence-transformers train
with the same `Trainer`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from ._transformers_callback import Callback
from ._transformers_trainer import follow, follow_cards, followers_of
from .base import require
from .patching import wrap

if TYPE_CHECKING:
    from transformers.trainer_callback import ExportableState, TrainerCallback

_NAME = "tracker"


def prepare() -> None:
    """Follow what is loaded already, where there is no start-up hook that has done so."""
    for name, follow_module in (
        ("transformers.trainer", _follow_trainer),
        ("trl.trainer.base_trainer", _follow_cards_of),
        ("trl.trainer.callbacks", _follow_completions),
        ("sentence_transformers.base.trainer", _follow_cards_of),
    ):
        if name in sys.modules:
            follow_module(sys.modules[name])


def _name_reporter(module: ModuleType) -> None:
    """Make `report_to="tracker"` known, and part of "all".

    Args:
        module: `transformers.integrations.integration_utils`, once its body has run.
    """
    kind = _callback_class()
    module.INTEGRATION_TO_CALLBACK.setdefault(_NAME, kind)

    def available(original: Callable[[], list[str]]) -> list[str]:
        return [*original(), _NAME]

    wrap(module, "get_available_reporting_integrations", available, "transformers", lasting=True)
    _replace_in_loaded(module, "get_available_reporting_integrations", "transformers.integrations")


def _replace_in_loaded(module: ModuleType, function: str, name: str) -> None:
    """Replace a function in a module that was loaded before us, and has a name of its own for it."""
    loaded = sys.modules.get(name)
    if loaded is not None and function in vars(loaded):
        setattr(loaded, function, getattr(module, function))


def _follow_trainer(module: ModuleType) -> None:
    """Be told what callbacks are not told: which trainer they are in, and how its trainings end.

    Args:
        module: `transformers.trainer`, once its body has run.
    """
    follow(module, _callback_class())


def _autolog(module: ModuleType) -> None:
    """Have each trainer report to a run, whatever its `report_to` says.

    Args:
        module: `transformers.integrations.integration_utils`, once its body has run.
    """
    kind = _callback_class()

    def chosen(original: Callable[[Any], list[Any]], report_to: Any) -> list[Any]:
        found = original(report_to)
        is_there = any(isinstance(one, type) and issubclass(one, kind) for one in found)
        return found if is_there else [*found, kind]

    wrap(module, "get_reporting_integration_callbacks", chosen, "transformers")
    _replace_in_loaded(module, "get_reporting_integration_callbacks", "transformers.trainer")


def _follow_completions(module: ModuleType) -> None:
    """Be given what TRL's `LogCompletionsCallback` has generated, which it offers to others by name.

    Args:
        module: `trl.trainer.callbacks`, once its body has run.
    """
    kind = _callback_class()

    def on_step_end(
        original: Callable[..., Any], callback: Any, args: Any, state: Any, *more: Any, **given: Any
    ) -> Any:
        before = len(callback.table)
        answer = original(callback, args, state, *more, **given)
        with tracker.guard("the table of completions"):
            rows = [list(row)[1:] for row in callback.table[before:]]  # the step comes first
            for follower in followers_of(callback.trainer, kind) if rows else ():
                if not follower.is_spare:
                    follower.completed(["prompt", "completion"], rows, state.global_step)
        return answer

    if hasattr(module, "LogCompletionsCallback"):
        wrap(module.LogCompletionsCallback, "on_step_end", on_step_end, "transformers", always=True)


def _follow_cards_of(module: ModuleType) -> None:
    """Have the model cards of trainers built on transformers' lead to the run, too: they write their own.

    Args:
        module: `trl.trainer.base_trainer`, or `sentence_transformers.base.trainer`, once its body has run.
    """
    trainer = getattr(module, "_BaseTrainer", None) or getattr(module, "BaseTrainer", None)
    if isinstance(trainer, type):
        follow_cards(trainer, _callback_class())


def _callback_class() -> type:
    found = globals().get("TrackerCallback")
    if found is None:
        # The framework's own classes: `transformers` hands them out by name, and may be half loaded now.
        framework = require("transformers.trainer_callback")
        bases: tuple[type, ...] = (Callback, framework.TrainerCallback, framework.ExportableState)
        body = {"__module__": __name__, "__qualname__": "TrackerCallback", "__doc__": Callback.__doc__}
        found = globals()["TrackerCallback"] = type("TrackerCallback", bases, body)
    return found


if TYPE_CHECKING:

    class TrackerCallback(Callback, TrainerCallback, ExportableState):
        """See `Callback`."""

else:

    def __getattr__(name: str) -> Any:
        if name == "TrackerCallback":
            return _callback_class()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
