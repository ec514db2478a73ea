"""openai: each call of a model, as a row of the table `openai/calls`, while `log_calls` is in force."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable
from typing import Any

import tracker

from ._calls import Calls, plain
from .base import Session, require
from .patching import unwrap, wrap

_NAME = "openai"
_PLACES = (
    ("openai.resources.chat.completions", ("Completions", "AsyncCompletions"), "chat"),
    ("openai.resources.responses", ("Responses", "AsyncResponses"), "response"),
    ("openai.resources.embeddings", ("Embeddings", "AsyncEmbeddings"), "embedding"),
)


def log_calls(run: tracker.Run | None = None, **arguments: Any) -> Callable[[], None]:
    """Log calls of chats, responses and embeddings from here on, of all clients.

    Of a stream the row has what was asked; what comes passes by untouched.

    Args:
        run: The run to log to; it stays open afterwards.
        arguments: Of `tracker.init`, for a run that has to be begun.

    Returns:
        What ends it.

    Raises:
        MissingFramework: openai is not installed.
    """
    unwrap(_NAME)
    calls = Calls(Session(_NAME, run, spreads=True, **arguments), "openai/calls")
    for module_name, classes, kind in _PLACES:
        module = require(module_name)
        for name in classes:
            around = _async_call if name.startswith("Async") else _call
            wrap(getattr(module, name), "create", functools.partial(around, calls, kind), _NAME, always=True)

    def end() -> None:
        calls.flush()
        unwrap(_NAME)

    return end


def _call(calls: Calls, kind: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    begin = time.time()
    try:
        answer = original(*args, **kwargs)
    except BaseException as error:
        _add(calls, kind, begin, kwargs, None, error)
        raise
    _add(calls, kind, begin, kwargs, answer, None)
    return answer


async def _async_call(calls: Calls, kind: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    begin = time.time()
    try:
        answer = await original(*args, **kwargs)
    except BaseException as error:
        _add(calls, kind, begin, kwargs, None, error)
        raise
    _add(calls, kind, begin, kwargs, answer, None)
    return answer


@tracker.guarded
def _add(
    calls: Calls, kind: str, begin: float, asked: dict[str, Any], answer: Any, error: BaseException | None
) -> None:
    usage = getattr(answer, "usage", None)
    is_whole = hasattr(answer, "model_dump") and kind != "embedding"
    tokens = {
        column: next((getattr(usage, name) for name in names if isinstance(getattr(usage, name, None), int)), None)
        for column, names in {
            "input_tokens": ("prompt_tokens", "input_tokens"),
            "output_tokens": ("completion_tokens", "output_tokens"),
        }.items()
    }
    calls.add(
        time=datetime.datetime.fromtimestamp(begin, datetime.timezone.utc),
        kind=kind,
        name=str(asked.get("model", "")),
        input=asked.get("messages", asked.get("input")),
        output=_output(answer) if is_whole else None,
        error=None if error is None else f"{type(error).__name__}: {error}",
        seconds=time.time() - begin,
        id=getattr(answer, "id", None),
        **tokens,
    )


def _output(answer: Any) -> Any:
    choices = getattr(answer, "choices", None)
    if choices:
        return plain([choice.message for choice in choices])
    return plain(getattr(answer, "output", None))
