"""Putting our functions around a framework's, and taking them away again.

Whoever else patches the same function (mlflow, wandb) goes on working, whichever comes first: one of ours calls the one
that was there, once, and is marked. While autologging is off it does nothing but that.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

MARK = "__tracker_framework__"

_asked: dict[str, bool] = {}  # by framework, "" for all: what `tracker.autolog` was last told
options: dict[str, Any] = {}  # and its options: what to keep of every training
_patches: list[Patch] = []
_additions: list[Addition] = []


class Patch(NamedTuple):
    """One function of a framework's with ours around it.

    Args:
        owner: The module or class.
        name: Of the function in it.
        framework: Whose.
        ours: What stands there now.
        original: What stood there.
        is_lasting: It makes a name known, and stays when autologging is undone.
    """

    owner: Any
    name: str
    framework: str
    ours: Any
    original: Any
    is_lasting: bool = False

    def __str__(self) -> str:
        where = getattr(self.owner, "__name__", repr(self.owner))
        module = getattr(self.owner, "__module__", None)
        return f"{module + '.' if module else ''}{where}.{self.name}"


class Addition(NamedTuple):
    """Something of ours that a framework calls without standing in a function's place: a hook it offers.

    Args:
        framework: Whose.
        what: What it is, for people.
        undo: Takes it away.
    """

    framework: str
    what: str
    undo: Callable[[], object]

    def __str__(self) -> str:
        return self.what


def ask(frameworks: Iterable[str] | None, wanted: bool) -> None:
    """Turn autologging on or off, for some frameworks or (None) for all; this rules over the environment."""
    if frameworks is None:
        _asked.clear()
        _asked[""] = wanted
    else:
        for framework in frameworks:
            _asked[framework] = wanted


def is_autologging(framework: str) -> bool:
    """Answer whether trainings of a framework are to be logged without being told so in the script."""
    if _asked:
        found = _asked.get(framework, _asked.get(""))
        if found is not None:
            return found
    hook: Any = sys.modules.get("_tracker_hook")  # the one that reads TRACKER_AUTOLOG: it has to before we are loaded
    return hook is not None and bool(hook.is_listed(framework))


def wrap(
    owner: Any,
    name: str,
    around: Callable[..., Any],
    framework: str,
    *,
    always: bool = False,
    lasting: bool = False,
) -> None:
    """Put a function around `owner.name`; where ours is there already, nothing happens.

    Args:
        owner: A module or a class.
        name: Of a function in it; one that is not there (another version) is passed over.
        around: Called as `around(original, *args, **kwargs)`; calls `original` once, and lets what it raises pass.
        framework: Whose patch it is.
        always: Also while autologging is off: for what callbacks need that are given by hand.
        lasting: It makes a name known, and stays when autologging is undone; always, too.
    """
    original = vars(owner).get(name) if isinstance(owner, type) else getattr(owner, name, None)
    if original is None and isinstance(owner, type):
        original = getattr(owner, name, None)  # inherited
    known = next((patch for patch in _patches if patch.owner is owner and patch.name == name), None)
    if original is None or (known is not None and not _is_gone(known, original)):
        return
    if known is not None:
        _patches.remove(known)
    kind = type(original) if isinstance(original, (staticmethod, classmethod)) else None
    function = original.__func__ if kind else original

    @functools.wraps(function)
    def ours(*args: Any, **kwargs: Any) -> Any:
        if always or lasting or is_autologging(framework):
            return around(function, *args, **kwargs)
        return function(*args, **kwargs)

    setattr(ours, MARK, framework)
    put = kind(ours) if kind else ours
    setattr(owner, name, put)
    _patches.append(Patch(owner, name, framework, put, original, lasting))


def _is_gone(patch: Patch, function: Any) -> bool:
    """Answer whether our function stands there no more: somebody has put back what was, or the module was loaded anew."""
    beneath = patch.original
    while beneath is not None:  # another tracker has taken its own away, and with it what stood on top
        if function is beneath:
            return True
        beneath = getattr(beneath, "__wrapped__", None)
    is_own = isinstance(patch.owner, ModuleType) and getattr(function, "__globals__", None) is vars(patch.owner)
    return is_own and not hasattr(function, "__wrapped__")


def add(framework: str, what: str, register: Callable[[], Callable[[], object]]) -> None:
    """Register something of ours with a framework; where it is registered already, nothing happens.

    Args:
        framework: Whose.
        what: What it is, for people.
        register: Does it, and answers what takes it away again.
    """
    if not any((known.framework, known.what) == (framework, what) for known in _additions):
        _additions.append(Addition(framework, what, register()))


def unwrap(framework: str | None = None, *, lasting: bool = False) -> None:
    """Take our functions away again, where nobody has put another around them; there they pass everything through.

    Args:
        framework: Whose; all without it.
        lasting: Also those that only make a name known: `report_to="tracker"` works without autologging, too.
    """
    for patch in list(_patches):
        if framework not in (None, patch.framework) or (patch.is_lasting and not lasting):
            continue
        there = vars(patch.owner).get(patch.name)
        if there is patch.ours:
            setattr(patch.owner, patch.name, patch.original)
            _patches.remove(patch)
    for addition in list(_additions):
        if framework in (None, addition.framework):
            _additions.remove(addition)
            addition.undo()


def patched() -> list[Patch | Addition]:
    """Answer what of ours stands in frameworks now."""
    return [*_patches, *_additions]
