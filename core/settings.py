"""Every setting, and where its value comes from.

Arguments of `init` win over the environment, that over the project's file, that over the user's file, that over the
defaults. `docs/settings.md` is the table of it, `tracker status` shows the outcome.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import platforms
from .complaints import tell
from .errors import UsageError

MODES = ("online", "offline", "disabled")
_OLD_MODES = {"run": "online", "dryrun": "offline", "shared": "online"}
_CONSOLES = ("auto", "redirect", "wrap", "off")
_OLD_CONSOLES = {"wrap_raw": "wrap", "wrap_emu": "wrap"}
_RESUMES = ("allow", "must", "never", "auto")
_REINITS = ("default", "return_previous", "finish_previous", "create_new")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")

# Fields whose variable is not TRACKER_<FIELD> alone; the names behind TRACKER_ are W&B's.
_VARIABLES = {
    "group": ("RUN_GROUP", "GROUP"),
    "name": ("NAME", "RUN_NAME"),
    "x_disable_stats": ("X_DISABLE_STATS", "DISABLE_STATS"),
    "x_stats_sampling_interval": ("X_STATS_SAMPLING_INTERVAL", "STATS_SAMPLING_INTERVAL"),
    "x_label": ("X_LABEL", "LABEL"),
}
# Variables of W&B that are taken where ours are not set. Never its key or its address: nothing of ours goes there.
_FROM_WANDB = {
    "entity", "project", "dir", "name", "notes", "tags", "group", "job_type", "run_id", "mode", "resume", "silent",
    "quiet", "save_code", "resume_from", "fork_from", "console", "disable_code", "disable_git", "code_dir",
}  # fmt: skip
_TEXTS = {
    "entity", "project", "run_id", "name", "notes", "group", "job_type", "api_key", "resume_from", "fork_from", "x_label",
    "code_dir",
}  # fmt: skip
_BOOLEANS = {"allow_val_change", "force", "save_code", "silent", "quiet", "x_disable_stats", "disable_code", "disable_git",
             "disable_meta", "redact", "sync_tensorboard", "monitor_gym"}  # fmt: skip
_NUMBERS = {"finish_stall_seconds", "finish_timeout", "x_stats_sampling_interval"}
_OBSERVATIONS = ("gpu_idle", "gpu_lost", "gpu_memory", "thermal", "host_memory", "disk", "loss", "all")
_RENAMED = {"id": "run_id", "run_name": "name", "run_notes": "notes", "run_tags": "tags", "run_group": "group",
            "run_job_type": "job_type", "root_dir": "dir", "x_disable_meta": "disable_meta",
            "_disable_stats": "x_disable_stats", "disable_stats": "x_disable_stats",
            "_stats_sample_rate_seconds": "x_stats_sampling_interval",
            "_stats_sampling_interval": "x_stats_sampling_interval"}  # fmt: skip
# Of one run, not of a project; and keys are no thing to commit.
_NOT_FROM_FILES = {"run_id", "resume_from", "fork_from"}
_NOT_FROM_PROJECTS = {"api_key"}
# Arguments of `init` that are no settings.
_PASSED_OVER = {"config", "config_include_keys", "config_exclude_keys", "settings"}
# Fields of W&B's Settings that scripts set and that mean nothing here.
_WITHOUT_EFFECT = {
    "anonymous", "console_multipart", "disable_job_creation",
    "git_commit", "git_remote", "git_root", "heartbeat_seconds", "host", "http_proxy", "https_proxy", "ignore_globs",
    "init_timeout", "job_name", "label_disable", "login_timeout", "magic", "max_end_of_run_history_metrics",
    "max_end_of_run_summary_metrics", "organization", "program", "program_relpath", "relogin", "show_emoji",
    "show_errors", "show_info", "show_warnings", "start_method", "strict", "summary_errors", "summary_timeout",
    "summary_warnings", "sweep_id", "symlink", "table_raise_on_max_row_limit_exceeded", "username",
}  # fmt: skip
_told: set[str] = set()


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
        sync_tensorboard, monitor_gym: As in `init`.
        silent, quiet: Say nothing on the console.
        disable_code: Keep no code: no diff, no files, no script.
        disable_git: Do not ask git.
        disable_meta: Keep no facts of the machine, the interpreter and its packages.
        code_dir: A folder whose code is kept, as by `log_code`.
        redact: Mask secrets in what is captured, and in the config; true by default.
        finish_stall_seconds: `finish()` returns this long after the server last acknowledged something.
        finish_timeout: Seconds after which `finish()` returns in any case.
        x_disable_stats: Do not sample the machine.
        x_stats_sampling_interval: Seconds between samples.
        x_label: What this node is called in samples.
        x_primary, x_update_finish_state: False for a process that adds to a run which another one has begun, and ends.
        observations_off: Rules that are to leave no alerts; "all" for every one.
        console: What of the console is kept: "auto", "redirect", "wrap" or "off".
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
    sync_tensorboard: bool | None = None
    monitor_gym: bool | None = None
    silent: bool | None = None
    quiet: bool | None = None
    disable_code: bool | None = None
    disable_git: bool | None = None
    disable_meta: bool | None = None
    code_dir: str | os.PathLike[str] | None = None
    redact: bool | None = None
    finish_stall_seconds: float | None = None
    finish_timeout: float | None = None
    x_disable_stats: bool | None = None
    x_stats_sampling_interval: float | None = None
    x_label: str | None = None
    x_primary: bool | None = None
    x_update_finish_state: bool | None = None
    observations_off: Sequence[str] | None = None
    console: str | None = None

    def __init__(self, **given: Any) -> None:
        """Take settings by name; one that does not exist is said, never raised about."""
        for name, value in given.items():
            field_name = _RENAMED.get(name, name)
            if field_name in _NAMES:
                setattr(self, field_name, value)
            elif name.startswith("x_") or name in _WITHOUT_EFFECT:
                _tell_once(f"Settings was given {name!r}, which is W&B's; it has no effect here.", given.get("silent"))
            else:
                _tell_once(f"Settings has no field {name!r}; it has no effect.{_near(name)}", given.get("silent"))

    def __repr__(self) -> str:
        shown = {name: "***" if name == "api_key" else value for name, value in self.given().items()}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def given(self) -> dict[str, Any]:
        """Answer the fields that are set."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    @staticmethod
    def resolved(**given: Any) -> Resolved:
        """Answer what `init` would go by if it were called now, with these settings; nothing is begun.

        Raises:
            UsageError: A value cannot be what it is for.
        """
        return resolve(settings=given)


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
    if settings is not None and not isinstance(settings, (Settings, Mapping)):
        raise UsageError(
            f"settings is a {type(settings).__name__}; give tracker.Settings(...), or a dict of its fields."
        )
    given = settings if isinstance(settings, Settings) else Settings(**(settings or {}))
    called = {
        _RENAMED.get(name, name): value
        for name, value in (arguments or {}).items()
        if value is not None and name not in _PASSED_OVER
    }
    values: dict[str, Any] = dict(DEFAULTS)
    sources = dict.fromkeys(values, "default")

    def take(level: Iterable[tuple[str, Any, str]]) -> None:
        for name, value, where in level:
            if name in _NAMES:
                values[name] = _checked(name, value, where)
                sources[name] = where

    for path, is_project in ((user_file(), False), (project_file(), True)):
        if path is not None:
            take((name, value, str(path)) for name, value in _from_file(path, is_project).items())
    take(_from_environment())
    take((name, value, "settings") for name, value in given.given().items())
    take((name, value, "init()") for name, value in called.items())
    if not any(values.get(name) for name in ("run_id", "resume_from", "fork_from")) and values.get("resume") != "never":
        for name, value in platforms.defaults().items():
            if values.get(name) is None:
                values[name], sources[name] = value, platforms.SOURCE
    return Resolved(values, sources)


