"""What a callback of transformers is not told: which trainer it is in, and how `train()` and its like end.

A few methods of `Trainer` have a function of ours around them. Each passes everything through where the trainer has no
callback of ours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import tracker

from .patching import wrap

_RANK_FILES_SECONDS = 10.0
_POLL_SECONDS = 0.05

_entered = threading.local()  # what this thread is in: `stack`, the innermost last


class Follower(Protocol):
    """What our callback does, beyond the events it is told of."""

    is_spare: bool

    @property
    def has_run(self) -> bool:
        """Whether a run was given to it by the user."""
        ...

    def failed(self, error: BaseException) -> None:
        """A training ended with an exception."""
        ...

    def predicting(self, entry: Entry) -> Any:
        """An evaluation begins: answer what looks at its predictions, if they are wanted."""
        ...

    def predicted(self, entry: Entry, samples: Any) -> None:
        """It has ended."""
        ...

    def evaluated(self) -> None:
        """A call of `evaluate` or `predict` is over."""
        ...

    def completed(self, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """Something was generated at a step."""
        ...

    def search(self, name: str | None) -> None:
        """A hyperparameter search begins; None: it is over."""
        ...

    def link(self) -> str | None:
        """Answer the line that leads from a model card to the run."""
        ...


class Entry:
    """One call of `train`, `evaluate` or `predict`.

    Args:
        trainer: Whose.
        is_training: Whether it is `train`.
        prefix: What the names of its metrics begin with: "eval", "test", or what the caller says.
    """

    def __init__(self, trainer: Any, *, is_training: bool = False, prefix: str = "eval") -> None:
        self.trainer = trainer
        self.is_training = is_training
        self.prefix = prefix


def entries() -> list[Entry]:
    """Answer what this thread is in, the innermost last."""
    stack: list[Entry] = _entered.__dict__.setdefault("stack", [])
    return stack


def entry_of(callback: object) -> Entry | None:
    """Answer the innermost call that a callback is a part of."""
    for entry in reversed(entries()):
        if any(one is callback for one in entry.trainer.callback_handler.callbacks):
            return entry
    return None


def is_training(callback: object) -> bool:
    """Answer whether a callback is told of this within `train`."""
    return any(
        entry.is_training and any(one is callback for one in entry.trainer.callback_handler.callbacks)
        for entry in entries()
    )


def follow(module: ModuleType, kind: type) -> None:
    """Put our functions around the methods of `Trainer`.

    Args:
        module: `transformers.trainer`, once its body has run.
        kind: Of our callbacks.
    """

    def followers(trainer: Any) -> list[Follower]:
        return followers_of(trainer, kind)

    def over(trainer: Any) -> None:
        if not any(entry.trainer is trainer for entry in entries()):
            for follower in followers(trainer):
                follower.evaluated()

    def train(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not followers(trainer):
            return original(trainer, *args, **kwargs)
        with _within(Entry(trainer, is_training=True)):
            try:
                return original(trainer, *args, **kwargs)
            except BaseException as error:
                for follower in followers(trainer):  # looked up anew: a resumed training makes them anew
                    follower.failed(error)
                raise

    def evaluate(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not followers(trainer):
            return original(trainer, *args, **kwargs)
        try:
            with _within(Entry(trainer, prefix=_prefix(args, kwargs, "eval"))):
                return original(trainer, *args, **kwargs)
        finally:
            over(trainer)

    def predict(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not followers(trainer):
            return original(trainer, *args, **kwargs)
        try:
            with _within(Entry(trainer, prefix=_prefix(args, kwargs, "test"))):
                return original(trainer, *args, **kwargs)
        finally:
            over(trainer)

    def evaluation_loop(original: Callable[..., Any], trainer: Any, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        entry = next((one for one in reversed(entries()) if one.trainer is trainer), None)
        watching = [] if entry is None else [one for one in followers(trainer) if not one.is_spare]
        if entry is None or not watching:
            return original(trainer, dataloader, *args, **kwargs)
        samples = watching[0].predicting(entry)
        if samples is None:
            return original(trainer, dataloader, *args, **kwargs)
        with samples.following(trainer, dataloader):
            answer = original(trainer, dataloader, *args, **kwargs)
        for follower in watching:
            follower.predicted(entry, samples)
        return answer

    def search(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        found = followers(trainer)
        name = getattr(trainer.args, "run_name", None) or Path(trainer.args.output_dir or "").name or "search"
        for follower in found:
            follower.search(f"{name}-{secrets.token_hex(2)}")
        try:
            return original(trainer, *args, **kwargs)
        finally:
            for follower in found:
                follower.search(None)

    owner = module.Trainer
    wrap(owner, "train", train, "transformers", always=True)
    wrap(owner, "evaluate", evaluate, "transformers", always=True)
    wrap(owner, "predict", predict, "transformers", always=True)
    wrap(owner, "evaluation_loop", evaluation_loop, "transformers", always=True)
    wrap(owner, "hyperparameter_search", search, "transformers", always=True)
    follow_cards(owner, kind)


def follow_cards(owner: type, kind: type) -> None:
    """Have the model cards that a class of trainers writes lead to the run."""

    def create_model_card(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(trainer, *args, **kwargs)
        with tracker.guard("the model card's link to the run"):
            for follower in followers_of(trainer, kind):
                line = None if follower.is_spare else follower.link()
                if line is not None:
                    _append(Path(trainer.args.output_dir) / "README.md", line)
        return answer

    wrap(owner, "create_model_card", create_model_card, "transformers", always=True)


def folder_of(trainer: Any, output_dir: str, step: int) -> str:
    """Answer the folder of a checkpoint; trials of a search have folders of their own."""
    parent = output_dir
    if trainer is not None:
        parent = trainer._get_output_dir(trial=getattr(trainer, "_trial", None))
    return os.path.join(parent, f"checkpoint-{step}")


def wait_for_ranks(folder: str) -> None:
    """Wait until the processes of this node have written their parts of the last checkpoint; training is over."""
    count = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    if not os.path.exists(os.path.join(folder, "rng_state_0.pth")):  # one process, or only the model is saved
        return
    wanted = [os.path.join(folder, f"rng_state_{rank}.pth") for rank in range(count)]
    until = time.monotonic() + _RANK_FILES_SECONDS
    while time.monotonic() < until and not all(os.path.exists(path) for path in wanted):
        time.sleep(_POLL_SECONDS)


def followers_of(trainer: Any, kind: type) -> list[Follower]:
    """Answer the callbacks of ours in a trainer; of several without a run of their own, one logs."""
    handler = getattr(trainer, "callback_handler", None)
    found: list[Any] = [one for one in getattr(handler, "callbacks", ()) if isinstance(one, kind)]
    if len(found) > 1:
        # Those the user has made come behind those that `report_to` or autologging have made.
        chosen = [one for one in found if one.has_run] or found[-1:]
        for one in found:
            one.is_spare = one not in chosen
    return found


@contextlib.contextmanager
def _within(entry: Entry) -> Iterator[None]:
    stack = entries()
    stack.append(entry)
    try:
        yield
    finally:
        stack.remove(entry)


def _prefix(args: tuple[Any, ...], kwargs: dict[str, Any], default: str) -> str:
    """Answer the prefix that `evaluate` and `predict` take as their third argument."""
    return str(kwargs.get("metric_key_prefix", args[2] if len(args) > 2 else default))


def _append(card: Path, line: str) -> None:
    text = card.read_text(encoding="utf-8") if card.exists() else None
    if text is not None and line not in text:
        card.write_text(f"{text.rstrip()}\n\n{line}\n", encoding="utf-8")
