"""The installed packages with their versions, without running pip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def requirements() -> tuple[str, int]:
    """Answer the packages of this interpreter as pip's file of requirements, and how many there are.

    Names and versions stand in the names of their folders, so that hardly a file is opened. What was not installed
    from an index by its version says where it came from: a commit, a folder (as a comment: it is on this machine only).
    """
    lines = sorted(set(_lines()), key=lambda line: line.lstrip("# ").lower())
    return "".join(f"{line}\n" for line in lines), len(lines)


def _lines() -> Iterator[str]:
    from importlib import metadata

    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            name, version = _known(distribution)
            key = name.lower().replace("_", "-").replace(".", "-")
            if not name or not version or key in seen:  # the first one on the path is the one that is imported
                continue
            seen.add(key)
            yield _line(name.replace("_", "-"), version, _direct(distribution))
        except Exception:  # noqa: S112 - a broken package is nobody's business here
            continue


def _known(distribution: Any) -> tuple[str, str]:
    folder = str(getattr(distribution, "_path", "")).rstrip("/\\")
    stem, ending = os.path.splitext(os.path.basename(folder))
    name, sign, version = stem.partition("-")
    if ending == ".dist-info" and sign and name and version:
        return name, version
    return str(distribution.metadata["Name"] or ""), str(distribution.version or "")


def _direct(distribution: Any) -> dict[str, Any] | None:
    folder = getattr(distribution, "_path", None)
    if folder is not None and not os.path.exists(os.path.join(str(folder), "direct_url.json")):
        return None
    text = distribution.read_text("direct_url.json")
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else None


def _line(name: str, version: str, direct: dict[str, Any] | None) -> str:
    if direct is None:
        return f"{name}=={version}"
    from ..redaction import redact_url

    url = redact_url(str(direct.get("url", "")))
    control = direct.get("vcs_info")
    if isinstance(control, dict) and control.get("commit_id"):
        return f"{name} @ {control.get('vcs', 'git')}+{url}@{control['commit_id']}"
    if url.startswith("file:"):
        is_editable = isinstance(direct.get("dir_info"), dict) and direct["dir_info"].get("editable")
        return f"# {name}=={version} ({'editable, ' if is_editable else ''}{url})"
    return f"{name} @ {url}"


def conda_packages() -> str | None:
    """Answer the packages of the conda environment, one `name=version=build` a line; None where there is none."""
    prefix = os.environ.get("CONDA_PREFIX")
    if not prefix:
        return None
    try:
        names = sorted(os.listdir(Path(prefix) / "conda-meta"))
    except OSError:
        return None
    lines = []
    for name in names:
        parts = name.removesuffix(".json").rsplit("-", 2)
        if name.endswith(".json") and len(parts) == 3:
            lines.append("=".join(parts))
    return "".join(f"{line}\n" for line in lines) or None
