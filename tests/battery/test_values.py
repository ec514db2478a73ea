"""Bad values, keys and steps: each harms only itself, is told once, and the next good point is stored."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import logging
import math
import pathlib
import re
import types
import uuid
from typing import Any

import pytest

import tracker
from tracker.core.errors import UsageError

from .helpers import rows

NAN, INF = math.nan, math.inf


class Colour(enum.Enum):
    RED = "red"


class Hostile:
    """Raises from whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Hostile
        raise RuntimeError(f"no {name} for you")

    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


class RaisingItem:
    shape = ()

    def item(self) -> float:
        raise RuntimeError("device-side assert")


class ItemOfItself:
    shape = ()

    def item(self) -> ItemOfItself:
        return self


class Endless(dict):
    """A mapping whose items never come to an end would be the user's own affair; this one only lies about them."""

    def __len__(self) -> int:
        return 10**9


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"x": 1}
    for _ in range(depth):
        inner = {"d": inner}
    return inner


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def cyclic_dict() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    return loop


# What is kept exactly: name -> (value, what comes back).
KEPT: dict[str, tuple[Any, Any]] = {
    "int": (3, 3),
    "zero": (0, 0),
    "negative": (-7, -7),
    "float": (0.1, 0.1),
    "tiny": (5e-324, 5e-324),
    "huge": (1.797e308, 1.797e308),
    "nan": (NAN, NAN),
    "inf": (INF, INF),
    "-inf": (-INF, -INF),
    "-0.0": (-0.0, -0.0),
    "True": (True, True),
    "False": (False, False),
    "None": (None, None),
    "2**53+1": (2**53 + 1, 2**53 + 1),
    "2**63-1": (2**63 - 1, 2**63 - 1),
    "2**64-1": (2**64 - 1, 2**64 - 1),
    "2**64": (2**64, 2**64),
    "-2**64": (-(2**64), -(2**64)),
    "10**400": (10**400, 10**400),
    "text": ("hello", "hello"),
    "empty text": ("", ""),
    "emoji": ("🙂 naïve", "🙂 naïve"),
    "nul": ("a\0b", "a\0b"),
    "long text": ("x" * 100_000, "x" * 100_000),
    "magic": ("õTKJ" * 10, "õTKJ" * 10),
    "decimal": (decimal.Decimal("0.25"), 0.25),
    "enum": (Colour.RED, "red"),
    "int enum": (enum.IntEnum("N", "ONE").ONE, 1),
    "list": ([1, 2.5, "x", None], [1, 2.5, "x", None]),
    "tuple": ((1, 2), [1, 2]),
    "empty list": ([], []),
    "empty dict": ({}, {}),
    "float subclass": (type("F", (float,), {})(0.5), 0.5),
    "int subclass": (type("I", (int,), {})(5), 5),
    "text subclass": (type("S", (str,), {})("s"), "s"),
    "ordered dict": (collections.OrderedDict(), {}),
}
# What is kept in some readable form.
READABLE: dict[str, Any] = {
    "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "naive datetime": datetime.datetime(2026, 1, 2),
    "date": datetime.date(2026, 1, 2),
    "uuid": uuid.UUID(int=7),
    "bytes": b"abc",
    "bad bytes": b"\xff\xfe",
    "bytearray": bytearray(b"abc"),
    "set": {1},
    "frozenset": frozenset({1}),
    "timedelta": datetime.timedelta(seconds=3),
}
# What cannot be kept, and is left out with one warning that names the key.
REFUSED: dict[str, Any] = {
    "object": object(),
    "function": len,
    "class": int,
    "module": math,
    "complex": 1 + 2j,
    "generator": (x for x in [1]),
    "hostile": Hostile(),
    "raising item": RaisingItem(),
    "cycle": cycle(),
    "cyclic dict": cyclic_dict(),
    "10 MB text": "x" * 10_000_000,
    "deep dict": nested(2000),
    "lone surrogate": "\ud800",
    "lambda": lambda: 1,
    "exception": ValueError("x"),
    "namespace": types.SimpleNamespace(a=1),
    "path": pathlib.Path("/tmp"),
    "fraction": fractions.Fraction(1, 3),
    "range": range(3),
    "memoryview of floats": memoryview(bytes(8)).cast("d"),
    "file": None,  # set below
    "pattern": re.compile("x"),
    "item of itself": ItemOfItself(),
}
KEYS: dict[str, Any] = {
    "int key": 5,
    "float key": 0.5,
    "None key": None,
    "bool key": True,
    "tuple key": (1, 2),
    "bytes key": b"k",
    "object key": Colour.RED,
    "long key": "k" * 5000,
    "surrogate key": "\ud800",
    "hostile key": type("K", (), {"__repr__": lambda _: 1 / 0, "__str__": lambda _: 1 / 0})(),
}
STEPS: dict[str, Any] = {
    "nan step": NAN,
    "inf step": INF,
    "text step": "five",
    "list step": [1],
    "bool step": True,
    "huge step": 10**30,
    "very huge step": 10**400,
    "object step": object(),
    "complex step": 1j,
    "huge float step": 1e300,
    "2**63 step": 2**63,
    "hostile step": Hostile(),
}
GOOD_STEPS: dict[str, Any] = {"negative": -5, "float": 0.25, "back": 1, "2**62": 2**62, "-0.0": -0.0}
ROWS: dict[str, Any] = {
    "a list": [("x", 1)],
    "None": None,
    "a number": 5,
    "a text": "x",
    "a set": {1},
    "texts": ["a", "b"],
    "a class": dict,
    "an object": object(),
    "hostile": Hostile(),
}


