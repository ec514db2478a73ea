"""The summary: automatic, asked for, set by hand, and the later one wins."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracker
from tracker.core.clock import Clock
from tracker.core.journal import Journal, StreamReader
from tracker.core.metrics import Definitions
from tracker.core.record import Kind, encode_control
from tracker.core.summary import Summary
from tracker.core.values import encodable, encode
from tracker.testing import read_runs


class Logged:
    """A summary over a journal of its own."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000
        self.journal = Journal(folder, Clock())
        self.definitions = Definitions()
        self.summary = Summary(StreamReader(self.journal.folder).tail, self.write, self.definitions)

    def log(self, **values: Any) -> None:
        self.now += 1
        self.journal.append(Kind.ROW, encode((self.now, self.now, encodable(values))))

    def write(self, kept: dict[str, Any], removed: list[Any]) -> None:
        self.now += 1
        self.journal.append(Kind.SUMMARY, encode_control(self.now, {"set": kept, "remove": removed}))


@pytest.fixture
def logged(tmp_path: Path) -> Any:
    """One with an empty journal."""
    made = Logged(tmp_path / "streams")
    yield made
    made.journal.close()


def test_the_last_value_of_each_key_and_what_was_asked_for(logged: Logged) -> None:
    """Also asked for after the rows were logged, and with values that are no numbers among them."""
    for value in (3, math.nan, 1.5, math.inf, 2):
        logged.log(loss=value, text="a", big=10**30)
    logged.log(text="b")

    assert dict(logged.summary) == {"loss": 2, "text": "b", "big": 10**30}
    logged.definitions.define("loss", summary="min,max,mean,first")
    logged.definitions.define("te*", summary="min,first")
    logged.definitions.define("big", summary="none")
    expected = {"loss": 2, "loss.min": 1.5, "loss.max": 3, "loss.mean": 6.5 / 3, "loss.first": 3, "text": "b"}
    assert logged.summary.as_dict() == pytest.approx(expected)


def test_it_is_read_by_item_attribute_and_dots(logged: Logged) -> None:
    """W&B's `summary["loss"]["min"]` as well."""
    logged.definitions.define("loss", summary="min")
    logged.log(loss=2.5, **{"n.x": 1, "n.y.z": 2})
    summary = logged.summary

    assert summary["loss"] == summary.loss == 2.5
    assert summary["loss"]["min"] == summary["loss.min"] == summary.loss.min == 2.5
    assert summary["loss"].get("max") is None and summary["loss"]["last"] == 2.5
    assert summary["n"] == {"x": 1, "y": {"z": 2}} and summary.n.y.z == 2
    assert "n" in summary and "loss.min" in summary and "m" not in summary
    assert summary.get("nothing", 1) == 1
    assert json.dumps(summary["loss"]) == "2.5"
    assert type(pickle.loads(pickle.dumps(summary["loss"]))) is float
    assert type(copy.deepcopy(summary["n"])) is dict
    with pytest.raises(AttributeError, match="Did you mean 'loss'"):
        summary.los
    with pytest.raises(KeyError):
        summary["los"]


def test_the_later_of_logged_and_set_wins(logged: Logged) -> None:
    """Whatever the order, and whether or not anybody looked in between."""
    logged.log(acc=0.5)
    logged.summary["acc"] = 0.9
    logged.summary.best = 7
    assert logged.summary["acc"] == 0.9
    logged.log(acc=0.6)
    assert dict(logged.summary) == {"acc": 0.6, "best": 7}
    logged.summary.update({"acc": 1, "best": {"epoch": 3}}, more=2)
    logged.log(other=1)

    assert dict(logged.summary) == {"acc": 1, "other": 1, "best": 7, "best.epoch": 3, "more": 2}
    assert not logged.summary._pending


