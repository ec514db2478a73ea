"""The metadata store: what the control records of a run add up to, and how its state is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.errors import UsageError
from tracker.core.history import patch
from tracker.core.journal import Entry
from tracker.core.paths import RunPath
from tracker.core.record import Control, Kind
from tracker.server.stores import RunDetail, Stores

from .reference import RUN, START_NS, control, entries_of, rows_of

SECOND = 10**9
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def begin(stores: Stores, path: RunPath = RUN, stream: str = "s", at: int = 0, **fields: Any) -> None:
    """Begin a stream as `init` does."""
    body = {"id": path.id, "pid": 77, "host": "here", **fields}
    stores.metadata.apply(path, stream, [Control(Kind.RUN, 1, START_NS + at * SECOND, body)])


def detail(stores: Stores, path: RunPath = RUN, at: float = 1) -> RunDetail:
    """Answer the run some seconds after it began."""
    found = stores.metadata.run(path, now_ns=START_NS + int(at * SECOND))
    assert found is not None
    return found


leaf = st.one_of(st.integers(0, 3), st.none(), st.just({}))
nested = st.dictionaries(
    st.sampled_from("ab"),
    st.one_of(leaf, st.dictionaries(st.sampled_from("ab"), st.one_of(leaf, st.dictionaries(st.just("a"), leaf)))),
    max_size=2,
)
patches = st.lists(
    st.tuples(nested, st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=3), max_size=2)), max_size=6
)


@FEW
@given(patches=patches, data=st.data())
def test_config_patches_apply_by_time_whatever_the_order_of_arrival(
    new_stores: Callable[[], Stores], patches: Sequence[Any], data: st.DataObject
) -> None:
    """Patches of several streams add up as if they had come in order of time."""
    stores = new_stores()
    expected: dict[str, Any] = {}
    told = []
    for index, (values, removed) in enumerate(patches):
        body = {"set": values, "remove": removed}
        told.append((f"stream-{index}", Control(Kind.CONFIG, 1, START_NS + index, body)))
        patch(expected, _copy(body))
    begin(stores)
    for stream, record in data.draw(st.permutations(told)):
        stores.metadata.apply(RUN, stream, [record])

    assert expected == detail(stores).run.config


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_values_are_kept_exactly(stores: Stores) -> None:
    """NaN, infinities, big integers and nested lists in config and summary come back as they are."""
    begin(stores)
    values = {"inf": math.inf, "big": 10**40, "list": [1, {"a": [None, True]}], "text": "\u00e4", "negative": -(2**64)}
    for seq, kind in ((2, Kind.CONFIG), (3, Kind.SUMMARY)):
        stores.metadata.apply(RUN, "s", [control(kind, seq, {"set": {**values, "nan": math.nan}, "remove": []})])
    run = detail(stores).run
    for told in (dict(run.config), dict(run.summary)):
        assert math.isnan(told.pop("nan"))
        assert values == told


def test_the_summary_puts_rows_and_hand_together(stores: Stores) -> None:
    """Each key has its last value; what was set by hand holds until the metric is logged again."""
    begin(stores)
    entries: list[Entry] = [
        *entries_of(rows_of(range(3), [{"loss": 3.0, "acc": 0.1}, {"loss": 1.0}, {"loss": 2.0}], first_seq=2)),
        control(
            Kind.METRIC, 5, {"name": "lo*", "summary": ["min", "max", "mean", "first", "best"], "goal": "minimize"}
        ),
        control(Kind.SUMMARY, 6, {"set": {"acc": 0.9, "note": "good"}, "remove": []}),
        control(Kind.SUMMARY, 7, {"set": {"loss": -1.0}, "remove": [["note"]]}),
        *entries_of(rows_of([3], [{"loss": 2.5}], first_seq=8)),
    ]
    stores.metrics.append(RUN, "s", [control(Kind.RUN, 1), *entries])
    stores.metadata.apply(RUN, "s", entries)

    assert detail(stores).run.summary == {
        "loss": 2.5,
        "loss.min": 1.0,
        "loss.max": 3.0,
        "loss.mean": 2.125,
        "loss.first": 3.0,
        "loss.best": 1.0,
        "acc": 0.9,
    }


def test_a_run_without_a_word_for_45_seconds_has_crashed(stores: Stores) -> None:
    """Silence makes a run crashed, a heartbeat makes it running again."""
    begin(stores)
    assert detail(stores, at=44).run.state == "running"
    assert detail(stores, at=46).run.state == "crashed"
    stores.metadata.apply(RUN, "s", [Control(Kind.HEARTBEAT, 2, START_NS + 60 * SECOND, {})])

    assert detail(stores, at=61).run.state == "running"
    assert detail(stores, at=61).run.ended_ns is None


def test_a_writer_that_is_gone_has_crashed_at_once(stores: Stores) -> None:
    """The watcher's word counts until the stream is heard again."""
    begin(stores)
    assert [(path, stream.id) for path, stream in stores.metadata.live()] == [(RUN, "s")]
    stores.metadata.writer_gone(RUN, "s")
    assert stores.metadata.live() == []
    assert detail(stores).run.state == "crashed"
    stores.metadata.apply(RUN, "s", [control(Kind.HEARTBEAT, 2)])

    assert detail(stores).run.state == "running"