@pytest.fixture
def run(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tracker")
    run = tracker.init(project="values", dir=tmp_path)
    yield run
    run.finish()


def same(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return (math.isnan(one) and math.isnan(two)) or (one, math.copysign(1, one)) == (two, math.copysign(1, two))
    return type(one) is type(two) and bool(one == two)


def kept_beside(run, tmp_path, log) -> dict[str, Any]:
    """Log good, bad, good; answer the row in the middle. Both good ones must be there, and nothing may raise."""
    run.log({"good": 1}, step=1)
    log()
    run.log({"good": 3}, step=10**9)
    run.flush()
    found = rows(tmp_path)

    assert [row["good"] for row in found if row.get("good") in (1, 3)] == [1, 3]
    middle = [row for row in found if row.get("good") not in (1, 3)]
    return {key: value for row in middle for key, value in row.items()}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_exactly(run, tmp_path, caplog, name):
    """The value comes back, of the same type, and nothing is said."""
    value, expected = KEPT[name]
    row = kept_beside(run, tmp_path, lambda: run.log({"good": 2, "value": value}))

    assert same(row["value"], expected)
    assert row["good"] == 2
    assert caplog.messages == []


@pytest.mark.parametrize("name", READABLE)
def test_what_is_kept_readable(run, tmp_path, name):
    """The value comes back as text, a number or a list, or is left out with a word; the row beside it is kept."""
    row = kept_beside(run, tmp_path, lambda: run.log({"good": 2, "value": READABLE[name]}))

    assert row["good"] == 2
    assert isinstance(row.get("value", ""), (str, float, int, list))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_harms_only_itself(run, tmp_path, caplog, name):
    """One warning names the key, the rest of the row is stored, and logging it again says nothing more."""
    value = REFUSED[name]
    if name == "file":
        value = open(__file__)  # noqa: SIM115 - closed below
    row = kept_beside(run, tmp_path, lambda: [run.log({"good": 2, "value": value}, step=5) for _ in range(3)])
    if name == "file":
        value.close()

    assert row["good"] == 2
    if not any(key.startswith("value") for key in row):
        assert sum("'value'" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_raises_under_strictness(run, monkeypatch, name):
    """With TRACKER_STRICT=1 it is a UsageError, or it is kept."""
    monkeypatch.setenv("TRACKER_STRICT", "1")
    try:
        run.log({"good": 2, "value": REFUSED[name]})
    except UsageError as error:
        assert "'value'" in str(error)


@pytest.mark.parametrize("name", KEYS)
def test_a_bad_key_harms_only_itself(run, tmp_path, caplog, name):
    """The rest of the row is stored, and what was done about the key is told."""
    row = kept_beside(run, tmp_path, lambda: run.log({"good": 2, KEYS[name]: 1}))

    assert row["good"] == 2
    assert len(caplog.messages) == (0 if "k" * 5000 in row else 1)


@pytest.mark.parametrize("name", STEPS)
def test_a_bad_step_costs_no_row(run, tmp_path, caplog, name):
    """The row goes to the next free step, or to the one given where that can be kept, and it is told."""
    row = kept_beside(run, tmp_path, lambda: run.log({"good": 2}, step=STEPS[name]))

    assert row["good"] == 2
    assert len(caplog.messages) == 1
    run.log({"after": 1})
    run.flush()
    assert [row["after"] for row in rows(tmp_path) if "after" in row] == [1]


@pytest.mark.parametrize("name", GOOD_STEPS)
def test_any_finite_step_is_kept(run, tmp_path, caplog, name):
    """Back, below zero, between two others: it is where it was logged."""
    row = kept_beside(run, tmp_path, lambda: run.log({"good": 2}, step=GOOD_STEPS[name]))

    assert (row["good"], row["_step"]) == (2, GOOD_STEPS[name])
    assert caplog.messages == []


@pytest.mark.parametrize("name", ROWS)
def test_what_is_no_row_is_told(run, tmp_path, caplog, name):
    """Something else than a dict never raises, and costs nothing but itself."""
    kept_beside(run, tmp_path, lambda: run.log(ROWS[name]))

    assert len(caplog.messages) == 1


def test_many_bad_values_in_one_row(run, tmp_path):
    """All the good ones among them are stored."""
    row = {f"bad{i}": value for i, value in enumerate(REFUSED.values())}
    row.update({f"good{i}": i for i in range(50)})
    found = kept_beside(run, tmp_path, lambda: run.log(row))

    assert [found[f"good{i}"] for i in range(50)] == list(range(50))


def test_ten_thousand_keys(run, tmp_path):
    """A row of ten thousand keys, and one of several megabytes, are kept whole."""
    run.log({f"key/{i}": i for i in range(10_000)})
    run.log({f"text/{i}": "x" * 90_000 for i in range(100)})
    run.flush()
    found: dict[str, Any] = {}
    for row in rows(tmp_path):
        found.update(row)

    assert sum(key.startswith("key/") for key in found) == 10_000
    assert sum(len(value) for key, value in found.items() if key.startswith("text/")) == 9_000_000
