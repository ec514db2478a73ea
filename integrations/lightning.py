"""Lightning, as `lightning` or `pytorch_lightning`, and Fabric: metrics, checkpoints, predictions, gradients.

`Trainer(logger="tracker")`, `Trainer(logger=TrackerLogger(...))`, `Fabric(loggers=[TrackerLogger(...)])`.

Both packages hold the same code twice, so classes that derive from theirs are made for each: `TrackerLogger` is the one
for the package that is loaded, `tracker.integrations.pytorch_lightning.TrackerLogger` that of pytorch_lightning.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import tracker

from .base import require
from .patching import is_autologging, wrap

if TYPE_CHECKING:
    from ._lightning_callback import RunCallback as TrackerCallback
    from ._lightning_logger import RunLogger as TrackerLogger

__all__ = ["TrackerCallback", "TrackerLogger", "make_callback", "make_logger"]

_TRAINERS = ("lightning.pytorch", "pytorch_lightning")
_FABRICS = ("lightning.fabric", "lightning_fabric")
_CONNECTORS = "trainer.connectors"

_made: dict[tuple[str, str], type[Any]] = {}


def make_logger(package: str) -> type[Any]:
    """Answer `TrackerLogger` for a package.

    Args:
        package: "lightning.pytorch", "pytorch_lightning", "lightning.fabric" or "lightning_fabric".

    Raises:
        MissingFramework: It is not installed.
    """
    from ._lightning_logger import RunLogger

    return _make("TrackerLogger", RunLogger, package, "loggers", "Logger")


def make_callback(package: str) -> type[Any]:
    """Answer `TrackerCallback` for a package; see `make_logger`. Where `TrackerLogger` is used it comes by itself."""
    from ._lightning_callback import RunCallback

    return _make("TrackerCallback", RunCallback, package, "callbacks", "Callback")


def _make(name: str, ours: type[Any], package: str, room: str, base: str) -> type[Any]:
    if (name, package) not in _made:
        require(package)
        theirs = getattr(require(f"{package}.{room}"), base)
        is_second = package.partition(".")[0] == "pytorch_lightning"
        module = __name__.replace(".lightning", ".pytorch_lightning") if is_second else __name__
        _made[name, package] = type(
            name, (ours, theirs), {"__module__": module, "__doc__": ours.__doc__, "package": package}
        )
    return _made[name, package]


def _package(choices: tuple[str, ...]) -> str:
    """Answer the package that is loaded; the first one where none is."""
    return next((name for name in choices if name in sys.modules), choices[0])


def __getattr__(name: str) -> Any:
    if name == "TrackerLogger":
        is_fabric = not any(package in sys.modules for package in _TRAINERS)
        if is_fabric and any(package in sys.modules for package in _FABRICS):
            return make_logger(_package(_FABRICS))
        return make_logger(_package(_TRAINERS))
    if name == "TrackerCallback":
        return make_callback(_package(_TRAINERS))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- what the start-up hook calls, once a module of Lightning's has run ----------------------------


def know_tracker(module: Any) -> None:
    """Make `Trainer(logger="tracker")` known, and give trainers with a TrackerLogger the callback."""
    package = module.__name__.partition(f".{_CONNECTORS}")[0]

    def configure_logger(original: Any, connector: Any, logger: Any) -> Any:
        with tracker.guard("Trainer(logger='tracker')"):
            logger = _named(logger, package)
        answer = original(connector, logger)
        with tracker.guard("the callback of TrackerLogger"):
            adopt(connector.trainer)
        return answer

    wrap(module._LoggerConnector, "configure_logger", configure_logger, "lightning", lasting=True)


def follow_checkpoints(module: Any) -> None:
    """Learn which checkpoint a trainer is going to restore, before it sets anything up."""

    def select(original: Any, connector: Any, *args: Any, **kwargs: Any) -> Any:
        path = original(connector, *args, **kwargs)
        with tracker.guard("the run of a checkpoint"):
            for callback in connector.trainer.callbacks:
                if _is_callback(callback):
                    callback.checkpoint_path = path
        return path

    wrap(module._CheckpointConnector, "_select_ckpt_path", select, "lightning", lasting=True)


def autolog(module: Any) -> None:
    """Add the callback to every trainer (or Fabric), where the entry points have not."""
    package = next(name for name in (*_TRAINERS, *_FABRICS) if module.__name__.startswith(f"{name}."))

    def load(original: Any, group: str) -> Any:
        found = original(group)
        with tracker.guard("autologging of Lightning"):
            if not any(_is_callback(one) or isinstance(one, FabricCallback) for one in found):
                found = [*found, *_callbacks(package)]
        return found

    wrap(module, "_load_external_callbacks", load, "lightning")


# --- Lightning's entry points: every Trainer and every Fabric asks for callbacks --------------------


def lightning_callbacks() -> list[Any]:
    """Answer callbacks for `lightning.pytorch.Trainer`; none unless autologging is asked for."""
    return _callbacks("lightning.pytorch")


def pytorch_lightning_callbacks() -> list[Any]:
    """Answer callbacks for `pytorch_lightning.Trainer`; none unless autologging is asked for."""
    return _callbacks("pytorch_lightning")


def fabric_callbacks() -> list[Any]:
    """Answer callbacks for `lightning.fabric.Fabric`; none unless autologging is asked for."""
    return _callbacks("lightning.fabric")


def lightning_fabric_callbacks() -> list[Any]:
    """Answer callbacks for `lightning_fabric.Fabric`; none unless autologging is asked for."""
    return _callbacks("lightning_fabric")


@tracker.guarded(returns=[])
def _callbacks(package: str) -> list[Any]:
    if "TRACKER_DISABLED" in os.environ or not is_autologging("lightning"):
        return []
    if package in _FABRICS:
        return [FabricCallback(package)]
    return [make_callback(package)(is_automatic=True)]


class FabricCallback:
    """Give a Fabric that is autologged a TrackerLogger, and begin its run, when it sets up a model.

    Args:
        package: Whose Fabric it is.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    @tracker.guarded
    def on_after_setup(self, fabric: Any, module: Any) -> None:
        """Add it behind the loggers that are there, and begin: the optimizer's steps belong to its run."""
        ours = [logger for logger in fabric._loggers if _is_logger(logger)]
        if not ours:
            ours = [make_logger(self._package)()]
            fabric._loggers = [*fabric._loggers, *ours]
        for logger in ours:
            if logger.session.run is None:
                logger.open()


