"""The modules as a whole: each is there once, each can be imported, their examples run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

import pytest

import tracker

CHECKOUT = Path(__file__).parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None  # `torch_*.py` are only loaded by who has it


def _modules() -> list[str]:
    found = pkgutil.walk_packages(tracker.__path__, "tracker.", onerror=lambda name: None)
    rooms = ("tracker.core", "tracker.integrations", "tracker.server", "tracker.testing")
    # In an editable install the package is the repository's root, with tests and benchmarks in it.
    names = [module.name for module in found if module.name.startswith(rooms)]
    return [name for name in names if not name.endswith("__main__") and (HAS_TORCH or ".torch_" not in name)]


@pytest.mark.parametrize("name", _modules())
def test_the_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert failed == 0


def test_no_module_of_ours_is_loaded_under_a_second_name() -> None:
    """A second copy of the core would mean two writers, two threads and two exit hooks."""
    for name in _modules():
        importlib.import_module(name)

    roots = {Path(tracker.__path__[0]), CHECKOUT}
    rooms = [root / room for root in roots for room in ("core", "integrations", "server")]
    strangers = {
        name: module.__file__
        for name, module in list(sys.modules.items())
        if not name.startswith("tracker.")
        and getattr(module, "__file__", None)
        and any(Path(module.__file__ or "").is_relative_to(room) for room in rooms)
    }
    assert strangers == {}
