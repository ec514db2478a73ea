"""Lightning's checkpoints: whose run they belong to, and how they are kept with it.

Each bears a text under "tracker" that names its run and its step. It can be found in a file without unpickling any of it,
so the run is known before Lightning restores the checkpoint, and the folder for new ones can be named after it.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tracker

if TYPE_CHECKING:
    from ._lightning_logger import RunLogger

KEY = "tracker"
_FORM = re.compile(rb"tracker-run:([^\x00-\x1f;]+)\?_step=(-?\d+);")
_MAX_PICKLE_BYTES = 256 << 20
_METADATA = "meta.pt"  # in the folder of a checkpoint that is spread over ranks: everything but the tensors


class Moment(NamedTuple):
    """Where a training stood when a checkpoint was written.

    Args:
        entity: Whose project.
        project: The run's project.
        run_id: The run.
        step: The last step that it had logged.
    """

    entity: str
    project: str
    run_id: str
    step: int

    def __str__(self) -> str:
        return f"tracker-run:{self.entity}/{self.project}/{self.run_id}?_step={self.step};"

    @classmethod
    def parse(cls, text: Any) -> Moment | None:
        """Read it back; None for anything else."""
        found = _FORM.fullmatch(text.encode()) if isinstance(text, str) else None
        return None if found is None else cls._of(found)

    @classmethod
    def _of(cls, found: re.Match[bytes]) -> Moment | None:
        parts = found[1].decode(errors="replace").split("/")
        return cls(parts[0], parts[1], parts[2], int(found[2])) if len(parts) == 3 else None

    @classmethod
    def of_file(cls, path: str | os.PathLike[str] | None) -> Moment | None:
        """Find it in a checkpoint that lies on this machine; None where there is none, or none to be found."""
        if not path:
            return None
        file = os.path.join(path, _METADATA) if os.path.isdir(path) else path
        if not os.path.isfile(file) or not zipfile.is_zipfile(file):
            return None
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith("/data.pkl") and entry.file_size <= _MAX_PICKLE_BYTES:
                    found = _FORM.search(archive.read(entry))  # searched as text, never unpickled
                    return None if found is None else cls._of(found)
        return None


class Kept:
    """What of a training's checkpoints has been kept.

    Args:
        logger: Whose run they belong to.
    """

    def __init__(self, logger: RunLogger) -> None:
        self._logger = logger
        self._names: dict[str, str] = {}  # by ModelCheckpoint: the artifact's
        self._steps: dict[str, int] = {}  # by ModelCheckpoint: where its last one was kept
        self._files: dict[str, tuple[int, int]] = {}  # those kept: time and size
        self._waiting: dict[str, tuple[str, dict[str, Any]]] = {}  # by ModelCheckpoint: its last one, where not kept

    def keep(self, callback: Any) -> None:
        """Keep what a ModelCheckpoint (or a proxy of it) has just saved, as a file or a folder.

        What it saves twice at one step (`save_last=True`) is kept once.
        """
        key = str(getattr(callback, "state_key", callback.__class__.__name__))
        names = ("_last_checkpoint_saved", "last_model_path", "best_model_path")
        path = next((str(found) for name in names if (found := getattr(callback, name, None))), "")
        facts = _facts(callback, path)
        if path and ("step" not in facts or self._steps.get(key) != facts["step"]):
            self.write(key, path, facts)

    def write(self, key: str, path: str, facts: dict[str, Any], *, is_last: bool = False) -> None:
        """Keep a file or a folder, unless it is kept already.

        Args:
            key: Which ModelCheckpoint it is of.
            path: Where it is; what is written behind our back, and is not there yet, is kept later.
            facts: What is known of it; `aliases` among them.
            is_last: The training is over.
        """
        logger = self._logger
        session = logger.session
        if session.run is None or not path:
            return
        if "://" in path and not path.startswith("file://"):
            self._refer(key, path, facts)
            return
        path = path.removeprefix("file://")
        try:
            found = os.stat(path)
        except OSError:
            self._waiting[key] = (path, facts)
            return
        stamp = (found.st_mtime_ns, found.st_size)
        if self._files.get(path) == stamp:
            return
        rest = dict(facts)
        aliases, step = rest.pop("aliases", ()), rest.pop("step", None)
        artifact = session.checkpoint(
            path,
            step=step,
            name=self._name(key, facts),
            aliases=aliases,
            metadata=rest,
            is_last=is_last,
            log_model=logger.log_model,
        )
        if artifact is None:
            self._waiting[key] = (path, facts)
        else:
            self._files[path] = stamp
            self._steps[key] = step
            self._waiting.pop(key, None)

    def keep_rest(self) -> None:
        """Keep what was not there yet, and what is to be kept only of a training that is over."""
        for key, (path, facts) in list(self._waiting.items()):
            if os.path.exists(path):
                self.write(key, path, facts, is_last=True)
        self._waiting.clear()

    def _name(self, key: str, facts: Mapping[str, Any]) -> str | None:
        """Answer the artifact's name: that of the first ModelCheckpoint is the run's model, others have their own."""
        first = self._logger.checkpoint_name
        if key not in self._names:
            run = self._logger.session.run
            name = first or f"model-{run.id if run is not None else ''}"
            if self._names:
                name += "-" + re.sub(r"[^\w.-]+", "-", str(facts.get("monitor") or len(self._names) + 1))
            while name in self._names.values():
                name += "-2"
            self._names[key] = name
        return self._names[key]

    def _refer(self, key: str, path: str, facts: dict[str, Any]) -> None:
        run = self._logger.session.run
        if run is None or (
            str(self._logger.log_model).lower() in ("false", "none") and self._logger.log_model is not None
        ):
            return
        rest = dict(facts)
        aliases = rest.pop("aliases", ())
        artifact = tracker.Artifact(self._name(key, facts) or "model", type="model", metadata=rest)
        artifact.add_reference(path, checksum=False)
        run.log_artifact(artifact, aliases=list(aliases))


def _facts(callback: Any, path: str) -> dict[str, Any]:
    """Answer what a ModelCheckpoint tells of the checkpoint it has just saved."""
    best = str(getattr(callback, "best_model_path", "") or "")
    scores = getattr(callback, "best_k_models", None) or {}
    score: Any = scores.get(path, getattr(callback, "current_score", None))
    facts: dict[str, Any] = {
        "file": os.path.basename(path),
        "score": score.item() if hasattr(score, "item") else score,
        "step": getattr(callback, "_last_global_step_saved", None),
        "callback": callback.__class__.__name__,  # a proxy's type is not the ModelCheckpoint's
    }
    for name in ("monitor", "mode", "save_last", "save_top_k", "save_weights_only"):
        facts[name] = getattr(callback, name, None)
    if path == best or not facts["monitor"]:
        facts["aliases"] = ["best"] if facts["monitor"] else []
    return {name: value for name, value in facts.items() if value is not None}
