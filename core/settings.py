"""Every setting, and where its value comes from.

Arguments of `init` win over the environment, that over the project's file, that over the user's file, that over the
defaults. `docs/settings.md` is the table of it, `tracker status` shows the outcome.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .complaints import tell
from .errors import UsageError

MODES = ("online", "offline", "disabled")
_OLD_MODES = {"run": "online", "dryrun": "offline", "shared": "online"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")

# Fields whose variable is not TRACKER_<FIELD>; the names behind TRACKER_ are W&B's.
_VARIABLES = {
    "run_id": ("RUN_ID",),
    "group": ("RUN_GROUP", "GROUP"),
    "name": ("NAME", "RUN_NAME"),
    "job_type": ("JOB_TYPE",),
}
# Variables of W&B that are taken where ours are not set. Never its key or its address: nothing of ours goes there.
_FROM_WANDB = {
    "entity", "project", "name", "notes", "tags", "group", "job_type", "run_id", "mode", "resume", "silent", "quiet",
    "save_code", "resume_from", "fork_from",
}  # fmt: skip
_BOOLEANS = {"allow_val_change", "force", "save_code", "silent", "quiet"}
_NUMBERS = {"finish_stall_seconds", "finish_timeout"}
_LISTS = {"tags"}
_RENAMED = {"id": "run_id", "run_name": "name", "run_notes": "notes", "run_tags": "tags", "run_group": "group",
            "run_job_type": "job_type", "root_dir": "dir"}  # fmt: skip
_NOT_FROM_FILES = {"run_id", "resume_from", "fork_from"}


class Settings:
    """What can be set. None means: not set here, look further down.

    Args:
        entity, project, name, notes, tags, group, job_type: Who the run is.
        run_id: Its id.
        dir: The folder that keeps the runs.
        mode: "online", "offline" or "disabled".
        base_url: The server to send to; without one nothing is sent.
        api_key: The key for it.
        reinit, resume, resume_from, fork_from, allow_val_change, save_code, force: As in `init`.
        silent, quiet: Say nothing on the console.
        finish_stall_seconds: `finish()` returns this long after the server last acknowledged something.
        finish_timeout: Seconds after which `finish()` returns in any case.
    """

    entity: str | None = None
    project: str | None = None
    dir: str | os.PathLike[str] | None = None
    run_id: str | None = None
    name: str | None = None
    notes: str | None = None
    tags: Sequence[str] | None = None
    group: str | None = None
    job_type: str | None = None
    mode: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    reinit: bool | str | None = None
    resume: bool | str | None = None
    resume_from: str | None = None
    fork_from: str | None = None
    allow_val_change: bool | None = None
    save_code: bool | None = None
    force: bool | None = None
    silent: bool | None = None
    quiet: bool | None = None
    finish_stall_seconds: float | None = None
    finish_timeout: float | None = None

    def __init__(self, **given: Any) -> None:
        """Take settings by name; one that does not exist is said, never raised about."""
        for name, value in given.items():
            field_name = _RENAMED.get(name, name)
            if field_name in _NAMES:
                setattr(self, field_name, value)
            elif not name.startswith("x_"):  # W&B's own experiments
                tell(f"Settings has no field {name!r}; it has no effect.")

    def __repr__(self) -> str:
        shown = {name: "***" if name == "api_key" else value for name, value in self.given().items()}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def given(self) -> dict[str, Any]:
        """Answer the fields that are set."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}


_NAMES = tuple(Settings.__annotations__)
DEFAULTS: dict[str, Any] = {"mode": "online"}


class Resolved(Settings):
    """The settings in force, and where each came from.

    Args:
        sources: By field: "init()", "settings", the environment variable, the file, or "default".
    """

    sources: dict[str, str]

    def __init__(self, values: Mapping[str, Any], sources: dict[str, str]) -> None:
        super().__init__(**values)
        self.sources = sources


