"""`tracker.autolog` on a framework made for the purpose."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import _tracker_hook as hook
import tracker
from tracker.integrations import INTEGRATIONS, Integration, autologging, patching
from tracker.integrations.base import Session

FRAMEWORK = "class Model:\n    def fit(self): return 'fitted'\n\ndef train(): return 'trained'\n"


def autolog(module: ModuleType) -> None:
    """Patch the framework; the place of what stands in `tracker.integrations.<framework>`."""

    def around(original, *args, **kwargs):
        session = Session("somelearn")
        session.begin(config={"args": {"lr": 0.5}})
        found = original(*args, **kwargs)
        session.log({"loss": 1.0}, step=1)
        session.pause()
        return found

    patching.wrap(module.Model, "fit", around, "somelearn")
    patching.wrap(module, "train", around, "somelearn")


@pytest.fixture(autouse=True)
def _framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "somelearn.py").write_text(FRAMEWORK)
    monkeypatch.syspath_prepend(tmp_path)
    room = ModuleType("tracker.integrations.somelearn")
    room.autolog = autolog  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, room.__name__, room)
    monkeypatch.setitem(hook.AUTOLOG, "somelearn", "tracker.integrations.somelearn:autolog")
    one = Integration("somelearn", (), ">=1", "somelearn", 2, {}, {"somelearn": "autolog"})
    monkeypatch.setattr(autologging, "INTEGRATIONS", (*INTEGRATIONS, one))
    monkeypatch.setattr(sys, "meta_path", [hook.Finder, *(f for f in sys.meta_path if f is not hook.Finder)])
    yield
    sys.modules.pop("somelearn", None)


def test_what_is_imported_later_is_logged(only_run) -> None:
    tracker.autolog("somelearn")
    import somelearn

    assert tracker.run is None  # nothing is opened before a training
    assert somelearn.Model().fit() == "fitted"
    tracker.finish()
    assert (only_run().config["args"], only_run().summary["loss"]) == ({"lr": 0.5}, 1.0)


def test_what_was_imported_before_is_logged(only_run) -> None:
    import somelearn

    train = somelearn.train
    tracker.autolog("all")
    assert somelearn.train() == "trained"
    assert train is not somelearn.train
    tracker.finish()
    assert only_run().state == "finished"


def test_the_environment_is_overruled_and_patches_go(monkeypatch: pytest.MonkeyPatch, read) -> None:
    monkeypatch.setenv("TRACKER_AUTOLOG", "1")
    import somelearn

    patched = somelearn.Model.fit
    tracker.autolog(disable=True)
    assert somelearn.Model.fit is not patched
    assert (somelearn.Model().fit(), read()) == ("fitted", [])
    tracker.autolog("somelearn")
    assert (somelearn.Model().fit(), len(read())) == ("fitted", 1)


def test_a_module_that_is_loaded_again_is_patched_again(monkeypatch: pytest.MonkeyPatch, read) -> None:
    monkeypatch.setenv("TRACKER_AUTOLOG", "somelearn")
    import somelearn

    somelearn.train()
    importlib.reload(somelearn)
    somelearn.train()
    assert len(read()) == 2


def test_unknown_names_are_said_once_with_the_known_ones(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(tracker, "termwarn", lambda sentence, repeat=True: said.append(sentence), raising=False)
    tracker.autolog(["somelaern", "somelearn"])
    assert said == [f"autolog() was given 'somelaern', which is not known; there is: {', '.join(autologging.known())}."]
    assert patching.is_autologging("somelearn")


def test_what_is_kept_can_be_chosen(tmp_path: Path, only_run) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 100)
    tracker.autolog("somelearn", log_models=False, log_tables=False)
    session = Session("somelearn")
    session.begin()
    session.table("predictions", ["a"], [[1]], step=0)
    assert session.checkpoint(tmp_path / "weights", step=0) is None
    tracker.autolog(log_models=True, log_tables=True)
    session.table("predictions", ["a"], [[1]], step=1)
    assert session.checkpoint(tmp_path / "weights", step=1) is not None
    session.end()
    assert [row["_step"] for row in only_run().scan_history(keys=["predictions"])] == [1]
