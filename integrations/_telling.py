"""What a training tells its run: config, rows, tables, checkpoints, and what happens inside of a torch model."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tracker

from . import patching
from ._models import is_kept, watch_choice

MOST_PARAMETERS = 200
"""Named ones of a model whose gradients are each recorded without being asked for; each makes three metrics."""
MAX_CELL_CHARS = 10_000

_tables: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()  # run -> its growing tables
_watched: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()  # run -> torch models


class Telling:
    """What `Session` takes for its run. Without a run nothing here has an effect; nothing of it raises."""

    framework: str

    if TYPE_CHECKING:

        @property
        def run(self) -> tracker.Run | None:
            """The session's run, while it is open."""

    @tracker.guarded
    def log(self, data: Mapping[str, Any], step: int | float | None = None) -> None:
        """Log a row; values that are None are left out (frameworks write None for what they have not computed)."""
        run = self.run
        if run is not None:
            run.log({key: value for key, value in data.items() if value is not None}, step=step)

    @tracker.guarded
    def configure(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Put values into the run's config under a name of their own; known ones are taken over by these."""
        run = self.run
        if run is not None:
            known = run.config.get(namespace)
            merged = {**known, **values} if isinstance(known, dict) else dict(values)
            run.config.update({namespace: merged}, allow_val_change=True)

    @tracker.guarded
    def table(
        self, key: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], step: int | float | None = None
    ) -> None:
        """Add rows to a table of the run that grows over its evaluations; its first column is the step.

        Args:
            key: Its name: "eval/predictions".
            columns: Names, the same at each call. Other names begin another table.
            rows: A cell for each column; texts are cut at `MAX_CELL_CHARS`.
            step: Where the training stands.
        """
        run = self.run
        if run is None or patching.options.get("log_tables") is False:
            return
        tables = _tables.setdefault(run, {})
        wanted = ["step", *columns]
        table = tables.get(key)
        if table is None or list(table.columns) != wanted:
            table = tables[key] = tracker.Table(columns=wanted, log_mode="INCREMENTAL", allow_mixed_types=True)
        added = 0
        for row in rows:
            table.add_data(step, *(_cell(value) for value in row))
            added += 1
        if added:
            run.log({key: table}, step=step)

    @tracker.guarded
    def checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        step: int | float | None = None,
        name: str | None = None,
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        is_last: bool = False,
        log_model: bool | str | None = None,
    ) -> tracker.Artifact | None:
        """Keep a checkpoint as a version of the run's model. When this returns the files may be rotated away.

        Whether it is kept is said by `TRACKER_LOG_MODEL`: `checkpoint`, `all` or `true` for each; `end` for the last
        one; `false` for none; `auto`, the default, for each unless it is large (`AUTO_CHECKPOINT_BYTES`).

        Args:
            path: A file or a folder.
            step: Where the training stood.
            name: `model-<run id>` by default.
            aliases: Beside "latest".
            metadata: Facts of it: scores, the epoch.
            is_last: It holds what the training has come to.
            log_model: What the integration's user has said; the variable otherwise.

        Returns:
            The artifact, None where it is not kept.
        """
        run = self.run
        if run is None or not is_kept(Path(path), run.dir, is_last, log_model):
            return None
        facts = {"framework": self.framework, **({"step": step} if step is not None else {}), **(metadata or {})}
        artifact = tracker.Artifact(name or f"model-{run.id}", type="model", metadata=facts)
        if os.path.isdir(path):
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        return run.log_artifact(artifact, aliases=list(aliases))

    @tracker.guarded
    def watch(self, model: Any, log: bool | str | None = None, log_freq: int = 1000) -> None:
        """Record a torch model's gradients as it trains, unless it is watched in this run already.

        Of a model of more than `MOST_PARAMETERS` parameters, modules are recorded and not each parameter, unless
        somebody has said what to record. On a rank without a run, the part it holds of a model that is spread over
        ranks is added to what rank 0 records.

        Args:
            model: A `torch.nn.Module`.
            log: "gradients", "parameters", "all", or false for nothing; `TRACKER_WATCH` without it, and "gradients"
                without that.
            log_freq: At the first step of each optimizer, and at every so many from there.
        """
        choice, is_asked_for = watch_choice(log)
        if choice is None:
            return
        by: Any = "parameter"
        if not is_asked_for and sum(one.requires_grad for one in model.parameters()) > MOST_PARAMETERS:
            by = "module"
        if self.run is None:
            if tracker.rank() != 0:
                with contextlib.suppress(tracker.UsageError):  # it is not spread
                    tracker.watch(model, log=choice, log_freq=log_freq, by=by)
            return
        watched = _watched.setdefault(self.run, weakref.WeakSet())
        if model not in watched:
            self.run.watch(model, log=choice, log_freq=log_freq, by=by)
            watched.add(model)

    @tracker.guarded
    def unwatch(self, model: Any) -> None:
        """Record nothing more of a model, until it is watched again."""
        if self.run is not None:
            self.run.unwatch(model)
            _watched.get(self.run, weakref.WeakSet()).discard(model)
        elif tracker.rank() != 0:
            with contextlib.suppress(tracker.UsageError):
                tracker.unwatch(model)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_CELL_CHARS:
        return value[:MAX_CELL_CHARS] + "…"
    return value
