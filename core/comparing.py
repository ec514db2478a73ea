"""What two runs differ in: config, code, packages, machine and summary."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .capture.code import MANIFEST, REQUIREMENTS
from .capture.tree import DIFF
from .errors import TrackerError
from .journal.block import flatten
from .restoring import _git

if TYPE_CHECKING:
    from .query import Run

Pairs = dict[str, tuple[Any, Any]]
_MAX_TEXT_BYTES = 512 << 10  # of a file that is compared line by line
# Facts that are of one process, and tell nothing about a difference.
_OF_ONE = {"id", "entity", "project", "pid", "stream", "resumed", "forked_from", "preempting", "codePath", "color"}
_CODE = ("git", "args", "command", "program", "module", "cwd", "executable")
_IDS = ("job_id", "step_id", "job_start_time", "job_end_time", "array_job_id", "torchelastic_run_id", "master_port",
        "pod_name", "pod_uid", "run_id", "container.id", "submit_host")  # fmt: skip


@dataclass
class FileChange:
    """A file of code that differs.

    Args:
        name: Its path.
        what: "only in A", "only in B", or "differs".
        lines: The difference as unified diffs have it, from A to B; empty where it is no text, or not at hand.
    """

    name: str
    what: str
    lines: list[str] = field(default_factory=list)


@dataclass
class Comparison:
    """Two runs side by side; by key what A has and what B has, None where one has nothing.

    Args:
        command: Command line and interpreter.
        commits: commit, branch, remote.
        files: Code that differs.
        notes: What could not be compared.
    """

    config: Pairs = field(default_factory=dict)
    summary: Pairs = field(default_factory=dict)
    packages: Pairs = field(default_factory=dict)
    machine: Pairs = field(default_factory=dict)
    command: Pairs = field(default_factory=dict)
    commits: Pairs = field(default_factory=dict)
    files: list[FileChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the runs do not differ in anything that is looked at."""
        return not (
            self.config or self.summary or self.packages or self.machine or self.command or self.commits or self.files
        )


def compare(a: Run, b: Run, *, only_differing: bool = True) -> Comparison:
    """Compare two runs.

    Args:
        a: One run.
        b: The other; both as `Api` answers them.
        only_differing: Leave out what is the same in both.
    """
    found = Comparison()
    found.config = _pairs(dict(flatten(a.config)), dict(flatten(b.config)), only_differing)
    found.summary = _pairs(dict(a.summary), dict(b.summary), only_differing)
    facts = [run.metadata for run in (a, b)]
    machine = [_machine(known) for known in facts]
    found.machine = _pairs(machine[0], machine[1], only_differing)
    found.command = _pairs(_command(facts[0]), _command(facts[1]), only_differing)
    packages = [_packages(run) for run in (a, b)]
    if packages[0] is None or packages[1] is None:
        found.notes.append(_without("packages", a, b, packages))
    found.packages = _pairs(packages[0] or {}, packages[1] or {}, only_differing) if all(packages) else {}
    states = [_git_facts(known) for known in facts]
    found.commits = _pairs(states[0], states[1], only_differing)
    _compare_code(a, b, facts, found)
    return found


def delta(old: Any, new: Any) -> float | None:
    """Answer how much a number has grown; None where one is none."""
    if isinstance(old, bool) or isinstance(new, bool):
        return None
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        grown = new - old
        return float(grown) if math.isfinite(grown) else None
    return None


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any], only_differing: bool) -> Pairs:
    found: Pairs = {}
    for key in dict.fromkeys([*a, *b]):
        old, new = a.get(key), b.get(key)
        if not only_differing or not _is_same(old, new) or (key in a) != (key in b):
            found[key] = (old, new)
    return found


def _is_same(old: Any, new: Any) -> bool:
    return bool(old == new) or (isinstance(old, float) and isinstance(new, float) and old != old and new != new)


def _machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in facts.items() if name not in _OF_ONE and name not in _CODE}
    return {name: value for name, value in flatten(known) if not name.endswith(_IDS)}


