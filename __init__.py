"""tracker: an experiment tracker that training frameworks log to by themselves.

    import tracker

    with tracker.init(project="digits", config={"lr": 0.1}) as run:
        run.log({"loss": 0.5})

Importing it loads what a run needs, some 30 ms, and nothing else: no framework, no numpy, no server. The other names
are fetched when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.core import capture as _capture
from tracker.core.init import init as init
from tracker.core.start_up import join as _join

if TYPE_CHECKING:
    from tracker.core import plot as plot
    from tracker.core.artifacts.artifact import Artifact as Artifact
    from tracker.core.artifacts.artifact import ArtifactTTL as ArtifactTTL
    from tracker.core.artifacts.of_current import link_artifact as link_artifact
    from tracker.core.artifacts.of_current import link_model as link_model
    from tracker.core.artifacts.of_current import log_artifact as log_artifact
    from tracker.core.artifacts.of_current import log_model as log_model
    from tracker.core.artifacts.of_current import use_artifact as use_artifact
    from tracker.core.artifacts.of_current import use_model as use_model
    from tracker.core.config import Config as Config
    from tracker.core.current import alert as alert
    from tracker.core.current import confined as confined
    from tracker.core.current import define_metric as define_metric
    from tracker.core.current import finish as finish
    from tracker.core.current import flush as flush
    from tracker.core.current import log as log
    from tracker.core.current import mark_preempting as mark_preempting
    from tracker.core.current import termwarn as termwarn
    from tracker.core.current import unwatch as unwatch
    from tracker.core.current import watch as watch
    from tracker.core.errors import MissingFramework as MissingFramework
    from tracker.core.errors import NoRun as NoRun
    from tracker.core.errors import RunInUse as RunInUse
    from tracker.core.errors import StorageError as StorageError
    from tracker.core.errors import TrackerError as TrackerError
    from tracker.core.errors import TransportError as TransportError
    from tracker.core.errors import UsageError as UsageError
    from tracker.core.guarding import guard as guard
    from tracker.core.guarding import guarded as guarded
    from tracker.core.launch import launched_id as launched_id
    from tracker.core.launch import sample_node as sample_node
    from tracker.core.media.annotations import Classes as Classes
    from tracker.core.media.audio import Audio as Audio
    from tracker.core.media.histogram import Histogram as Histogram
    from tracker.core.media.html import Html as Html
    from tracker.core.media.image import Image as Image
    from tracker.core.media.molecule import Molecule as Molecule
    from tracker.core.media.object3d import Object3D as Object3D
    from tracker.core.media.plotly import Plotly as Plotly
    from tracker.core.media.text import Markdown as Markdown
    from tracker.core.media.text import Text as Text
    from tracker.core.media.video import Video as Video
    from tracker.core.plot import plot_table as plot_table
    from tracker.core.query import Api as Api
    from tracker.core.ranks import rank as rank
    from tracker.core.run import Run as Run
    from tracker.core.secondary import attach as attach
    from tracker.core.secondary import is_worker as is_worker
    from tracker.core.settings import Settings as Settings
    from tracker.core.summary import Summary as Summary
    from tracker.core.tables import JoinedTable as JoinedTable
    from tracker.core.tables import Table as Table
    from tracker.integrations import sklearn as sklearn
    from tracker.integrations import tensorboard as tensorboard
    from tracker.integrations.autologging import autolog as autolog

    run: Run | None
    config: Config
    summary: Summary

__version__ = "0.1.0"

# The rooms know nothing of each other: what a setting turns on in `integrations` is said here.
_capture.EXTENSIONS["sync_tensorboard"] = "tracker.integrations.tensorboard:begin"
_capture.EXTENSIONS["monitor_gym"] = "tracker.integrations.gymnasium:begin"

# name -> where it lives
_NAMES = {
    "autolog": "autologging",
    "log": "current",
    "finish": "current",
    "flush": "current",
    "define_metric": "current",
    "alert": "current",
    "confined": "current",
    "mark_preempting": "current",
    "termwarn": "current",
    "unwatch": "current",
    "watch": "current",
    "guard": "guarding",
    "guarded": "guarding",
    "rank": "ranks",
    "attach": "secondary",
    "launched_id": "launch",
    "sample_node": "launch",
    "is_worker": "secondary",
    "Artifact": "artifacts.artifact",
    "ArtifactTTL": "artifacts.artifact",
    "link_artifact": "artifacts.of_current",
    "link_model": "artifacts.of_current",
    "log_artifact": "artifacts.of_current",
    "log_model": "artifacts.of_current",
    "use_artifact": "artifacts.of_current",
    "use_model": "artifacts.of_current",
    "Run": "run",
    "Config": "config",
    "Summary": "summary",
    "Settings": "settings",
    "Api": "query",
    "Table": "tables",
    "plot_table": "plot",
    "JoinedTable": "tables",
    "Classes": "media.annotations",
    "Image": "media.image",
    "Histogram": "media.histogram",
    "Audio": "media.audio",
    "Video": "media.video",
    "Html": "media.html",
    "Object3D": "media.object3d",
    "Molecule": "media.molecule",
    "Plotly": "media.plotly",
    "Text": "media.text",
    "Markdown": "media.text",
    "TrackerError": "errors",
    "UsageError": "errors",
    "NoRun": "errors",
    "RunInUse": "errors",
    "MissingFramework": "errors",
    "StorageError": "errors",
    "TransportError": "errors",
}

__all__ = ["__version__", "config", "init", "plot", "run", "sklearn", "summary", "tensorboard", *_NAMES]


def __getattr__(name: str) -> Any:
    if name in ("run", "config", "summary"):  # of the current run: a new one tomorrow
        from tracker.core.current import current, needed

        return current() if name == "run" else getattr(needed(name), name)
    if name == "plot":  # a module
        from tracker.core import plot

        return plot
    if name in ("sklearn", "tensorboard"):  # as W&B has them: tracker.sklearn.plot_roc(...)
        from importlib import import_module

        return import_module(f"tracker.integrations.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'tracker' has no attribute {name!r}")
    from importlib import import_module

    room = "integrations" if name == "autolog" else "core"
    value = getattr(import_module(f"tracker.{room}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if __name__ == "tracker":  # and not what pytest calls the folder of a checkout
    _join(__path__[0])