def test_a_clock_that_is_behind_does_not_kill_a_run(stores: Stores) -> None:
    """Records that come over the network show that the writer lives, whatever its clock says."""
    body = {"id": "r1", "pid": 1, "host": "far"}
    hour = 3600 * SECOND
    stores.metadata.apply(RUN, "s", [Control(Kind.RUN, 1, START_NS, body)], arrived_ns=START_NS + hour)

    assert detail(stores, at=3600 + 10).run.state == "running"
    assert detail(stores, at=3600 + 50).run.state == "crashed"


@pytest.mark.parametrize("state", ["finished", "failed", "killed", "preempted"])
def test_the_exit_record_tells_the_state(stores: Stores, state: str) -> None:
    """A run that said goodbye has ended as it said, then."""
    begin(stores)
    stores.metadata.apply(RUN, "s", [control(Kind.EXIT, 2, {"state": state, "exit_code": 3})])
    found = detail(stores, at=1000)

    assert (state, START_NS + 2000) == (found.run.state, found.run.ended_ns)
    assert found.exit == {"state": state, "exit_code": 3, "time_ns": START_NS + 2000}


def test_a_resumed_run_runs_again(stores: Stores) -> None:
    """A later process makes a finished run running again, and its end is the run's end."""
    begin(stores)
    stores.metadata.apply(RUN, "s", [control(Kind.EXIT, 2, {"state": "failed"})])
    begin(stores, stream="t", at=100)
    assert detail(stores, at=101).run.state == "running"
    stores.metadata.apply(RUN, "t", [Control(Kind.EXIT, 2, START_NS + 102 * SECOND, {"state": "finished"})])

    assert detail(stores, at=200).run.state == "finished"
    assert detail(stores, at=200).run.created_ns == START_NS


def test_the_end_of_a_forked_child_is_not_the_runs(stores: Stores) -> None:
    """Only the main stream's EXIT ends the run."""
    begin(stores)
    begin(stores, stream="s.78-abcd", at=1)
    stores.metadata.apply(RUN, "s.78-abcd", [control(Kind.EXIT, 2, {"state": "failed"})])

    assert detail(stores, at=2).run.state == "running"


def test_edits_are_records(stores: Stores) -> None:
    """What a user changes holds against what the run said before, and yields to what it says later."""
    begin(stores, name="quiet-heron", tags=["a"], notes="x", group="g")
    stores.metadata.apply(RUN, "s", [control(Kind.CONFIG, 2, {"set": {"m": {"lr": 1, "d": 2}}, "remove": []})])
    changes = {"name": "mine", "tags": ["b", "c"], "group": None, "config": {"m": {"lr": 3}}, "summary": {"best": 1}}
    assert stores.metadata.edit(RUN, changes, time_ns=START_NS + SECOND)
    run = detail(stores, at=2).run
    assert (run.name, run.tags, run.group, run.notes) == ("mine", ["b", "c"], None, "x")
    assert (run.config, run.summary) == ({"m": {"lr": 3, "d": 2}}, {"best": 1})
    stores.metadata.apply(RUN, "s", [Control(Kind.RUN, 3, START_NS + 2 * SECOND, {"name": "theirs"})])

    assert detail(stores, at=2).run.name == "theirs"
    assert detail(stores, at=2).run.state == "running"
    assert not stores.metadata.edit(RunPath("local", "digits", "none"), {"name": "x"})
    with pytest.raises(UsageError, match="state"):
        stores.metadata.edit(RUN, {"state": "finished"})


def test_the_trash_is_another_list(stores: Stores) -> None:
    """A run in the trash is in no list but the trash's, and comes back as it was."""
    begin(stores)
    assert stores.metadata.set_trashed(RUN, True)
    assert stores.metadata.runs().total == 0
    assert stores.metadata.projects() == []
    assert [run.path for run in stores.metadata.runs(trash=True).runs] == [RUN]
    assert detail(stores).trashed
    stores.metadata.set_trashed(RUN, False)

    assert stores.metadata.runs().total == 1
    assert not stores.metadata.set_trashed(RunPath("local", "digits", "none"), True)


