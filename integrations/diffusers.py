"""Diffusers: what pipelines generate, with the prompts and settings it was generated from, as images and a growing table."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import tracker

from . import _own_loop, patching
from .base import sample_rows

KEY = "generations"
_COLUMNS = ("pipeline", "prompt", "negative_prompt", "seed", "settings", "generated")
_TEXTS = ("prompt", "negative_prompt")
_inside = threading.local()  # .is_inside: pipelines call others, and those they derive from
_seen: weakref.WeakSet[Any] = weakref.WeakSet()  # pipelines whose config is kept
_calls: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # by run


def _autolog(module: ModuleType) -> None:
    """Log what every pipeline generates; called with `diffusers.pipelines.pipeline_utils`."""
    base: Any = module.DiffusionPipeline

    def register() -> Callable[[], object]:
        def __init_subclass__(cls: type[Any], /, **kwargs: Any) -> None:  # noqa: N807 - put into a class
            super(base, cls).__init_subclass__(**kwargs)
            _wrap(cls)

        base.__init_subclass__ = classmethod(__init_subclass__)
        return lambda: delattr(base, "__init_subclass__")

    patching.add("diffusers", "diffusers.DiffusionPipeline: every pipeline that is defined", register)
    for cls in _below(base):
        _wrap(cls)


def _below(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _below(cls)


def _wrap(cls: type[Any]) -> None:
    if "__call__" in vars(cls):
        patching.wrap(cls, "__call__", _around_call, "diffusers")


def _around_call(original: Callable[..., Any], pipeline: Any, *args: Any, **kwargs: Any) -> Any:
    if getattr(_inside, "is_inside", False):
        return original(pipeline, *args, **kwargs)
    _inside.is_inside = True
    try:
        result = original(pipeline, *args, **kwargs)
    finally:
        _inside.is_inside = False
    _keep(original, pipeline, args, kwargs, result)
    return result


@tracker.guarded
def _keep(original: Callable[..., Any], pipeline: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
    given = inspect.signature(original).bind(pipeline, *args, **kwargs)
    given.apply_defaults()
    told = given.arguments
    generated = _generated(pipeline, result, told.get("output_type"))
    if not generated:
        return
    was_going_on = _own_loop.is_going_on()
    run = _own_loop.begin(None if pipeline in _seen else {"pipeline": _config(pipeline)})
    session = _own_loop.loop()
    if run is None or session is None:
        return
    _seen.add(pipeline)
    count = _calls[run] = _calls.get(run, 0) + 1
    # In a run of our own the calls are the steps; in another one it is where that stands.
    step = count if session.is_owner and not was_going_on else run.step
    prompts, negatives = (_each(told.get(name), len(generated)) for name in _TEXTS)
    seeds = _each(_seeds(told.get("generator")), len(generated))
    settings = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in told.items()
        if isinstance(value, (int, float, str)) and not isinstance(value, bool) and name not in (*_TEXTS, "output_type")
    )
    kind = type(pipeline).__name__
    rows, media = [], []
    for place in sample_rows(len(generated)):
        made, value = generated[place]
        caption = str(prompts[place]) if prompts[place] is not None else None
        media.append(made(value, caption))
        rows.append([kind, prompts[place], negatives[place], seeds[place], settings, made(value, None)])
    run.log_at({f"{KEY}/media": media}, step)
    session.table(f"{KEY}/table", _COLUMNS, rows, step)
    if not was_going_on:
        _own_loop.release()  # there is no training here that others could be a part of


def _generated(pipeline: Any, result: Any, output_type: Any) -> list[tuple[Callable[[Any, str | None], Any], Any]]:
    """Answer what a call has come to, each with what makes a medium of it."""
    if output_type == "latent":
        return []
    first = result[0] if isinstance(result, tuple) and result else None
    images = getattr(result, "images", first)
    frames, audios = getattr(result, "frames", None), getattr(result, "audios", None)
    if frames is not None:
        return [(_video, one) for one in frames]
    if audios is not None:
        rate = _sample_rate(pipeline)
        return [] if rate is None else [(lambda one, caption: tracker.Audio(one, rate, caption), one) for one in audios]
    if images is None:
        return []
    return [(lambda one, caption: tracker.Image(one, caption=caption), one) for one in images]


def _video(frames: Any, caption: str | None) -> Any:
    import numpy as np

    array = frames if hasattr(frames, "shape") else np.stack([np.asarray(frame) for frame in frames])
    return tracker.Video(array, caption=caption, fps=8)


def _sample_rate(pipeline: Any) -> int | None:
    for part, name in (("vocoder", "sampling_rate"), ("vae", "sampling_rate"), ("unet", "sample_rate")):
        rate = getattr(getattr(getattr(pipeline, part, None), "config", None), name, None)
        if rate:
            return int(rate)
    return None


def _each(values: Any, count: int) -> list[Any]:
    """Spread what was given over what was generated: several for each prompt."""
    given = list(values) if isinstance(values, (list, tuple)) else [values]
    return [given[place * len(given) // count] for place in range(count)] if given else [None] * count


def _seeds(generator: Any) -> Any:
    if isinstance(generator, (list, tuple)):
        return [_seeds(one) for one in generator]
    return generator.initial_seed() if hasattr(generator, "initial_seed") else None


def _config(pipeline: Any) -> dict[str, Any]:
    config = dict(getattr(pipeline, "config", None) or {})  # a pipeline without parts has none
    parts = {
        name: part[1] for name, part in config.items() if isinstance(part, (list, tuple)) and len(part) == 2 and part[1]
    }
    scheduler = getattr(pipeline, "scheduler", None)
    found: dict[str, Any] = {"class": type(pipeline).__name__, "parts": parts}
    if scheduler is not None:
        found["scheduler"] = {key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")}
    name = config.get("_name_or_path")
    return {**found, "name": name} if name else found
