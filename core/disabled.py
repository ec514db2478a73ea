"""A run that keeps nothing: `mode="disabled"`. Whatever is asked of it does nothing, all the way down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .config import Config
from .errors import UsageError
from .names import random_id


class Inert:
    """Answers itself to every attribute, call and item."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and numpy ask for what must not be there
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer itself."""
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        return

    def __delitem__(self, key: Any) -> None:
        return

    def __setattr__(self, name: str, value: Any) -> None:
        return

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __contains__(self, key: Any) -> bool:
        return False

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: Any) -> None:
        return

    def __repr__(self) -> str:
        return "<nothing: tracking is disabled>"


class DisabledRun(Inert):
    """Stands in for a run: its names and config can be read, everything else does nothing.

    Args:
        fields: What `init` was told: project, entity, name, tags, ...
        config: The config, readable and writable as in a real run.
        directory: Answered as `dir`: a folder that exists.
    """

    def __init__(self, fields: dict[str, Any], config: Config, directory: str) -> None:
        identity = fields.get("id") or random_id()
        known: dict[str, Any] = {
            "id": identity,
            "name": fields.get("name") or f"disabled-{identity}",
            "project": fields.get("project"),
            "entity": fields.get("entity"),
            "notes": fields.get("notes"),
            "tags": tuple(fields.get("tags") or ()),
            "group": fields.get("group"),
            "job_type": fields.get("job_type"),
            "path": f"{fields.get('entity')}/{fields.get('project')}/{identity}",
            "url": None,
            "dir": directory,
            "config": config,
            "summary": {},
            "step": 0,
            "starting_step": 0,
            "resumed": False,
            "offline": True,
            "disabled": True,
            "state": "running",
        }
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: Any) -> None:
        self.finish()

    def log(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def watch(self, models: Any = None, *args: Any, **kwargs: Any) -> None:
        """Record nothing, but add this rank's part to what another rank logs of a model that is spread over them."""
        from .capture.watch import take_part  # only who watches pays for it

        try:
            take_part(models, *args, **kwargs)
        except UsageError:  # said where there is a run
            return

    def unwatch(self, models: Any = None) -> None:
        """Add nothing more."""
        from .capture.watch import take_no_part

        try:
            take_no_part(models)
        except UsageError:
            return

    def log_artifact(
        self, artifact_or_path: Any, name: str | None = None, type: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Answer the artifact, as if it were stored."""
        from .artifacts.disabled import logged

        return logged(artifact_or_path, name, type, self)

    def use_artifact(self, artifact_or_name: Any, type: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Answer an artifact of that name, without files."""
        from .artifacts.disabled import used

        return used(artifact_or_name, type, self)

    def log_model(self, path: Any, name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Answer an artifact, as if it were stored."""
        return self.log_artifact(path, name, "model")

    def use_model(self, name: str) -> str:
        """Answer an empty folder."""
        return str(self.use_artifact(name, "model").download())

    def link_model(self, path: Any, registered_model_name: str, name: str | None = None, *args: Any, **_: Any) -> Any:
        """Answer an artifact, as if it were stored."""
        return self.log_artifact(path, name, "model")

    def link_artifact(self, artifact: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer the artifact, as if it were stored."""
        return self.log_artifact(artifact)

    upsert_artifact = finish_artifact = log_artifact

    def finish(self, *args: Any, **kwargs: Any) -> None:
        """End nothing, but stop being the current run."""
        from .current import leave  # a cycle: `current` only needs the type of a run

        leave(self)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return "<Run disabled>"
