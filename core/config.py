"""The run's hyperparameters: nested, by attribute or by item, recorded as they are set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .complaints import tell
from .errors import UsageError
from .limits import MAX_CONTROL_BYTES
from .sources import from_any, unfolded
from .values import encodable

Write = Callable[[dict[str, Any], list[list[str]]], None]
_Path = tuple[str, ...]


class _Branch(dict[str, Any]):
    """A dict whose changes go through the config it belongs to.

    It is a real dict, so that `json.dumps(run.config)`, `Model(**run.config.model)` and `yaml.dump` work; a pickled or
    copied one is a plain dict.
    """

    __slots__ = ("_config", "_path")

    _config: Config
    _path: _Path

    def __init__(self, config: Config, path: _Path) -> None:
        super().__init__()
        object.__setattr__(self, "_config", config)
        object.__setattr__(self, "_path", path)

    def update(self, *args: Any, allow_val_change: bool | None = None, **kwargs: Any) -> None:
        """Set several values, as `dict.update` does: a nested dict takes the place of the one that was there.

        Args:
            args: A dict, a namespace, a dataclass, the path of a file: see `from_any`.
            allow_val_change: Let known values be changed; by default as `init` was told.
            kwargs: More values.

        Raises:
            UsageError: A known value would be changed, and that is not allowed. Nothing is changed then.
        """
        values: dict[str, Any] = {}
        for source in args:
            values.update(dict(source) if isinstance(source, (list, tuple)) else from_any(source))
        values.update(kwargs)
        self._config._change(self._path, values, allow_val_change)

    def setdefaults(self, values: Any) -> None:
        """Set what is not set yet, at any depth."""
        self._config._change(self._path, _under(self, from_any(values)), None)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Answer a value; set it first where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def as_dict(self) -> dict[str, Any]:
        """Answer a plain, nested copy."""
        return _plain_copy(self)

    def copy(self) -> dict[str, Any]:
        """Answer a plain, nested copy."""
        return _plain_copy(self)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and answer it."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return _plain_copy(value) if isinstance(value, dict) else value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last value; answer its key and it."""
        if not self:
            raise KeyError("the config is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all values."""
        self._config._remove(self._path, list(self))

    def __setitem__(self, key: str, value: Any) -> None:
        self._config._change(self._path, {key: value}, None)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._config._remove(self._path, [key])

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for what must not be there
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._without(name)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(self._without(name)) from None

    def __reduce__(self) -> Any:
        return dict, (_plain_copy(self),)

    def _without(self, name: str) -> str:
        from difflib import get_close_matches  # only for this message

        near = get_close_matches(name, list(self), 1)
        known = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(list(self)[:10]) or 'no values'}."
        return f"the config has no {'.'.join([*self._path, name])!r}. {known}"


class Config(_Branch):
    """Hyperparameters; what is set is recorded at once.

    Values are kept as plain data: numbers, texts, lists, dicts; a function, class or dtype as its name, anything else
    by its `repr`. A value changes only where `allow_val_change` says so; new ones can always be added.

    Args:
        write: Takes what was set (nested) and the paths that were removed.
        allow_val_change: Let a value be changed later on.

    Example:
        run.config.lr = 0.1
        run.config["optim"] = {"name": "adam"}
        run.config.optim.name
    """

    __slots__ = ("_allow", "_lock", "_write")

    _allow: bool
    _lock: threading.RLock
    _write: Write | None

    def __init__(self, write: Write | None = None, allow_val_change: bool = False) -> None:
        super().__init__(self, ())
        object.__setattr__(self, "_allow", allow_val_change)
        object.__setattr__(self, "_lock", threading.RLock())
        object.__setattr__(self, "_write", write)

    def preload(self, values: Mapping[str, Any]) -> None:
        """Take in what an earlier process has recorded already."""
        for key, value in values.items():
            _put(self, key, value)

    def _change(self, path: _Path, values: Mapping[Any, Any], allow: bool | None) -> None:
        new = {str(key): value for key, value in unfolded(dict(values)).items()}
        with self._lock:
            place: _Branch = self
            for depth, name in enumerate(path):
                below = place.get(name)
                if not isinstance(below, _Branch):  # the branch was taken away since the caller got it
                    for missing in reversed(path[depth:]):
                        new = {missing: new}
                    break
                place = below
            if not (self._allow if allow is None else allow):
                for key, value in new.items():
                    if key in place:
                        _check(place[key], value, (*place._path, key))
            kept: dict[str, Any] = {}
            removed: list[list[str]] = []
            for key, value in new.items():
                _compare(place, key, value, place._path, kept, removed)
                _put(place, key, value)
            self._record(place._path, kept, removed)

    def _remove(self, path: _Path, keys: Iterable[str]) -> None:
        with self._lock:
            place: Any = self
            for name in path:
                place = place.get(name) if isinstance(place, dict) else None
            gone = [key for key in keys if isinstance(place, dict) and key in place]
            for key in gone:
                dict.__delitem__(place, key)
            # What was a dict is an empty one now, and that has to be told: readers keep values, not dicts.
            is_left_empty = bool(gone and path and not place)
            self._record(path, {}, [[*path, key] for key in gone], is_told=is_left_empty)

    def _record(self, path: _Path, kept: dict[str, Any], removed: list[list[str]], is_told: bool = False) -> None:
        if self._write is None or not (kept or removed or is_told):
            return
        if kept or is_told:
            for name in reversed(path):
                kept = {name: kept}
        for part in _parts(kept):
            self._write(part, removed)
            removed = []
        if removed:
            self._write({}, removed)


