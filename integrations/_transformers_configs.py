"""transformers: what a training was made of, each kind of facts under a name of its own in the run's config.

`args`, `model`, `peft`, `generation`, `tokenizer`, `data` and `training`: nothing of one can hide a value of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tracker

_MOST_NAMES = 200  # columns of a data set


def configs(
    args: Any, state: Any, model: Any, processing_class: Any, trainer: Any, train_dataloader: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the namespaces of the config, each with its values; what cannot be read is passed over, and said.

    Args:
        args: The training's arguments.
        state: Where it stands.
        model: What is trained.
        processing_class: Its tokenizer or processor.
        trainer: Whose training it is, where that is known.
        train_dataloader: What it goes through.
    """
    asked: dict[str, Callable[[], dict[str, Any] | None]] = {
        "args": lambda: _args(args),
        "model": lambda: _model(model),
        "peft": lambda: _peft(model),
        "generation": lambda: _dict_of(getattr(model, "generation_config", None)),
        "tokenizer": lambda: _tokenizer(processing_class),
        "data": lambda: _data(trainer, train_dataloader),
        "training": lambda: _training(args, state, trainer),
    }
    for name, ask in asked.items():
        with tracker.guard(f"the config's {name!r}"):
            values = ask()
            if values:
                yield name, values


def _args(args: Any) -> dict[str, Any]:
    # Instead of a token it answers a word that stands for one.
    return {name: value for name, value in args.to_dict().items() if value != f"<{name.upper()}>"}


def _model(model: Any) -> dict[str, Any]:
    kind = type(model)
    values: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    values.update(_dict_of(config_of(model)) or {})
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    values["num_parameters"] = sum(map(_size, parameters))
    values["trainable_parameters"] = sum(_size(one) for one in parameters if one.requires_grad)
    return values


def config_of(model: Any) -> Any:
    """Answer a model's own config; sentence-transformers has it one module further in."""
    found = getattr(model, "config", None)
    if found is None:
        found = getattr(getattr(model, "transformers_model", None), "config", None)
    return found


def _size(parameter: Any) -> int:
    whole = getattr(parameter, "ds_numel", None)  # DeepSpeed has parted it
    return int(whole if whole is not None else parameter.numel())


def _peft(model: Any) -> dict[str, Any] | None:
    adapters = getattr(model, "peft_config", None)
    if not isinstance(adapters, Mapping):
        return None
    return {str(name): _dict_of(adapter) for name, adapter in adapters.items()}


def _tokenizer(processing_class: Any) -> dict[str, Any] | None:
    if processing_class is None:
        return None
    names = ("name_or_path", "vocab_size", "model_max_length", "padding_side", "truncation_side", "chat_template")
    values: dict[str, Any] = {"class": type(processing_class).__name__}
    for name in names:
        with contextlib.suppress(Exception):  # properties of tokenizers compute, and some cannot
            value = getattr(processing_class, name, None)
            if value is not None:
                values[name] = value
    return values


def _training(args: Any, state: Any, trainer: Any) -> dict[str, Any]:
    world = int(getattr(args, "world_size", 1) or 1)
    batch = int(getattr(state, "train_batch_size", None) or args.train_batch_size)
    values: dict[str, Any] = {
        "world_size": world,
        "total_batch_size": batch * int(args.gradient_accumulation_steps) * world,
        "max_steps": state.max_steps,
        "num_train_epochs": state.num_train_epochs,
        "parallel_mode": getattr(getattr(args, "parallel_mode", None), "value", None),
    }
    accelerator = getattr(getattr(trainer, "accelerator", None), "state", None)
    for name in ("distributed_type", "mixed_precision", "dynamo_plugin"):
        value = getattr(accelerator, name, None)
        if name == "dynamo_plugin":
            name, value = "dynamo_backend", getattr(getattr(value, "backend", None), "value", None)
        if value is not None:
            values[name] = getattr(value, "value", value)
    if trainer is not None:
        values["trainer"] = f"{type(trainer).__module__}.{type(trainer).__qualname__}"
    return values


def _data(trainer: Any, train_dataloader: Any) -> dict[str, Any]:
    # What the trainer was given, not what it reads: it has taken columns out of that, which has another fingerprint.
    train = getattr(trainer, "train_dataset", None)
    if train is None:
        train = getattr(train_dataloader, "dataset", None)
    found = {"train": _data_set(train), "eval": _data_set(getattr(trainer, "eval_dataset", None))}
    return {name: values for name, values in found.items() if values}


def _data_set(data: Any) -> dict[str, Any] | None:
    """Answer by what a data set is known again: its fingerprint, where it has one, its size and its columns."""
    if data is None:
        return None
    if isinstance(data, dict):  # several, by name
        return {str(name): _data_set(each) for name, each in data.items()}
    kind = type(data)
    values: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    with contextlib.suppress(TypeError, NotImplementedError, AttributeError):  # streams have no length
        values["rows"] = len(data)
    if not kind.__module__.startswith("datasets."):
        return values
    info = getattr(data, "info", None)
    facts = {
        "fingerprint": getattr(data, "_fingerprint", None),
        "name": getattr(info, "dataset_name", None) or getattr(info, "builder_name", None),
        "config": getattr(info, "config_name", None),
        "version": _text(getattr(info, "version", None)),
        "split": _text(getattr(data, "split", None)),
        "shards": getattr(data, "num_shards", None),
    }
    features = getattr(data, "features", None)
    if isinstance(features, Mapping):
        facts["columns"] = {name: _kind(feature) for name, feature in list(features.items())[:_MOST_NAMES]}
    return values | {name: value for name, value in facts.items() if value is not None}


def _kind(feature: Any) -> str:
    kind = getattr(feature, "dtype", None)
    name = type(feature).__name__
    return str(kind) if name == "Value" and kind is not None else name


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _dict_of(config: Any) -> dict[str, Any] | None:
    if config is None or isinstance(config, dict):
        return config
    return dict(config.to_dict()) if hasattr(config, "to_dict") else None
