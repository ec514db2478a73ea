"""What stays behind of a log() call: nothing."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

import tracker

from .helpers import rows, run_program


class Scalar:
    """A 0-d array of somebody's."""

    shape = ()

    def item(self) -> float:
        return 0.5


def test_log_keeps_no_reference(tmp_path):
    """Neither the dict, nor its values, nor what could not be kept lives on."""

    class Row(dict):
        pass

    class Unstorable:
        pass

    run = tracker.init(project="memory", dir=tmp_path)
    row = Row(x=Scalar(), y=Unstorable(), z={"deep": Scalar()})
    watched = [weakref.ref(value) for value in (row, row["x"], row["y"], row["z"]["deep"])]
    run.log(row)
    del row
    gc.collect()

    assert [reference() for reference in watched] == [None] * 4
    run.finish()


def test_a_finished_run_is_let_go(tmp_path):
    """The run, its journal and its threads go with the last reference."""
    run = tracker.init(project="memory", dir=tmp_path)
    run.log({"x": 1})
    run.finish()
    watched = weakref.ref(run), weakref.ref(run._journal)
    del run
    gc.collect()

    assert [reference() for reference in watched] == [None, None]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path, is_long):
    """A million points later the process is about as large as after the first ten thousand."""
    code = f"""
        def anonymous():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
        run = begin()
        def log(count):
            for number in range(count):
                run.log({{"a": number, "b": number * 0.5, "c": 1e-3, "d": True, "e": "text"}})
            while run._journal.closed_segments:
                time.sleep(0.01)
        log(60_000)
        before = anonymous()
        log({3_000_000 if is_long else 200_000})
        grown = anonymous() - before
        assert grown < 16_000, grown
    """
    done = run_program(code, tmp_path)

    assert done.returncode == 0, done.stderr


# --- devices -----------------------------------------------------------------------------


class Event:
    """The end of a copy, which comes when the test says so."""

    has_passed = False

    def __init__(self, blocking: bool = False) -> None:
        self.is_recorded = False

    def record(self) -> None:
        self.is_recorded = True

    def query(self) -> bool:
        assert self.is_recorded
        return type(self).has_passed

    def synchronize(self) -> None:
        assert type(self).has_passed, "somebody waits for the device"


class Device:
    type = "cuda"
    index = 0


class OnDevice:
    """A tensor on a device: asking for its value before the device is ready is a fault."""

    shape = ()
    device = Device()
    dtype = "float32"

    def __init__(self, value: float) -> None:
        self._value = value

    def detach(self) -> OnDevice:
        return self

    def clone(self) -> OnDevice:
        return self

    def numel(self) -> int:
        return 1

    def to(self, where: str, non_blocking: bool = False) -> OnDevice:
        assert where == "cpu"
        assert non_blocking, "that would wait"
        return OnDevice(self._value)

    def item(self) -> float:
        assert Event.has_passed, "item() waits for the device"
        return self._value

    __float__ = __int__ = __bool__ = __index__ = tolist = numpy = cpu = item


class FakeTorch:
    class cuda:  # noqa: D106 - torch's name
        Event = Event


def test_a_value_on_a_device_is_never_waited_for(tmp_path, monkeypatch, caplog):
    """log() returns without asking for the value; it is in the journal once the device is ready, in order."""
    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    monkeypatch.setattr(Event, "has_passed", False)
    run = tracker.init(project="device", dir=tmp_path)
    for number in range(5):
        run.log({"loss": OnDevice(number / 2), "deep": {"x": OnDevice(number)}, "plain": number})
    run.log({"plain": 5})

    assert [row["plain"] for row in rows(tmp_path)] == [5]
    Event.has_passed = True
    run.flush()
    found = sorted(rows(tmp_path), key=lambda row: row["plain"])
    assert [(row["loss"], row["deep.x"]) for row in found[:5]] == [(number / 2, number) for number in range(5)]
    assert [row["_step"] for row in found] == [0, 1, 2, 3, 4, 5]
    run.finish()
    assert [message for message in caplog.messages if "device" in message and "run" not in message] == []


def test_a_device_that_fails_costs_the_row_and_says_so(tmp_path, monkeypatch, caplog):
    """A value that can never be fetched is told; what was logged after it is stored."""

    class Broken(OnDevice):
        def to(self, where: str, non_blocking: bool = False) -> OnDevice:
            return self

        def item(self) -> float:
            raise RuntimeError("device-side assert triggered")

    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    monkeypatch.setattr(Event, "has_passed", True)
    run = tracker.init(project="device", dir=tmp_path)
    run.log({"loss": Broken(1.0), "plain": 0})
    run.log({"plain": 1})
    run.finish()

    assert 1 in [row.get("plain") for row in rows(tmp_path)]
    assert sum("device-side assert" in message for message in caplog.messages) == 1


def test_a_value_that_changes_after_log_is_kept_as_it_was(tmp_path, monkeypatch):
    """The copy is asked for within log(): an in-place change behind it does not show."""
    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    monkeypatch.setattr(Event, "has_passed", False)
    run = tracker.init(project="device", dir=tmp_path)
    tensor = OnDevice(1.0)
    run.log({"loss": tensor})
    tensor._value = 2.0
    Event.has_passed = True
    run.finish()

    assert [row["loss"] for row in rows(tmp_path)] == [1.0]
