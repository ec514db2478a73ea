"""Who a run is: its id and place, and what people call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .paths import RunPath
from .values import plain


class IdentityOfRun:
    """What `Run` answers of itself; names, notes and tags can be set, and are records like others."""

    path_: RunPath
    folder: Path
    _base_url: str | None
    _fields: dict[str, Any]

    if TYPE_CHECKING:

        def _set_fields(self, **fields: Any) -> None:
            """Write them down."""

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self.path_.id

    @property
    def project(self) -> str:
        """The project's name."""
        return self.path_.project

    @property
    def entity(self) -> str:
        """Whose project it is."""
        return self.path_.entity

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return str(self.path_)

    @property
    def dir(self) -> str:
        """A folder for your own files of this run."""
        return str(self.folder / "files")

    @property
    def url(self) -> str | None:
        """The run's page on the server, if one is configured."""
        return f"{self._base_url}/{self.entity}/{self.project}/runs/{self.id}" if self._base_url else None

    def get_url(self) -> str | None:
        """Answer `url`, as in W&B."""
        return self.url

    @property
    def name(self) -> str:
        """The name people read; it can be set."""
        return str(self._fields.get("name") or self.id)

    @name.setter
    def name(self, name: str) -> None:
        self._set_fields(name=plain(name, limit=1000))

    @property
    def notes(self) -> str | None:
        """Free text; it can be set."""
        return self._fields.get("notes")

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._set_fields(notes=plain(notes, limit=100_000))

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels; they can be set, and added to with `run.tags += ("x",)`."""
        return tuple(self._fields.get("tags") or ())

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        names = (tags,) if isinstance(tags, str) else tags
        self._set_fields(tags=list(dict.fromkeys(str(tag) for tag in names)))

    @property
    def group(self) -> str | None:
        """The group the run belongs to."""
        return self._fields.get("group")

    @property
    def job_type(self) -> str | None:
        """What the run does: "train", "eval", ..."""
        return self._fields.get("job_type")