def test_nested_values_are_set_and_taken_away_by_their_dots(logged: Logged) -> None:
    """A dict set anew takes the place of the one before; automatic values beside it stay."""
    summary = logged.summary
    logged.definitions.define("best", summary="min")
    logged.log(best=1.0)
    summary["best"] = {"acc": 1, "at": {"epoch": 3}}
    summary["best.acc"] = 2
    summary["best.at.epoch"] = 4

    assert dict(summary) == {"best": 1.0, "best.min": 1.0, "best.acc": 2, "best.at.epoch": 4}
    summary["best"] = {"acc": 5}
    assert dict(summary) == {"best": 1.0, "best.min": 1.0, "best.acc": 5}
    del summary["best.min"]
    assert dict(summary) == {"best": 1.0, "best.acc": 5}
    del summary["best"]
    assert dict(summary) == {}
    with pytest.raises(KeyError):
        del summary["best"]
    with pytest.raises(AttributeError):
        del summary.best


def test_a_view_writes_through(logged: Logged) -> None:
    """By item and by attribute, at any depth."""
    summary = logged.summary
    summary["test"] = {"acc": 1, "by": {"a": 1}}
    view = summary["test"]
    view["acc"] = 2
    view.by.a = 3
    view.update(new=4)
    del view["acc"]

    assert dict(summary) == {"test.by.a": 3, "test.new": 4}
    assert view == {"by": {"a": 3}, "new": 4}


def test_values_become_plain(logged: Logged) -> None:
    """As in the config."""
    import numpy as np

    logged.summary["a"] = np.float32(0.5)
    logged.summary["b"] = Path("/x")
    logged.summary["c"] = math.nan

    assert logged.summary["a"] == 0.5 and type(logged.summary["a"]) is float
    assert logged.summary["b"] == "/x"
    assert math.isnan(logged.summary["c"]) and not logged.summary._pending


def test_what_is_set_is_there_though_the_disk_refuses(tmp_path: Path) -> None:
    """It is in memory until it can be read back."""
    written: list[Any] = []
    summary = Summary(list, lambda kept, removed: written.append((kept, removed)), Definitions())
    summary["a"] = 1
    summary["b"] = 2
    del summary["a"]

    assert dict(summary) == {"b": 2}
    assert written == [({"a": 1}, []), ({"b": 2}, []), ({}, [["a"]])]


def test_what_earlier_processes_have_left_is_read_when_asked_for(tmp_path: Path) -> None:
    """Their rows, what was set by hand and what was defined; hidden rows do not count."""
    from tracker.core.resume import earlier

    with tracker.init(project="p", dir=tmp_path, id="r", settings={"silent": True}) as run:
        run.define_metric("loss", summary="min")
        for loss in (3.0, 2.0, 1.0):
            run.log({"loss": loss})
        run.summary["best"] = 7
    with tracker.init(project="p", dir=tmp_path, resume_from="r?_step=1", settings={"silent": True}) as run:
        fresh = Summary(StreamReader(run._journal.folder).tail, lambda *_: None, Definitions())
        fresh.begin_with(lambda: earlier(run.folder, run._journal.id))
        assert dict(fresh) == {"loss": 2.0, "loss.min": 2.0, "best": 7}
        run.log({"loss": 2.5})
        assert dict(fresh) == {"loss": 2.5, "loss.min": 2.0, "best": 7}

    assert read_runs(tmp_path)[0]["summary"] == {"loss": 2.5, "loss.min": 2.0, "best": 7}


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.sampled_from("ab"), st.sampled_from([0, 1.5, -2, math.nan, "x", True])),
        st.tuples(st.just("set"), st.sampled_from(["a", "a.min", "c"]), st.integers(0, 3)),
        st.tuples(st.just("del"), st.sampled_from(["a", "a.min", "c"]), st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
    ),
    max_size=12,
)


@given(_steps)
def test_readers_come_to_the_same(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """What the run says of itself while it runs is what is read from its journal afterwards."""
    root = tmp_path_factory.mktemp("runs")
    run = tracker.init(project="p", dir=root, settings={"silent": True}, reinit="create_new")
    run.define_metric("a", summary="min,mean")
    for kind, key, value in steps:
        if kind == "log":
            run.log({key: value})
        elif kind == "set":
            run.summary[key] = value
        elif kind == "del" and key in dict(run.summary) and "a.min" not in key:
            del run.summary[key]
        elif kind == "look":
            len(run.summary)
    own = run.summary.as_dict()
    run.finish()

    assert own == pytest.approx(read_runs(root)[0]["summary"], nan_ok=True)
