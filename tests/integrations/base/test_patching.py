"""Functions of ours around a framework's."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tracker.integrations.patching import add, ask, is_autologging, patched, unwrap, wrap


class Model:
    """A framework's."""

    def fit(self, x: int) -> int:
        """Fit."""
        return x

    @staticmethod
    def load(x: int) -> int:
        return x


def around(original: Any, *args: Any, **kwargs: Any) -> Any:
    return original(*args, **kwargs) + 1


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    unwrap()  # what the start-up hook has put into frameworks that other tests load
    fit, load = Model.__dict__["fit"], Model.__dict__["load"]
    yield
    unwrap()
    assert (Model.__dict__["fit"], Model.__dict__["load"]) == (fit, load)


def test_it_works_while_it_is_asked_for() -> None:
    wrap(Model, "fit", around, "some")
    wrap(Model, "fit", around, "some")
    wrap(Model, "load", around, "some")
    assert (Model().fit(1), Model.load(1)) == (1, 1)
    ask(["some"], True)
    assert (Model().fit(1), Model.load(1)) == (2, 2)
    assert (Model.fit.__name__, Model.fit.__doc__, Model.fit.__qualname__) == ("fit", "Fit.", "Model.fit")
    ask(None, False)
    assert Model().fit(1) == 1
    assert [str(patch).rpartition(".")[2] for patch in patched()] == ["fit", "load"]


def test_others_around_ours_stay_when_ours_goes() -> None:
    """8.5: patches compose."""
    ask(None, True)
    original = Model.fit
    wrap(Model, "fit", around, "some")
    ours = Model.fit

    @functools.wraps(ours)
    def theirs(self: Model, x: int) -> int:
        return ours(self, x) * 10

    Model.fit = theirs  # type: ignore[method-assign]
    assert Model().fit(1) == 20
    ask(None, False)
    unwrap()
    assert Model().fit(1) == 10  # ours passes through
    Model.fit = ours  # type: ignore[method-assign]
    unwrap()
    assert Model.fit is original


def test_what_is_registered_is_taken_away_with_the_patches() -> None:
    """Once, however often it is asked for; and again when it was taken away."""
    there: list[str] = []

    def register() -> Any:
        there.append("hook")
        return there.clear

    add("some", "a hook", register)
    add("some", "a hook", register)
    assert there == ["hook"]
    assert [str(one) for one in patched()] == ["a hook"]
    unwrap("other")
    assert there == ["hook"]
    unwrap("some")
    assert (there, patched()) == ([], [])
    add("some", "a hook", register)
    assert there == ["hook"]
    unwrap()


def test_a_name_stays_known_when_autologging_is_undone() -> None:
    wrap(Model, "fit", around, "some", lasting=True)
    wrap(Model, "load", around, "some", always=True)
    ask(None, False)
    assert Model.load(1) == 2
    unwrap()
    assert (Model().fit(1), Model.load(1)) == (2, 1)
    unwrap(lasting=True)
    assert Model().fit(1) == 1


def test_what_another_version_has_not_is_passed_over() -> None:
    wrap(Model, "transform", around, "some")

    assert patched() == []


@pytest.mark.parametrize(
    ("text", "some", "other"),
    [("1", True, True), ("", False, False), ("0", False, False), ("xgboost, some", True, False), ("all", True, True)],
)
def test_what_the_environment_asks_for(text: str, some: bool, other: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_AUTOLOG", text)
    assert (is_autologging("some"), is_autologging("other")) == (some, other)
    ask(["some"], not some)
    assert (is_autologging("some"), is_autologging("other")) == (not some, other)
