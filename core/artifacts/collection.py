"""One collection's folder: its version files, which never change, and its ledger, brought together.

What was read stays read: version files are looked at once, the ledger from where it was left.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..limits import MAX_VERSION_BYTES
from ..wire import from_json
from . import ledger
from .ledger import Line, Placed
from .version import LATEST, REVOKED, Collection, Draft, Event, Use, Version, check_draft, number_of


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a version's file holds.

    Args:
        draft: The version as it was claimed.
        token: See `Version`.
        ledger: Length of the ledger when it was claimed: what stands there happened before.
        user, host: Who claimed it.
    """

    draft: Draft
    token: str
    ledger: int = 0
    user: str | None = None
    host: str | None = None


_decoder = msgspec.json.Decoder(Claim)


@dataclass
class State:
    """A collection as it stands; never changed once made.

    Args:
        versions: By number, deleted ones too.
        holders: The number each alias points at; `revoked` has none here.
        events: What happened, oldest first, uses left out.
        next_number: Of the next version.
        damaged: Numbers whose files cannot be read.
        makers: By number: the runs that logged it, the first one first.
        tokens: By token, the number.
    """

    versions: dict[int, Version] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    next_number: int = 0
    damaged: frozenset[int] = frozenset()
    makers: dict[int, list[str]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    description: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def live(self) -> list[Version]:
        """The versions that are there, oldest first."""
        return [version for _, version in sorted(self.versions.items()) if not version.deleted]


class CollectionFolder:
    """Reads one collection.

    Args:
        folder: Where it lies; it need not be there.
        entity, project, name: What it is called.
    """

    def __init__(self, folder: Path, entity: str, project: str, name: str) -> None:
        self.folder = folder
        self.entity = entity
        self.project = project
        self.name = name
        self.ledger = folder / "ledger"
        self._lock = threading.Lock()
        self._forget(None)

    def _forget(self, mark: int | None) -> None:
        self._mark = mark
        self._claims: dict[int, Claim] = {}
        self._damaged: set[int] = set()
        self._moves: list[Placed] = []
        self._uses: dict[int, dict[str, Use]] = {}
        self._offset = 0
        self._highest_told = -1
        self._state = State()

    def state(self) -> State:
        """Answer the collection as it stands now."""
        with self._lock:
            return self._refresh()

    def uses(self, number: int) -> list[Use]:
        """Answer the runs that read a version, each once, in order."""
        with self._lock:
            self._refresh()
            return list(self._uses.get(number, {}).values())

    def by_hand(self) -> list[Line]:
        """Answer what was done by hand here, oldest first."""
        with self._lock:
            self._refresh()
            return [placed.line for placed in self._moves if placed.line.token is not None]

    def _refresh(self) -> State:
        try:
            mark = self.folder.stat().st_ino
            names = os.listdir(self.folder)
        except OSError:
            self._forget(None)
            return self._state
        if mark != self._mark:  # moved away, and another one in its place
            self._forget(mark)
        numbers = {number for name in names if (number := number_of(name)) is not None}
        reserved = {n for name in names if name.endswith(".taken") and (n := number_of(name[:-6])) is not None}
        new = sorted(numbers - self._claims.keys() - self._damaged)
        for number in new:
            claim = self._read(number)
            if claim is None:
                self._damaged.add(number)
            else:
                self._claims[number] = claim
        gone = (self._claims.keys() | self._damaged) - numbers
        for number in gone:  # somebody has tidied up by hand
            self._claims.pop(number, None)
            self._damaged.discard(number)
        if ledger.size(self.ledger) < self._offset:  # replaced by an older one
            self._moves, self._uses, self._offset = [], {}, 0
            gone = gone or {0}
        has_moved = self._read_ledger()
        if new or gone or has_moved:
            self._state = self._derive()
        top = max(max(numbers | reserved, default=-1), self._highest_told)
        self._state.next_number = top + 1
        return self._state

    def _read_ledger(self) -> bool:
        lines, self._offset = ledger.read(self.ledger, self._offset)
        has_moved = False
        for placed in lines:
            line = placed.line
            if line.v is not None and 0 <= line.v < 10**9:
                self._highest_told = max(self._highest_told, line.v)
            if line.do == "used":
                if line.v is not None and line.run:
                    use_as = line.value if isinstance(line.value, str) else None
                    use = Use(run=line.run, time_ns=line.t, use_as=use_as, user=line.user, host=line.host)
                    self._uses.setdefault(line.v, {}).setdefault(line.run, use)
            else:
                self._moves.append(placed)
                has_moved = True
        return has_moved

    def _read(self, number: int) -> Claim | None:
        try:
            with open(self.folder / f"v{number}", "rb") as file:
                data = file.read(MAX_VERSION_BYTES + 1)
            claim = _decoder.decode(data)
            metadata = from_json(claim.draft.metadata)
            draft = check_draft(
                msgspec.structs.replace(claim.draft, metadata=metadata if type(metadata) is dict else {})
            )
        except (OSError, ValueError, RecursionError):  # cut, or not of ours
            return None
        return msgspec.structs.replace(claim, draft=draft)

    def _derive(self) -> State:
        """Bring claims and ledger together, in the order in which they happened."""
        state = State(damaged=frozenset(self._damaged))
        known: dict[int, dict[str, Any]] = {}
        claims = sorted(self._claims.items(), key=lambda item: (item[1].ledger, item[0]))
        steps: list[tuple[int, int, int | Line]] = [(claim.ledger, 0, number) for number, claim in claims]
        steps += [(placed.offset, 1, placed.line) for placed in self._moves]
        for _, _, step in sorted(steps, key=lambda item: item[:2]):
            if isinstance(step, Line):
                self._apply(state, known, step)
            else:
                self._claimed(state, known, step)
        self._settle(state, known)
        return state

    def _claimed(self, state: State, known: dict[int, dict[str, Any]], number: int) -> None:
        claim = self._claims[number]
        draft = claim.draft
        known[number] = {
            "description": draft.description, "metadata": draft.metadata, "tags": list(draft.tags),
            "ttl_days": draft.ttl_days, "revoked": REVOKED in draft.aliases, "deleted": False,
        }  # fmt: skip
        state.tokens.setdefault(claim.token, number)
        state.makers[number] = [draft.run] if draft.run else []
        who: dict[str, Any] = {"user": claim.user, "host": claim.host, "run": draft.run}
        state.events.append(Event(time_ns=draft.created_ns, action="version", version=number, name=draft.source, **who))
        for alias in dict.fromkeys((*draft.aliases, LATEST)):
            if alias == REVOKED:
                continue
            before = state.holders.get(alias)
            state.holders[alias] = number
            if alias != LATEST:
                state.events.append(
                    Event(time_ns=draft.created_ns, action="alias", version=number, name=alias, previous=before, **who)
                )

    def _apply(self, state: State, known: dict[int, dict[str, Any]], line: Line) -> None:
        if line.do == "collection" and isinstance(line.value, dict):
            text, tags = line.value.get("description"), line.value.get("tags")
            state.description = text if isinstance(text, str) or "description" in line.value else state.description
            if isinstance(tags, list):
                state.tags = tuple(str(tag) for tag in tags)
            return
        facts = known.get(line.v) if line.v is not None else None
        if facts is None or line.v is None:
            return
        previous = None
        if line.do in ("alias", "unalias") and line.name == REVOKED:
            facts["revoked"] = line.do == "alias"
        elif line.do == "alias" and line.name and not facts["deleted"]:
            previous = state.holders.get(line.name)
            state.holders[line.name] = line.v
        elif line.do == "unalias" and line.name:
            if state.holders.get(line.name) == line.v:
                del state.holders[line.name]
        elif line.do == "tag" and line.name and line.name not in facts["tags"]:
            facts["tags"].append(line.name)
        elif line.do == "untag" and line.name in facts["tags"]:
            facts["tags"].remove(line.name)
        elif line.do == "describe" and isinstance(line.value, dict):
            text, metadata = line.value.get("description"), _readable(line.value.get("metadata"))
            if isinstance(text, str) or (text is None and "description" in line.value):
                facts["description"] = text
            if isinstance(metadata, dict):
                facts["metadata"] = metadata
        elif line.do == "ttl":
            is_number = isinstance(line.value, (int, float)) and not isinstance(line.value, bool)
            facts["ttl_days"] = float(line.value) if is_number else None
        elif line.do == "delete":
            facts["deleted"] = True
            for alias in [alias for alias, number in state.holders.items() if number == line.v]:
                del state.holders[alias]
        elif line.do == "logged" and line.run and line.run not in state.makers[line.v]:
            state.makers[line.v].append(line.run)
        state.events.append(
            Event(
                time_ns=line.t,
                action=line.do,
                version=line.v,
                name=line.name,
                previous=previous,
                user=line.user,
                host=line.host,
                run=line.run,
            )
        )

    def _settle(self, state: State, known: dict[int, dict[str, Any]]) -> None:
        live = [number for number, facts in known.items() if not facts["deleted"]]
        if LATEST not in state.holders and live:
            state.holders[LATEST] = max(live)
        by_number: dict[int, list[str]] = {}
        for alias, number in state.holders.items():
            by_number.setdefault(number, []).append(alias)
        for number, facts in known.items():
            claim = self._claims[number]
            draft = claim.draft
            held = sorted(by_number.get(number, []), key=lambda alias: (alias == LATEST, alias))
            state.versions[number] = Version(
                entity=self.entity, project=self.project, name=self.name, type=draft.type,
                digest=draft.digest, manifest=draft.manifest, size=draft.size, files=draft.files,
                description=facts["description"], metadata=facts["metadata"],
                aliases=(*held, REVOKED) if facts["revoked"] else tuple(held), tags=tuple(facts["tags"]),
                created_ns=draft.created_ns, run=draft.run, ttl_days=facts["ttl_days"], source=draft.source,
                version=number, token=claim.token, user=claim.user, host=claim.host, deleted=facts["deleted"],
            )  # fmt: skip

    def summary(self) -> Collection | None:
        """Answer the collection as lists show it; None where it has no version, and never had one."""
        state = self.state()
        if not state.versions:
            return None
        live = state.live
        every = [version for _, version in sorted(state.versions.items())]
        return Collection(
            entity=self.entity, project=self.project, name=self.name, type=every[0].type, versions=len(live),
            latest=state.holders.get(LATEST), aliases=dict(sorted(state.holders.items())),
            description=state.description, tags=state.tags, created_ns=every[0].created_ns,
            updated_ns=max(version.created_ns for version in every), size=sum(version.size for version in live),
        )  # fmt: skip


def _readable(value: Any) -> Any:
    try:
        return from_json(value)
    except (ValueError, TypeError, RecursionError):  # not of ours
        return None
