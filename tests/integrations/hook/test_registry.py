"""The start-up hook's tables, and the registry of frameworks: one truth, written down twice."""

from __future__ import annotations

from importlib import import_module

import pytest

import _tracker_hook as hook
import tracker.integrations
from tracker.integrations import INTEGRATIONS


def test_the_hook_waits_for_what_the_registry_says() -> None:
    hooks = {module: target for each in INTEGRATIONS for module, target in each.hooks.items()}
    autolog = {module: target for each in INTEGRATIONS for module, target in each.autolog.items()}

    assert _whole(hooks) == hook.HOOKS
    assert _whole(autolog) == hook.AUTOLOG


@pytest.mark.parametrize("integration", INTEGRATIONS, ids=lambda each: each.name)
def test_what_the_hook_calls_is_there_without_the_framework(integration: tracker.integrations.Integration) -> None:
    room = import_module(f"tracker.integrations.{integration.name}")

    for name in (*integration.hooks.values(), *integration.autolog.values()):
        assert callable(getattr(room, name))


def _whole(table: dict[str, str]) -> dict[str, str]:
    """Answer the targets as the hook has them: module and function."""
    owners = {each.name: {*each.hooks.items(), *each.autolog.items()} for each in INTEGRATIONS}
    found = {}
    for module, function in table.items():
        owner = next(name for name, modules in owners.items() if (module, function) in modules)
        found[module] = f"tracker.integrations.{owner}:{function}"
    return found
