"""What Lightning's objects tell of a training: the trainer's arguments, the model, the optimizers' learning rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OF_TRAINER = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "num_devices",
    "num_nodes",
    "world_size",
    "log_every_n_steps",
    "check_val_every_n_epoch",
    "val_check_interval",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "overfit_batches",
    "num_sanity_val_steps",
    "reload_dataloaders_every_n_epochs",
    "default_root_dir",
    "ckpt_path",
)


def of_trainer(trainer: Any) -> dict[str, Any]:
    """Answer the arguments of a Trainer, as they took effect."""
    facts: dict[str, Any] = {}
    for name in _OF_TRAINER:
        value = getattr(trainer, name, None)
        if value is not None:
            facts[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    for name in ("accelerator", "strategy"):
        facts[name] = type(getattr(trainer, name, None)).__name__
    facts["callbacks"] = [type(callback).__name__ for callback in getattr(trainer, "callbacks", [])]
    return facts


def of_model(module: Any) -> dict[str, Any]:
    """Answer what a model is, and how many parameters it has."""
    kind = type(module)
    parameters = list(module.parameters())
    # Parameters that wait for their first batch (lazy ones) have no size yet.
    sizes = [(one.numel(), one.requires_grad) for one in parameters if "Uninitialized" not in type(one).__name__]
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": sum(size for size, _ in sizes),
        "trainable_parameters": sum(size for size, is_trained in sizes if is_trained),
    }


def of_optimizers(trainer: Any) -> list[dict[str, Any]]:
    """Answer the optimizers with their defaults, and their schedulers."""
    found = []
    schedulers = {id(config.scheduler.optimizer): config for config in trainer.lr_scheduler_configs}
    for optimizer in trainer.optimizers:
        facts: dict[str, Any] = {"class": type(optimizer).__name__}
        for name, value in getattr(optimizer, "defaults", {}).items():
            facts[name] = list(value) if isinstance(value, tuple) else value
        config = schedulers.get(id(optimizer))
        if config is not None:
            facts["scheduler"] = {"class": type(config.scheduler).__name__, "interval": config.interval}
        found.append(facts)
    return found


def learning_rates(trainer: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk the parameter groups of all optimizers, each with the name that LearningRateMonitor gives its rate."""
    names = {id(config.scheduler.optimizer): config.name for config in trainer.lr_scheduler_configs if config.name}
    counts: dict[str, int] = {}
    kinds = [type(optimizer).__name__ for optimizer in trainer.optimizers]
    for optimizer, kind in zip(trainer.optimizers, kinds, strict=True):
        name = names.get(id(optimizer)) or f"lr-{kind}"
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            name = f"{name}-{counts[name] - 1}"
        groups = optimizer.param_groups
        for number, group in enumerate(groups, 1):
            yield (f"{name}/{group.get('name') or f'pg{number}'}" if len(groups) > 1 else name), group
