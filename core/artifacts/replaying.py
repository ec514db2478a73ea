"""Telling a server what was done by hand to versions here: links into registries, aliases, tags, descriptions.

A version is claimed on a server as it stands then. What is done to it here afterwards (by an offline run, on the command
line), and links of a run that was killed, are told by this, each once: a note is kept of what a server has been told.
What was undone meanwhile is not told at all, and nothing that is so already is done again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from ..paths import artifacts_folder
from ..wire import to_json
from . import ledger
from .catalogue import Catalogue, FolderCatalogue
from .ledger import Line
from .registry import link
from .version import LATEST, REGISTRY, Actor, Version, parse_name

_TOLD = ".told"


class Replay:
    """Tells a server what was done to the versions of a folder of runs.

    Methods raise `UsageError` where the server does not take it, `TransportError` where it does not answer; what was
    told so far stays told.

    Args:
        root: The folder.
        there: The server's catalogue.
        address: The server's address.
    """

    def __init__(self, root: Path, there: Catalogue, address: str) -> None:
        self._here = FolderCatalogue(artifacts_folder(root))
        self._there = there
        self._file = artifacts_folder(root) / _TOLD / quote(address, safe="")
        self._told = {text.strip(b'"').decode("ascii", "replace") for _, text in ledger.read_raw(self._file)[0]}

    def note(self, tokens: Iterable[str]) -> None:
        """Take note that the server knows of something."""
        new = [token for token in dict.fromkeys(tokens) if token not in self._told]
        if new:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            ledger.append(self._file, *new)
            self._told.update(new)

    def tell(self, here: Version, there: Version) -> int:
        """Tell what was done to a version, and into which registries it was linked.

        Args:
            here: The version in the folder.
            there: The same version as the server has it.

        Returns:
            How many changes the server has taken.
        """
        count = self._tell_changes(here, there)
        for each in self._links(here):
            count += self.tell_link(each, there)
        return count

    def tell_link(self, here: Version, source: Version) -> int:
        """Tell of a link.

        Args:
            here: The registry's version in the folder.
            source: What it stands for, as the server has it.

        Returns:
            How many changes the server has taken.
        """
        is_new = here.token not in self._told
        if not is_new and not self._untold(here):
            return 0
        found = self._there.versions(REGISTRY, here.project, here.name)
        linked = next((each for each in found if each.source == source.path), None)
        count = 0
        if is_new:
            names = [alias for alias in here.aliases if alias != LATEST]
            if linked is None or not set(names) <= set(linked.aliases):
                by = Actor(here.user, here.host, here.run)
                linked = link(self._there, source, here.project, here.name, names, by, here.token)
                count = 1
            self.note([here.token])
        return count if linked is None else count + self._tell_changes(here, linked)

    def untold_links(self, runs: Iterable[str] | None = None) -> list[Version]:
        """Answer the registries' versions that the server has not been told of.

        Args:
            runs: Only those that these runs have linked; None: all.
        """
        wanted = None if runs is None else set(runs)
        found = []
        for each in self._here.collections(REGISTRY):
            found += self._here.versions(each.entity, each.project, each.name)
        return [one for one in found if one.token not in self._told and (wanted is None or one.run in wanted)]

    def _links(self, here: Version) -> list[Version]:
        found = {}
        for event in self._here.history(here.entity, here.project, here.name):
            if event.action == "link" and event.version == here.version and event.name:
                name = parse_name(event.name)
                each = self._here.version(REGISTRY, str(name.project), name.name, name.which)
                if each is not None:
                    found[each.path] = each
        return list(found.values())

    def _untold(self, here: Version) -> list[Line]:
        return [line for line in self._here.by_hand(here) if line.token not in self._told]

    def _tell_changes(self, here: Version, there: Version) -> int:
        lines = self._untold(here)
        if not lines:
            return 0
        # What it was when it was claimed there may be old by now.
        now = self._there.version(there.entity, there.project, there.name, f"v{there.version}")
        count = 0
        if now is not None:
            for line in {(line.do, line.name, *_fields(line)): line for line in lines}.values():
                count += self._tell_change(line, here, now)
        self.note(str(line.token) for line in lines)
        return count

    def _tell_change(self, line: Line, here: Version, there: Version) -> int:
        """Have the server do what a line says, where that still holds here and does not hold there."""
        by, name = Actor(line.user, line.host, line.run), str(line.name)
        at = self._there
        if line.do == "alias" and name in here.aliases and name not in there.aliases:
            at.alias(there, name, by)
        elif line.do == "unalias" and name not in here.aliases and name in there.aliases and name != LATEST:
            at.unalias(there, name, by)
        elif line.do == "tag" and name in here.tags and name not in there.tags:
            at.tag(there, name, by)
        elif line.do == "untag" and name not in here.tags and name in there.tags:
            at.untag(there, name, by)
        elif line.do == "ttl" and here.ttl_days != there.ttl_days:
            at.ttl(there, here.ttl_days, by)
        elif line.do == "describe":
            new: dict[str, Any] = {}
            if "description" in _fields(line) and here.description != there.description:
                new["description"] = here.description
            if "metadata" in _fields(line) and _plain(here.metadata) != _plain(there.metadata):
                new["metadata"] = to_json(here.metadata)
            if not new:
                return 0
            at.describe(there, actor=by, **new)
        else:
            return 0
        return 1


def _fields(line: Line) -> list[str]:
    return sorted(line.value) if line.do == "describe" and isinstance(line.value, dict) else []


def _plain(metadata: dict[str, Any]) -> bytes:
    return msgspec.json.encode(to_json(metadata), order="sorted")
