"""What people keep hyperparameters in, as plain nested dicts: namespaces, dataclasses, files, and the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import MissingFramework, UsageError
from .values import plain

_MAX_DEPTH = 32
_MAX_TEXT_CHARS = 100_000
# These have a `to_dict` as well, and it answers their data.
_TABLES = ("pandas", "polars", "pyarrow", "modin", "cudf", "dask", "xarray")


def from_any(source: Any, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None) -> dict[str, Any]:
    """Answer hyperparameters as a plain, nested dict, from whatever they are kept in.

    Args:
        source: A mapping, `argparse.Namespace`, dataclass, pydantic or attrs object, OmegaConf, absl flags, an object
            with `to_dict`, or the path of a YAML, JSON or TOML file; None for nothing.
        include: Keys to keep; all others are left out.
        exclude: Keys to leave out.

    Raises:
        UsageError: None of these, or both `include` and `exclude`.
        MissingFramework: A YAML file, and PyYAML is not installed.
    """
    if include and exclude:
        raise UsageError("config_include_keys and config_exclude_keys were both given; give one of them.")
    values = _mapping(source)
    wanted = _keys(include, "config_include_keys")
    unwanted = _keys(exclude, "config_exclude_keys")
    chosen = {
        key: value
        for key, value in values.items()
        if (str(key) in wanted if include else str(key) not in unwanted)
    }  # fmt: skip
    return unfolded(chosen)


def unfolded(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Answer plain data, with what holds named values (dataclasses, namespaces, ...) as dicts at any depth."""
    found: dict[str, Any] = plain(_unfold(values, _MAX_DEPTH, ()), limit=_MAX_TEXT_CHARS)
    return found


def defaults(paths: Sequence[str | os.PathLike[str]] | None = None) -> dict[str, Any]:
    """Answer the values of config files: those named, else `config-defaults.yaml` of this folder where it is there.

    Raises:
        UsageError: A file cannot be read or understood.
        MissingFramework: It is YAML, and PyYAML is not installed.
    """
    found: dict[str, Any] = {}
    for path in paths or (("config-defaults.yaml",) if os.path.exists("config-defaults.yaml") else ()):
        found.update(from_any(Path(path)))
    return found


def _keys(keys: Sequence[str] | None, what: str) -> set[str]:
    if isinstance(keys, str):
        raise UsageError(f"{what} is the text {keys!r}; give a list: [{keys!r}].")
    return {str(key) for key in keys or ()}


def _mapping(source: Any) -> Mapping[Any, Any]:
    if source is None:
        return {}
    if isinstance(source, (str, os.PathLike)):
        return _file(Path(source))
    values = _named_values(source)
    if values is not None:
        return values
    if hasattr(source, "__dict__") and not isinstance(source, type) and not callable(source):
        return {key: value for key, value in vars(source).items() if not key.startswith("_")}
    raise UsageError(
        f"the config is a {type(source).__name__}; give a dict, a namespace, a dataclass, or the path of a YAML file."
    )


def _unfold(value: Any, depth: int, above: tuple[int, ...]) -> Any:
    """Answer a value with dicts and lists in place of all that is like them; a circle is cut where it closes."""
    if value is None or isinstance(value, (bool, int, float, str, type)):
        return value
    if id(value) in above:
        return "<holds itself>"
    if depth <= 0:
        return "…"
    try:
        values = _named_values(value)
        if values is not None:
            inner = (*above, id(value))
            return {str(key): _unfold(item, depth - 1, inner) for key, item in values.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
            inner = (*above, id(value))
            return [_unfold(item, depth - 1, inner) for item in items]
    except Exception as error:  # an object's own methods may raise anything at all
        return f"<{type(value).__name__}: {type(error).__name__}>"
    return value


def _named_values(value: Any) -> Mapping[Any, Any] | None:
    """Answer the values an object holds by name, where it is of a kind made for that."""
    for kind in _kinds(value):
        found = kind()
        if isinstance(found, Mapping):
            return found
    return None


def _kinds(value: Any) -> Iterator[Callable[[], Any]]:
    """Walk the ways to ask an object for its values; nothing is imported for it."""
    module = type(value).__module__.partition(".")[0]
    if module == "omegaconf":
        yield lambda: _omegaconf(value)
    if isinstance(value, Mapping):
        yield lambda: value
    if isinstance(value, type) or module in _TABLES:
        return
    if hasattr(value, "__dataclass_fields__"):  # not dataclasses.asdict: it copies deeply, and not all can be copied
        yield lambda: {name: getattr(value, name) for name in value.__dataclass_fields__ if hasattr(value, name)}
    if hasattr(type(value), "__attrs_attrs__"):
        yield lambda: {one.name: getattr(value, one.name) for one in type(value).__attrs_attrs__}
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        yield lambda: vars(value)
    if hasattr(type(value), "model_fields"):  # pydantic
        yield lambda: {name: getattr(value, name) for name in type(value).model_fields}
    for name in ("flag_values_dict", "to_dict"):  # absl flags; transformers, ml_collections and their like
        if callable(getattr(value, name, None)):
            yield getattr(value, name)


def _omegaconf(value: Any) -> Any:
    omegaconf = sys.modules["omegaconf"].OmegaConf
    try:
        return omegaconf.to_container(value, resolve=True)
    except Exception:  # a value that is missing, or refers to what is not there: the text as written, then
        return omegaconf.to_container(value, resolve=False)


def _file(path: Path) -> Mapping[Any, Any]:
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} cannot be read: {error}.") from error
    kind = path.suffix.lower()
    try:
        found = _json(text) if kind == ".json" else _toml(text) if kind == ".toml" else _yaml(text)
    except ValueError as error:
        raise UsageError(f"the config file {path} cannot be understood: {error}") from error
    if not isinstance(found, Mapping):
        raise UsageError(f"the config file {path} holds a {type(found).__name__}, not names with values.")
    if found.get("wandb_version") is not None:  # W&B's own form: name: {desc: ..., value: ...}
        return {
            key: value.get("value") if isinstance(value, Mapping) else value
            for key, value in found.items()
            if key != "wandb_version"
        }
    return found


def _json(text: str) -> Any:
    import json  # only for such a file

    return json.loads(text)


def _toml(text: str) -> Any:
    try:
        import tomllib
    except ImportError as error:
        raise MissingFramework("a TOML config needs Python 3.11 or newer; YAML and JSON work here.") from error
    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingFramework("a YAML config needs PyYAML. Install it with: pip install pyyaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
