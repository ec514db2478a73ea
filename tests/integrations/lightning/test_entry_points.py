"""Lightning's own way to callbacks for every trainer: ours are there, and answer none unless they are asked for."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from tracker.integrations import lightning, patching

GROUPS = {
    "lightning.pytorch.callbacks_factory": lightning.lightning_callbacks,
    "pytorch_lightning.callbacks_factory": lightning.pytorch_lightning_callbacks,
    "lightning.fabric.callbacks_factory": lightning.fabric_callbacks,
    "lightning_fabric.callbacks_factory": lightning.lightning_fabric_callbacks,
}


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_ours(group: str) -> None:
    ours = [point for point in entry_points(group=group) if point.name == "tracker"]

    assert [point.load() for point in ours] == [GROUPS[group]]


@pytest.mark.parametrize("group", GROUPS)
def test_none_is_answered_unless_autologging_is_asked_for(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #22."""
    assert GROUPS[group]() == []
    monkeypatch.setenv("TRACKER_AUTOLOG", "xgboost")
    assert GROUPS[group]() == []
    monkeypatch.setenv("TRACKER_AUTOLOG", "1")
    assert len(GROUPS[group]()) == 1
    patching.ask(["lightning"], False)
    assert GROUPS[group]() == []
    patching.ask(["lightning"], True)
    monkeypatch.setenv("TRACKER_DISABLED", "1")
    assert GROUPS[group]() == []
