"""Lineage: from a run or a version to all it came from, and all that came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec

from ..errors import UsageError
from ..limits import MAX_LINEAGE_NODES
from .catalogue import Catalogue
from .version import Version, parse_name

Direction = Literal["both", "up", "down"]
_DIRECTIONS = ("both", "up", "down")


class Node(msgspec.Struct, frozen=True):
    """A run or a version.

    Args:
        kind: "run" or "artifact".
        path: `entity/project/id`, or `entity/project/name:vN`.
        type: Of an artifact.
        aliases: Of an artifact, now.
        size: Of an artifact, in bytes.
        depth: Steps from where the walk began.
        deleted: The version is gone; what came of it is not.
    """

    kind: str
    path: str
    type: str = ""
    aliases: tuple[str, ...] = ()
    size: int = 0
    depth: int = 0
    deleted: bool = False


class Link(msgspec.Struct, frozen=True):
    """From what was there first to what came of it: run to artifact ("output"), artifact to run ("input")."""

    source: str
    target: str
    use: str


class Graph(msgspec.Struct, frozen=True):
    """What a walk has found; `is_cut` where there is more than it was to look at."""

    nodes: list[Node]
    edges: list[Link]
    is_cut: bool = False


def lineage(
    catalogue: Catalogue,
    *,
    run: str | None = None,
    artifact: Version | None = None,
    depth: int | None = None,
    direction: Direction = "both",
    limit: int = MAX_LINEAGE_NODES,
) -> Graph:
    """Walk from a run or a version, up to what it came from and down to what came of it.

    Up is walked upwards only and down downwards only: what else came of an ancestor is not in the answer.

    Args:
        catalogue: Where to look.
        run: Where to begin, as `entity/project/id`; or
        artifact: where to begin.
        depth: Steps to walk at most; None for all. Run to artifact is one.
        direction: "up", "down" or "both".
        limit: Nodes at most.

    Raises:
        UsageError: Neither a run nor a version is given, or both, or there is no such direction.
    """
    if (run is None) == (artifact is None):
        raise UsageError("lineage begins at a run or at an artifact; give one of the two.")
    if direction not in _DIRECTIONS:
        raise UsageError(f"the direction is {direction!r}; it can be {', '.join(map(repr, _DIRECTIONS))}.")
    walk = _Walk(catalogue, limit)
    start = walk.add_version(artifact, 0) if artifact is not None else walk.add_run(str(run), 0)
    for way in ("up", "down") if direction == "both" else (direction,):
        walk.go(start, way, depth)
    return Graph(list(walk.nodes.values()), list(walk.edges.values()), walk.is_cut)


class _Walk:
    def __init__(self, catalogue: Catalogue, limit: int) -> None:
        self._catalogue = catalogue
        self._limit = limit
        self._versions: dict[str, Version] = {}
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], Link] = {}
        self.is_cut = False

    def go(self, start: str, way: str, depth: int | None) -> None:
        seen = {start}
        waiting = deque([(start, 0)])
        while waiting:
            path, steps = waiting.popleft()
            if depth is not None and steps >= depth:
                continue
            for other, link in self._next(path, way, steps + 1):
                self.edges.setdefault((link.source, link.target), link)
                if other not in seen:
                    seen.add(other)
                    waiting.append((other, steps + 1))

    def _next(self, path: str, way: str, steps: int) -> Iterator[tuple[str, Link]]:
        version = self._versions.get(path)
        if version is not None:
            if way == "up":
                runs, use = self._catalogue.made_by(version), "output"
            else:
                runs, use = [each.run for each in self._catalogue.uses(version)], "input"
            for run in runs:
                if self._has_room(run):
                    self.add_run(run, steps)
                    yield run, Link(run, path, use) if way == "up" else Link(path, run, use)
            return
        for edge in self._catalogue.edges(path):
            if (edge.use == "input") == (way == "up") and self._has_room(edge.artifact):
                found = self._version(edge.artifact)
                if found is not None:
                    self.add_version(found, steps)
                else:
                    self.nodes.setdefault(
                        edge.artifact, Node("artifact", edge.artifact, edge.type, depth=steps, deleted=True)
                    )
                is_up = way == "up"
                yield (
                    edge.artifact,
                    Link(edge.artifact, path, "input") if is_up else Link(path, edge.artifact, "output"),
                )

    def _has_room(self, path: str) -> bool:
        if path in self.nodes or len(self.nodes) < self._limit:
            return True
        self.is_cut = True
        return False

    def _version(self, path: str) -> Version | None:
        name = parse_name(path)
        if name.entity is None or name.project is None:
            return None
        return self._catalogue.version(name.entity, name.project, name.name, name.which)

    def add_run(self, run: str, steps: int) -> str:
        self.nodes.setdefault(run, Node("run", run, depth=steps))
        return run

    def add_version(self, version: Version, steps: int) -> str:
        origin = version if version.source is None else self._version(version.source) or version
        self._versions[origin.path] = origin
        node = Node("artifact", origin.path, origin.type, origin.aliases, origin.size, steps)
        self.nodes.setdefault(origin.path, node)
        return origin.path