def resolve(
    arguments: Mapping[str, Any] | None = None, settings: Settings | Mapping[str, Any] | None = None
) -> Resolved:
    """Bring all sources together.

    Args:
        arguments: Those of `init`, by their names there; None means not given.
        settings: `init`'s `settings`.

    Raises:
        UsageError: A value cannot be what it is for; the message says where it came from.
    """
    values: dict[str, Any] = dict(DEFAULTS)
    sources = dict.fromkeys(values, "default")
    given = settings if isinstance(settings, Settings) else Settings(**(settings or {}))
    called = {_RENAMED.get(name, name): value for name, value in (arguments or {}).items() if value is not None}
    levels: list[tuple[str | None, Mapping[str, Any]]] = [
        *((str(path), _from_file(path)) for path in (user_file(), project_file()) if path is not None),
        (None, _from_environment()),
        ("settings", given.given()),
        ("init()", called),
    ]
    for source, level in levels:
        for name, value in level.items():
            if source is None:  # the environment: each value knows its variable
                value, where = value
            else:
                where = source
            if name in _NAMES:
                values[name] = _checked(name, value, where)
                sources[name] = where
    if os.environ.get("TRACKER_DISABLED", "").lower() not in _FALSE:
        values["mode"], sources["mode"] = "disabled", "TRACKER_DISABLED"
    if values.get("base_url"):
        values["base_url"] = str(values["base_url"]).rstrip("/")
    return Resolved(values, sources)


def variables(name: str) -> list[str]:
    """Answer the environment variables a field is read from, first one first."""
    suffixes = _VARIABLES.get(name, (name.upper(),))
    found = [f"TRACKER_{suffix}" for suffix in suffixes]
    return found + [f"WANDB_{suffix}" for suffix in suffixes] if name in _FROM_WANDB else found


def project_file() -> Path | None:
    """Answer the nearest `tracker.toml`, or `pyproject.toml` with a `[tool.tracker]`, at or above this folder."""
    try:
        here = Path.cwd()
    except OSError:  # removed under us
        return None
    for folder in (here, *here.parents):
        for name in ("tracker.toml", "pyproject.toml"):
            path = folder / name
            if path.is_file():
                if name == "tracker.toml" or b"[tool.tracker]" in path.read_bytes():
                    return path
                return None  # the project ends here
        if (folder / ".git").exists():
            return None
    return None


def user_file() -> Path | None:
    """Answer the user's settings file, if there is one: `TRACKER_CONFIG_DIR`, else the usual place."""
    chosen = os.environ.get("TRACKER_CONFIG_DIR")
    if chosen:
        path = Path(chosen) / "settings.toml"
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        if sys.platform == "darwin":
            base = os.path.expanduser("~/Library/Application Support")
        elif sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
        path = Path(base) / "tracker" / "settings.toml"
    return path if path.is_file() else None


def _from_environment() -> dict[str, tuple[str, str]]:
    found = {}
    for name in _NAMES:
        for variable in variables(name):
            value = os.environ.get(variable)
            if value:
                found[name] = (value, variable)
                break
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:
        tell(f"{path} is not read: that needs Python 3.11 or newer.")
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Mend it, or move it away.") from error
    if path.name == "pyproject.toml":
        table = table.get("tool", {}).get("tracker", {})
    known = {}
    for key, value in table.items():
        name = _RENAMED.get(key, key)
        if name not in _NAMES or name in _NOT_FROM_FILES:
            tell(f"{path} sets {key!r}, which is no setting of a file; it has no effect.")
        elif name == "dir" and isinstance(value, str):
            known[name] = str((path.parent / Path(value).expanduser()).absolute())
        else:
            known[name] = value
    return known


def _checked(name: str, value: Any, where: str) -> Any:
    if name == "mode":
        mode = _OLD_MODES.get(str(value), value)
        if mode not in MODES:
            raise UsageError(f"the mode is {value!r} ({where}); it can be {', '.join(map(repr, MODES))}.")
        return mode
    if name in _BOOLEANS and isinstance(value, str):
        if value.lower() in _TRUE + _FALSE:
            return value.lower() in _TRUE
        raise UsageError(f"{name} is {value!r} ({where}); it can be true or false.")
    if name in _NUMBERS:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(f"{name} is {value!r} ({where}); it is a number of seconds.") from None
        if not number >= 0:
            raise UsageError(f"{name} is {value!r} ({where}); it cannot be less than 0 seconds.")
        return number
    if name in _LISTS and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if name == "base_url" and not str(value).startswith(("http://", "https://")):
        raise UsageError(f"base_url is {value!r} ({where}); it begins with http:// or https://.")
    return value
