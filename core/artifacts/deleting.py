"""Deleting what a run has made, together with it: only what nobody else needs."""

from __future__ import annotations

from typing import NamedTuple

from .catalogue import Catalogue
from .version import LATEST, REGISTRY, Version, number_of, parse_name


class Kept(NamedTuple):
    """A version that was not deleted, and why."""

    path: str
    why: str


def delete_made(catalogue: Catalogue, run: str) -> tuple[list[str], list[Kept]]:
    """Delete the versions that a run has made and nobody else has made, used, linked, or named.

    Args:
        catalogue: Where they are.
        run: The run, as `entity/project/id`.

    Returns:
        The versions that were deleted, and those that are kept with the reason.
    """
    deleted, kept = [], []
    for edge in catalogue.edges(run):
        name = parse_name(edge.artifact)
        if edge.use != "output" or name.entity in (None, REGISTRY) or number_of(name.which) is None:
            continue
        version = catalogue.version(str(name.entity), str(name.project), name.name, name.which)
        if version is None:
            continue
        why = _needed_by(catalogue, version, run)
        if why is None:
            catalogue.delete(version)
            deleted.append(version.path)
        else:
            kept.append(Kept(version.path, why))
    return deleted, kept


def _needed_by(catalogue: Catalogue, version: Version, run: str) -> str | None:
    """Answer who else needs a version; None where nobody does."""
    aliases = [alias for alias in version.aliases if alias != LATEST]
    if aliases:
        return f"it is called {', '.join(map(repr, aliases))}"
    makers = [each for each in catalogue.made_by(version) if each != run]
    if makers:
        return f"{makers[0]} has logged it as well"
    users = [use.run for use in catalogue.uses(version) if use.run != run]
    if users:
        return f"{users[0]} has used it"
    for event in catalogue.history(version.entity, version.project, version.name):
        if event.action == "link" and event.version == version.version and event.name:
            name = parse_name(event.name)
            if catalogue.version(REGISTRY, str(name.project), name.name, name.which) is not None:
                return f"{event.name.partition('/')[2]} of a registry stands for it"
    return None