def test_alerts_definitions_and_losses_are_told(stores: Stores) -> None:
    """A run's page has its alerts, its metric definitions and how much was lost, each once."""
    begin(stores)
    records: list[Entry] = [
        control(Kind.ALERT, 2, {"title": "hot", "text": "90 C", "level": "WARN"}),
        control(Kind.METRIC, 3, {"name": "loss", "step_metric": "epoch"}),
        control(Kind.METRIC, 4, {"name": "loss", "step_metric": "tokens"}),
        control(Kind.LOST, 5, {"count": 12, "reason": "full"}),
    ]
    for _ in range(2):
        stores.metadata.apply(RUN, "s", records)
    found = detail(stores)

    assert found.alerts == [{"title": "hot", "text": "90 C", "level": "WARN", "time_ns": START_NS + 2000}]
    assert found.metrics == [{"name": "loss", "step_metric": "tokens"}]
    assert found.lost == 12


def test_projects_and_their_metrics(stores: Stores) -> None:
    """A project counts its runs by state and knows the keys they logged, with the axis asked for."""
    for number in range(3):
        path = RunPath("local", "digits", f"r{number}")
        begin(stores, path)
        stores.metrics.append(path, "s", [control(Kind.RUN, 1), *entries_of(rows_of([number], [{"loss": 1.0}], 2))])
    stores.metadata.apply(RUN, "s", [control(Kind.METRIC, 2, {"name": "*", "step_metric": "epoch"})])
    stores.metadata.apply(RUN, "s", [control(Kind.EXIT, 3, {"state": "finished"})])
    (project,) = stores.metadata.projects(now_ns=START_NS + SECOND)
    (metric,) = stores.metadata.project_metrics("local", "digits")

    assert (project.runs, project.states) == (3, {"running": 2, "finished": 1})
    assert (metric.key, metric.runs, metric.points, metric.numeric, metric.last_step, metric.x) == (
        "loss", 3, 3, True, 2, "epoch",
    )  # fmt: skip
    assert not metric.hidden
    stores.metadata.apply(RUN, "s", [control(Kind.METRIC, 4, {"name": "lo*", "hidden": True})])
    (metric,) = stores.metadata.project_metrics("local", "digits")

    assert metric.hidden


def test_a_forgotten_run_is_gone(stores: Stores) -> None:
    """Nothing is left of a run that was removed."""
    begin(stores)
    stores.metadata.forget(RUN)

    assert stores.metadata.run(RUN) is None
    assert stores.metadata.cursor(RUN, "s") == 0


def test_files_and_facts_are_the_same_in_whatever_order_they_come(stores: Stores) -> None:
    """The latest record of a name rules, by its time; one that takes a file away too."""
    digest = "ab" * 32
    early = [
        Control(Kind.FILE, 1, 10, {"name": "a", "digest": digest, "size": 1, "kind": "code"}),
        Control(Kind.FILE, 2, 20, {"name": "b", "digest": digest, "size": 2, "kind": "code"}),
        Control(Kind.ENVIRONMENT, 3, 30, {"gpu": "old", "os": "linux", "odd": 2**70}),
    ]
    late = [
        Control(Kind.FILE, 1, 40, {"name": "a", "digest": digest, "size": 3, "kind": "code", "mode": "100755"}),
        Control(Kind.FILE, 2, 40, {"name": "b", "digest": None}),
        Control(Kind.ENVIRONMENT, 3, 40, {"gpu": "new", "os": None}),
        Control(Kind.FILE, 4, 41, {"name": 7, "digest": "nonsense"}),
    ]
    found = []
    for number, order in enumerate([(early, late), (late, early)]):
        path = RunPath("local", "p", str(number))
        for stream, entries in zip(("1-1-a", "2-2-b") if number == 0 else ("2-2-b", "1-1-a"), order, strict=True):
            stores.metadata.apply(path, stream, entries)
        detail = stores.metadata.run(path)
        assert detail is not None
        found.append((list(stores.metadata.files(path)), dict(detail.environment)))
        stores.metadata.forget(path)
        assert stores.metadata.files(path) == []

    assert found[0] == found[1]
    (file,) = found[0][0]
    assert (file.name, file.size, file.more) == ("a", 3, {"mode": "100755"})
    assert found[0][1] == {"gpu": "new", "odd": 2**70}