def _put(place: _Branch, key: str, value: Any) -> None:
    """Set a value in memory only."""
    if not isinstance(value, Mapping):
        dict.__setitem__(place, key, value)
        return
    below = place.get(key)
    if isinstance(below, _Branch):  # kept, so that who holds it sees the change
        for name in [name for name in below if name not in value]:
            dict.__delitem__(below, name)
    else:
        below = _Branch(place._config, (*place._path, key))
        dict.__setitem__(place, key, below)
    for name, item in value.items():
        _put(below, str(name), item)


def _compare(
    known: Mapping[str, Any], key: str, new: Any, path: _Path, kept: dict[str, Any], removed: list[list[str]]
) -> None:
    """Tell in `kept` and `removed` what turns the known value of `key` into the new one."""
    old = known.get(key)
    if isinstance(old, dict) and isinstance(new, dict):
        removed += [[*path, key, name] for name in old if name not in new]
        below: dict[str, Any] = {}
        for name, value in new.items():
            _compare(old, name, value, (*path, key), below, removed)
        if below or (old and not new):
            kept[key] = below
    elif key not in known or type(old) is not type(new) or not _is_same(old, new):
        kept[key] = new


def _check(old: Any, new: Any, path: _Path) -> None:
    """Raise where a known value would change; new ones beside it are no change.

    Raises:
        UsageError: It would.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            if name not in new:
                raise _refused((*path, name), value, "be removed")
            _check(value, new[name], (*path, name))
    elif not _is_same(old, new):
        raise _refused(path, old, f"become {_short(new)}")


def _refused(path: _Path, old: Any, what: str) -> UsageError:
    return UsageError(
        f"the config value {'.'.join(path)!r} is {_short(old)} and would {what}. "
        "Allow that with init(allow_val_change=True) or config.update(..., allow_val_change=True)."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_is_same(value, new[key]) for key, value in old.items())
    return bool(old == new) or (old != old and new != new)  # NaN differs from itself


def _under(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the values with what is known laid over them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            found[key] = value
        elif isinstance(value, dict) and isinstance(known[key], dict):
            found[key] = {**_plain_copy(known[key]), **_under(known[key], value)}
    return found


def _plain_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain_copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _parts(values: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Cut values into pieces that each fit a record; a single one too large for that becomes a word about it."""
    if not values or _size(values) <= MAX_CONTROL_BYTES:
        return [values] if values else []
    found: list[dict[str, Any]] = []
    for key, value in values.items():
        if _size({key: value}) <= MAX_CONTROL_BYTES:
            if found and _size({**found[-1], key: value}) <= MAX_CONTROL_BYTES:
                found[-1][key] = value
            else:
                found.append({key: value})
        elif isinstance(value, dict):
            found += [{key: part} for part in _parts(value)]
        else:
            tell(
                f"the config value {key!r} is larger than {MAX_CONTROL_BYTES:,} bytes and is kept in this process only."
            )
            found.append({key: f"<{type(value).__name__} of {len(value):,}, too large to keep>"})
    return found


def _size(values: dict[str, Any]) -> int:
    return len(msgspec.msgpack.encode(encodable(values)))


__all__ = ["Config", "from_any"]
