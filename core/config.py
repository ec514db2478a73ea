"""The run's hyperparameters: nested, by attribute or by item, from whatever people keep them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from .errors import MissingFramework, UsageError
from .values import plain

Write = Callable[[dict[str, Any], list[list[str]]], None]


class Config(MutableMapping[str, Any]):
    """Hyperparameters; what is set is recorded at once.

    Args:
        write: Takes what was set (nested) and the paths that were removed.
        allow_val_change: Let a value be changed later on.

    Example:
        run.config.lr = 0.1
        run.config["optim"] = {"name": "adam"}
        run.config.optim.name
    """

    _write: Write | None
    _allow: bool
    _items: dict[str, Any]

    def __init__(self, write: Write | None = None, allow_val_change: bool = False) -> None:
        object.__setattr__(self, "_write", write)
        object.__setattr__(self, "_allow", allow_val_change)
        object.__setattr__(self, "_items", {})

    def preload(self, values: Mapping[str, Any]) -> None:
        """Take in what an earlier process has recorded already."""
        _merge(self._items, values)

    def update(self, *args: Any, allow_val_change: bool | None = None, **kwargs: Any) -> None:
        """Set several values; nested dicts are merged.

        Args:
            args: A dict, a namespace, a dataclass, the path of a file: see `from_any`.
            allow_val_change: Let known values be changed.
            kwargs: More values.

        Raises:
            UsageError: A known value would be changed, and that is not allowed.
        """
        values = {**(from_any(args[0]) if args else {}), **{key: plain(value) for key, value in kwargs.items()}}
        allow = self._allow if allow_val_change is None else allow_val_change
        new = _news(values, self._items, allow, "")
        if new:
            _merge(self._items, new)
            if self._write is not None:
                self._write(new, [])

    def setdefaults(self, values: Any) -> None:
        """Set what is not set yet."""
        self.update(_missing(from_any(values), self._items))

    def as_dict(self) -> dict[str, Any]:
        """Answer a plain, nested copy."""
        copy: dict[str, Any] = {}
        _merge(copy, self._items)
        return copy

    def __getitem__(self, key: str) -> Any:
        value = self._items[key]
        return _Branch(self, [key], value) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self._set([str(key)], value)

    def __delitem__(self, key: str) -> None:
        self._remove([key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            known = ", ".join(list(self._items)[:10]) or "nothing"
            raise AttributeError(f"the config has no {name!r}; it has {known}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return repr(self._items)

    def _set(self, path: list[str], value: Any) -> None:
        nested: Any = plain(value)
        place: Any = self._items
        for name in path[:-1]:
            place = place[name]
        known = place.get(path[-1])
        if known == nested and type(known) is type(nested):
            return
        if path[-1] in place and not self._allow:
            raise _changed(".".join(path), known, nested)
        place[path[-1]] = nested
        if self._write is None:
            return
        if isinstance(known, dict):  # replaced, not merged
            self._write({}, [path])
        for name in reversed(path):
            nested = {name: nested}
        self._write(nested, [])

    def _remove(self, path: list[str]) -> None:
        place: Any = self._items
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]
        if self._write is not None:
            self._write({}, [path])


class _Branch(dict[str, Any]):
    """A nested dict of a config: read as a dict, written through to the config."""

    def __init__(self, config: Config, path: list[str], values: dict[str, Any]) -> None:
        super().__init__(
            {
                key: _Branch(config, [*path, key], value) if isinstance(value, dict) else value
                for key, value in values.items()
            }
        )
        object.__setattr__(self, "_config", config)
        object.__setattr__(self, "_path", path)

    def __setitem__(self, key: str, value: Any) -> None:
        self._config._set([*self._path, str(key)], value)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._config._remove([*self._path, key])
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no {'.'.join([*self._path, name])!r}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def from_any(
    source: Any, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> dict[str, Any]:
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
    values = {str(key): plain(value) for key, value in _mapping(source).items()}
    if include:
        return {key: value for key, value in values.items() if key in set(include)}
    return {key: value for key, value in values.items() if key not in set(exclude or ())}


def _mapping(source: Any) -> Mapping[Any, Any]:
    if source is None:
        return {}
    if isinstance(source, Config):
        return source.as_dict()
    if type(source).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf  # loaded already: the source is one of its objects

        found = OmegaConf.to_container(source, resolve=True)
        return found if isinstance(found, dict) else {"config": found}
    if isinstance(source, Mapping):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _file(Path(source))
    if hasattr(source, "__dataclass_fields__") and not isinstance(source, type):
        return {name: getattr(source, name) for name in source.__dataclass_fields__}
    for method in ("model_dump", "to_dict", "flag_values_dict"):  # pydantic; transformers and its like; absl flags
        dump = getattr(source, method, None)
        if callable(dump) and not isinstance(source, type):
            found = dump()
            if isinstance(found, Mapping):
                return found
    if hasattr(source, "__dict__") and not isinstance(source, type):  # argparse.Namespace, SimpleNamespace
        return {key: value for key, value in vars(source).items() if not key.startswith("_")}
    if hasattr(type(source), "__attrs_attrs__"):
        return {field.name: getattr(source, field.name) for field in type(source).__attrs_attrs__}
    raise UsageError(
        f"the config is a {type(source).__name__}; give a dict, a namespace, a dataclass, or the path of a YAML file."
    )


def _file(path: Path) -> Mapping[Any, Any]:
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the config file {path} cannot be read: {error}.") from error
    try:
        if path.suffix == ".json":
            import json

            found = json.loads(text)
        elif path.suffix == ".toml":
            found = _toml().loads(text)
        else:
            found = _yaml().safe_load(text)
    except ValueError as error:
        raise UsageError(f"the config file {path} cannot be understood: {error}") from error
    if not isinstance(found, Mapping):
        raise UsageError(f"the config file {path} holds a {type(found).__name__}, not names with values.")
    return found


def _toml() -> Any:
    try:
        import tomllib
    except ImportError as error:
        raise MissingFramework("a TOML config needs Python 3.11 or newer; YAML and JSON work here.") from error
    return tomllib


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingFramework("a YAML config needs PyYAML. Install it with: pip install pyyaml") from error
    return yaml


def _news(values: Mapping[str, Any], known: Mapping[str, Any], allow: bool, prefix: str) -> dict[str, Any]:
    """Answer what differs from what is known; raise where a known value would change and may not."""
    new: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            new[key] = value
        elif isinstance(value, Mapping) and isinstance(known[key], Mapping):
            if inner := _news(value, known[key], allow, f"{prefix}{key}."):
                new[key] = inner
        elif value != known[key] or type(value) is not type(known[key]):
            if not allow and value == value:  # NaN differs from itself
                raise _changed(f"{prefix}{key}", known[key], value)
            new[key] = value
    return new


def _missing(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            found[key] = value
        elif isinstance(value, Mapping) and isinstance(known[key], Mapping):
            found[key] = _missing(value, known[key])
    return found


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping):
            place = target.get(key)
            if not isinstance(place, dict):
                place = target[key] = {}
            _merge(place, value)
        else:
            target[key] = value


def _changed(key: str, known: Any, new: Any) -> UsageError:
    return UsageError(
        f"the config value {key!r} is {known!r} and would become {new!r}. "
        "Allow that with init(allow_val_change=True) or config.update(..., allow_val_change=True)."
    )