def variables(name: str) -> list[str]:
    """Answer the environment variables a field is read from, first one first."""
    suffixes = _VARIABLES.get(name, (name.upper(),))
    found = [f"TRACKER_{suffix}" for suffix in suffixes]
    return found + [f"WANDB_{suffix}" for suffix in suffixes] if name in _FROM_WANDB else found


def project_file() -> Path | None:
    """Answer the nearest `tracker.toml`, or `pyproject.toml` with a `[tool.tracker]`, at or above this folder.

    The search ends where a project does: at a `pyproject.toml` or a `.git`.
    """
    try:
        folder = os.getcwd()
    except OSError:  # removed under us
        return None
    while True:
        names = ("tracker.toml", "pyproject.toml", ".git")
        found = next((name for name in names if os.path.exists(os.path.join(folder, name))), None)
        if found == "pyproject.toml" and not _has_table(os.path.join(folder, found)):
            return None
        if found is not None:
            path = os.path.join(folder, found)
            return Path(path) if found != ".git" and os.path.isfile(path) and _is_ours(path) else None
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def user_file() -> Path | None:
    """Answer the user's settings file, if there is one: in `TRACKER_CONFIG_DIR`, else at the usual place."""
    path = os.path.join(config_root(), "settings.toml")
    return Path(path) if os.path.isfile(path) else None