def _command(facts: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("program", "module", "executable", "cwd"):
        if facts.get(name) is not None:
            found[name] = facts[name]
    arguments = facts.get("args")
    if isinstance(arguments, list):
        import shlex

        found["args"] = shlex.join(map(str, arguments))
    return found


def _git_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    git = facts.get("git")
    return (
        {name: git[name] for name in ("commit", "branch", "remote") if git.get(name)} if isinstance(git, dict) else {}
    )


def _packages(run: Run) -> dict[str, str] | None:
    data = _bytes(run, REQUIREMENTS)
    if data is None:
        return None
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        text = line.removeprefix("# ")
        sign = "==" if "==" in text else " @ "
        name, _, version = text.partition(sign)
        found[name.strip()] = version.strip()
    return found


def _bytes(run: Run, name: str) -> bytes | None:
    try:
        return next((file.read() for file in run.files([name])), None)
    except (TrackerError, OSError):
        return None


def _without(what: str, a: Run, b: Run, held: Sequence[Any]) -> str:
    names = " and ".join(run.path for run, known in zip((a, b), held, strict=True) if known is None)
    return f"no {what} were captured of {names}"


# --- code ---------------------------------------------------------------------------------


def _compare_code(a: Run, b: Run, facts: Sequence[Mapping[str, Any]], found: Comparison) -> None:
    """Compare what is known of each file: its content where both runs have kept it, else what their diffs say of it."""
    commits = [_git_facts(known).get("commit") for known in facts]
    is_same_base = commits[0] == commits[1]
    seen: set[str] = set()
    kept = [{file.name: file for file in run.files() if _is_code(file.name)} for run in (a, b)]
    for name in sorted({*kept[0], *kept[1]}):
        before, after = kept[0].get(name), kept[1].get(name)
        is_whole = before is not None and after is not None
        if _shown(name) in seen or not (is_whole or is_same_base or not all(commits)):
            continue  # not committed in one, perhaps committed in the other
        seen.add(_shown(name))
        if before is None or after is None or before.digest != after.digest:
            texts = [_text(file.read()) if file is not None else [] for file in (before, after)]
            lines = [] if texts[0] is None or texts[1] is None else list(_unified(texts[0], texts[1]))
            found.files.append(FileChange(_shown(name), _what(before, after), lines))
    patches = [_sections(_bytes(run, DIFF) or b"") for run in (a, b)]
    for name in sorted({*patches[0], *patches[1]} - seen):
        old, new = patches[0].get(name), patches[1].get(name)
        if old != new:
            lines = _changed(old, new) if is_same_base else list(_unified(old or [], new or []))
            found.files.append(FileChange(name, _what(old, new) if is_same_base else "uncommitted changes", lines))
    if not is_same_base and all(commits):
        _compare_commits(commits, facts, found, seen)
    for run, files in zip((a, b), kept, strict=True):
        if not files and not _git_facts(run.metadata):
            found.notes.append(f"no code was captured of {run.path}")


def _compare_commits(
    commits: Sequence[Any], facts: Sequence[Mapping[str, Any]], found: Comparison, seen: set[str]
) -> None:
    """Compare two commits in a repository that has both, where one is at hand."""
    places = [git.get("root") for known in facts if isinstance(git := known.get("git"), dict)]
    for place in (*places, os.getcwd()):
        if not isinstance(place, str) or not os.path.isdir(place):
            continue
        try:
            diff = _git(
                "-C", place, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames",
                "--ignore-submodules=dirty", str(commits[0]), str(commits[1]), "--",
            )  # fmt: skip
        except TrackerError:
            continue
        for name, lines in _sections(diff).items():
            if name not in seen:
                found.files.append(FileChange(name, "differs between the commits", _hunks_of(lines)))
        return
    found.notes.append("no repository here has both commits, so what was changed between them is not shown")


def _sections(diff: bytes) -> dict[str, list[str]]:
    """Cut a diff into the parts of its files: hunks, and what stands before them (modes, renames)."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in diff.decode("utf-8", "replace").split("\n"):
        if line.startswith("diff --git "):
            lines = found.setdefault(_path(line), [])
        elif not line.startswith("index "):
            lines.append(line)
    for lines in found.values():
        if lines and not lines[-1]:
            lines.pop()
    return found


def _path(head: str) -> str:
    """Answer the file of a line `diff --git a/x b/x`; of one that was renamed, its new name."""
    name = head.removeprefix("diff --git ")
    half = name[: len(name) // 2]
    if name == f"{half} b/{half.removeprefix('a/')}":
        return half.removeprefix("a/")
    return name.rpartition(" b/")[2]


def _changed(old: list[str] | None, new: list[str] | None) -> list[str]:
    """Answer how a file differs, from what two diffs from the same commit say of it."""
    if old is None:
        return _hunks_of(new or [])
    if new is None:
        return [_turned(line) for line in _hunks_of(old)]
    if [line for line in old if line.startswith("@@")] == [line for line in new if line.startswith("@@")]:
        return list(_unified(_after(old), _after(new)))
    return list(_unified(old, new))


def _hunks_of(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("--- ", "+++ "))]


def _turned(line: str) -> str:
    return {"+": "-", "-": "+"}.get(line[:1], line[:1]) + line[1:]


def _after(lines: list[str]) -> list[str]:
    return [line[1:] for line in _hunks_of(lines) if line[:1] in (" ", "+")]


def _unified(old: list[str], new: list[str]) -> Iterator[str]:
    lines = difflib.unified_diff(old, new, n=2, lineterm="")
    for line in lines:
        if not line.startswith(("--- ", "+++ ")):
            yield line


def _is_code(name: str) -> bool:
    return name.startswith("code/") and name not in (DIFF, MANIFEST)


def _shown(name: str) -> str:
    """Answer a file's own path, without where it lies among the run's files."""
    for prefix in ("code/untracked/", "code/files/", "code/script/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name.removeprefix("code/")


def _text(data: bytes) -> list[str] | None:
    if b"\0" in data or len(data) > _MAX_TEXT_BYTES:
        return None
    return data.decode("utf-8", "replace").splitlines()


def _what(old: object, new: object) -> str:
    return "only in B" if old is None else "only in A" if new is None else "differs"