# --- trainers ---------------------------------------------------------------------------------------


def adopt(trainer: Any) -> None:
    """Let a trainer's TrackerLogger know the trainer, and add the callback that sees what a logger cannot."""
    ours = [logger for logger in trainer.loggers if _is_logger(logger)]
    for logger in ours:
        logger.attach(trainer)
    if ours and not any(_is_callback(callback) for callback in trainer.callbacks):
        callback = make_callback(ours[0].package)()
        checkpoints = {id(one) for one in trainer.checkpoint_callbacks}
        others = [one for one in trainer.callbacks if id(one) not in checkpoints]
        # A new list: the old one may be the user's. Checkpoints stay last, as Lightning has them.
        trainer.callbacks = [*others, callback, *trainer.checkpoint_callbacks]


def prepare(package: str) -> None:
    """Put in place, for a package that is loaded already, what the start-up hook does for those that will be."""
    for module, ours in (
        ("logger_connector.logger_connector", know_tracker),
        ("checkpoint_connector", follow_checkpoints),
    ):
        loaded = sys.modules.get(f"{package}.{_CONNECTORS}.{module}")
        if loaded is not None:
            ours(loaded)


def _named(logger: Any, package: str) -> Any:
    """Answer what was given as `Trainer(logger=...)`, with a logger in the place of "tracker"."""
    if logger == "tracker" and isinstance(logger, str):
        return make_logger(package)()
    if isinstance(logger, (list, tuple)):
        return [_named(one, package) for one in logger]
    return logger


def _is_logger(one: Any) -> bool:
    from ._lightning_logger import RunLogger

    return isinstance(one, RunLogger)


def _is_callback(one: Any) -> bool:
    from ._lightning_callback import RunCallback

    return isinstance(one, RunCallback)