def config_root() -> str:
    """Answer the folder of the user's settings: `TRACKER_CONFIG_DIR`, else where this system keeps such things."""
    chosen = os.environ.get("TRACKER_CONFIG_DIR")
    if chosen:
        return os.path.expanduser(chosen)
    # What platformdirs answers, without the import: this is asked at every start.
    base = os.environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    return os.path.join(base, "tracker")


def _has_table(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"[tool.tracker]" in file.read()
    except OSError:
        return False


def _is_ours(path: str) -> bool:
    """Answer whether the file may decide for us: in a folder like /tmp anybody may have put it there."""
    if not hasattr(os, "getuid"):
        return True
    try:
        folder, file = os.stat(os.path.dirname(path)), os.stat(path)
    except OSError:
        return False
    if not folder.st_mode & stat.S_IWOTH or file.st_uid in (os.getuid(), 0):
        return True
    _tell_once(f"{path} is not read: it is another user's, in a folder that all can write to.")
    return False


def _from_environment() -> Iterable[tuple[str, Any, str]]:
    for name in _NAMES:
        known = variables(name)
        if name == "mode":  # W&B's name for the one mode that has a variable of its own
            known = ["TRACKER_DISABLED", "TRACKER_MODE", "WANDB_MODE", "WANDB_DISABLED"]
        for variable in known:
            value: Any = os.environ.get(variable)
            if not value or not value.strip():
                continue
            if variable.endswith("_DISABLED"):
                if not _boolean(variable, value, variable):
                    continue
                value = "disabled"
            elif variable == "WANDB_DIR":  # a folder of its own in there, as W&B makes one
                value = os.path.join(value, "tracker")
            yield name, value, variable
            break


def _from_file(path: Path, is_project: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Mend it, or move it away.") from error
    parser = _toml()
    if parser is None:
        _tell_once(f"{path} is not read: that needs Python 3.11 or newer, or: pip install tomli")
        return {}
    try:
        table = parser.loads(text)
        if path.name == "pyproject.toml":
            table = table["tool"]["tracker"]
        items = dict(table).items()
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be understood: {error}. Mend it, or move it away.") from error
    known = {}
    for key, value in items:
        name = _RENAMED.get(key, key)
        if name not in _NAMES or name in _NOT_FROM_FILES:
            _tell_once(f"{path} sets {key!r}, which is no setting of a file; it has no effect.{_near(key)}")
        elif is_project and name in _NOT_FROM_PROJECTS:
            _tell_once(f"{path} sets {key!r}; keys do not belong into a project. Set {variables(name)[0]} instead.")
        elif name == "dir" and isinstance(value, str):
            known[name] = str((path.parent / Path(value).expanduser()).absolute())
        else:
            known[name] = value
    return known


def _toml() -> Any:
    try:
        import tomllib as parser
    except ImportError:
        try:
            import tomli as parser  # the same for Python 3.10
        except ImportError:
            return None
    return parser


def _checked(name: str, value: Any, where: str) -> Any:
    if name == "mode":
        return _mode(value, where)
    if name in _BOOLEANS:
        return _boolean(name, value, where)
    if name in _NUMBERS:
        return _seconds(name, value, where)
    if name == "tags":
        return _tags(name, value, where)
    if name == "observations_off":
        return _rules(value, where)
    if name in ("resume", "reinit"):
        return _choice(name, value, where)
    if name == "console":
        return _console(value, where)
    if name == "base_url":
        address = str(value).strip().rstrip("/")
        if not address.startswith(("http://", "https://")) or address.endswith("/"):
            raise UsageError(f"base_url is {value!r} ({where}); it begins with http:// or https://.")
        return address
    if name == "dir":
        if not isinstance(value, (str, os.PathLike)):
            raise UsageError(f"dir is {value!r} ({where}); give the path of a folder.")
        return os.fspath(value)
    if name in _TEXTS and not isinstance(value, str):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)  # a number makes a fine name
        shown = "a secret" if name == "api_key" else repr(value)
        raise UsageError(f"{name} is {shown}, a {type(value).__name__} ({where}); give a text.")
    return value


def _console(value: Any, where: str) -> str:
    mode = _OLD_CONSOLES.get(str(value), value)
    if mode not in _CONSOLES:
        raise UsageError(f"console is {value!r} ({where}); it can be {', '.join(map(repr, _CONSOLES))}.")
    return str(mode)


def _mode(value: Any, where: str) -> str:
    mode = _OLD_MODES.get(str(value), value)
    if mode not in MODES:
        raise UsageError(f"the mode is {value!r} ({where}); it can be {', '.join(map(repr, MODES))}.")
    if mode != value:
        _tell_once(f"the mode {value!r} ({where}) is W&B's; it is taken for {mode!r}.")
    return str(mode)


def _boolean(name: str, value: Any, where: str) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    text = str(value).strip().lower()
    if isinstance(value, str) and text in _TRUE + _FALSE:
        return text in _TRUE
    raise UsageError(f"{name} is {value!r} ({where}); it can be true or false.")


def _seconds(name: str, value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or number != number:
        raise UsageError(f"{name} is {value!r} ({where}); it is a number of seconds.")
    if number < 0:
        raise UsageError(f"{name} is {value!r} ({where}); it cannot be less than 0 seconds.")
    return number


def _tags(name: str, value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{name} is {value!r} ({where}); give a list of texts, or one text with commas.")
    return list(dict.fromkeys(text for tag in value if (text := str(tag).strip())))


def _rules(value: Any, where: str) -> list[str]:
    rules = _tags("observations_off", value, where)
    for rule in rules:
        if rule not in _OBSERVATIONS:
            raise UsageError(
                f"observations_off names {rule!r} ({where}); it can be {', '.join(map(repr, _OBSERVATIONS))}."
            )
    return rules


def _choice(name: str, value: Any, where: str) -> bool | str:
    choices = _RESUMES if name == "resume" else _REINITS
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text not in choices:
        raise UsageError(f"{name} is {value!r} ({where}); it can be {', '.join(map(repr, choices))}, True or False.")
    return text


def _near(name: str) -> str:
    from difflib import get_close_matches  # only where a name is wrong

    found = get_close_matches(name, [*_NAMES, *_RENAMED], 1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _tell_once(sentence: str, is_silent: Any = False) -> None:
    if sentence not in _told:
        _told.add(sentence)
        tell(sentence, is_silent=bool(is_silent))
