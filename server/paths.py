"""Run paths as clients spell them: `entity/project/id`, each part percent-encoded. Names are data, never paths."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

from ..core.errors import UsageError
from ..core.names import check_name
from ..core.paths import RunPath


def encode_path(parts: Sequence[str]) -> str:
    """Answer the parts as one text; as JavaScript's `encodeURIComponent` would, but for five harmless characters."""
    return "/".join(quote(part, safe="!'()*~") for part in parts)


def decode_path(text: str) -> RunPath:
    """Answer the run that a path names; decoded exactly once.

    Raises:
        UsageError: It is no run's path.
    """
    parts = text.split("/")
    if len(parts) != 3:
        raise UsageError(f"{text[:100]!r} is no run's path; it has three parts: entity/project/id.")
    return run_path(*(_decoded(part) for part in parts))


def decode_project(text: str) -> tuple[str, str]:
    """Answer entity and project that a path names.

    Raises:
        UsageError: It is no project's path.
    """
    parts = text.split("/")
    if len(parts) != 2:
        raise UsageError(f"{text[:100]!r} is no project's path; it has two parts: entity/project.")
    return check_name(_decoded(parts[0]), "entity"), check_name(_decoded(parts[1]), "project")


def run_path(entity: str, project: str, run_id: str) -> RunPath:
    """Answer the run of these names.

    Raises:
        UsageError: One of them cannot be a name.
    """
    return RunPath(check_name(entity, "entity"), check_name(project, "project"), check_name(run_id, "run id"))


def check_stream(stream: str) -> str:
    """Answer the id of a stream, or raise where it cannot be one.

    Raises:
        UsageError: It holds anything but letters, digits, `-`, `.` and `_`.
    """
    if (
        not 0 < len(stream) <= 100
        or not stream.isascii()
        or not stream.replace("-", "").replace(".", "").replace("_", "").isalnum()
    ):
        raise UsageError("the stream's id is not one that a journal has.")
    return stream


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise UsageError(f"{part[:100]!r} is not percent-encoded UTF-8.") from None
