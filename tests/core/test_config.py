"""Config: what goes in comes out plain, and what is recorded tells the same."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import json
import math
import pickle
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core.config import Config
from tracker.core.errors import MissingFramework, UsageError
from tracker.core.history import patch
from tracker.core.limits import MAX_CONTROL_BYTES
from tracker.core.record import Control, Kind
from tracker.core.sources import defaults, from_any
from tracker.server.stores.registers import Registers


class Recorded:
    """A config and what it has written."""

    def __init__(self, allow: bool = False) -> None:
        self.records: list[dict[str, Any]] = []
        self.config = Config(lambda kept, removed: self.records.append({"set": kept, "remove": removed}), allow)

    def told(self) -> dict[str, Any]:
        """Answer what a reader makes of the records."""
        found: dict[str, Any] = {}
        for body in copy.deepcopy(self.records):
            patch(found, body)
        return found

    def stored(self) -> dict[str, Any]:
        """Answer what the server makes of them."""
        registers = Registers()
        for seq, body in enumerate(copy.deepcopy(self.records), 1):
            registers.apply("s", Control(Kind.CONFIG, seq, seq, body))
        return registers.config


@dataclasses.dataclass
class Optimizer:
    name: str = "adam"
    betas: tuple[float, float] = (0.9, 0.99)


@dataclasses.dataclass
class Training:
    lr: float = 0.1
    optim: Optimizer = dataclasses.field(default_factory=Optimizer)


def test_values_are_read_by_attribute_and_by_item_at_any_depth() -> None:
    """`config.optim.lr` and `config["optim"]["lr"]` are the same."""
    config = Config()
    config.update({"optim": {"lr": 0.1, "groups": [{"wd": 0}]}, "epochs": 3})

    assert config.optim.lr == config["optim"]["lr"] == 0.1
    assert config.get("missing", 7) == 7
    assert list(config.keys()) == ["optim", "epochs"]
    assert dict(config.items())["epochs"] == 3
    assert config.as_dict() == {"optim": {"lr": 0.1, "groups": [{"wd": 0}]}, "epochs": 3}
    assert "epochs" in config and len(config) == 2
    with pytest.raises(AttributeError, match="Did you mean 'epochs'"):
        config.epoch


def test_a_leaf_set_at_any_depth_is_recorded_alone() -> None:
    """Only what has changed is written."""
    recorded = Recorded()
    config = recorded.config
    config.update({"optim": {"lr": 0.1, "sched": {"warmup": 10}}})
    config.optim.sched.steps = 100
    config["optim"]["name"] = "adam"
    config.epochs = 3
    config.epochs = 3

    assert recorded.records == [
        {"set": {"optim": {"lr": 0.1, "sched": {"warmup": 10}}}, "remove": []},
        {"set": {"optim": {"sched": {"steps": 100}}}, "remove": []},
        {"set": {"optim": {"name": "adam"}}, "remove": []},
        {"set": {"epochs": 3}, "remove": []},
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda config: setattr(config, "lr", 0.2),
        lambda config: config.update({"lr": 0.2}),
        lambda config: config.update(lr=0.2),
        lambda config: setattr(config.optim, "name", "sgd"),
        lambda config: config.update({"new": 1, "optim": {"name": "sgd"}}),
        lambda config: config.update({"optim": {}}),
        lambda config: config.update({"optim": 3}),
        lambda config: config.update({"lr": {"a": 1}}),
    ],
)
def test_a_change_needs_leave_and_leaves_nothing_behind_without_it(change: Any) -> None:
    """The error says how to allow it; nothing is changed or written."""
    recorded = Recorded()
    recorded.config.update({"lr": 0.1, "optim": {"name": "adam"}, "loss": math.nan})
    before = recorded.config.as_dict()
    with pytest.raises(UsageError, match="allow_val_change=True"):
        change(recorded.config)

    assert str(recorded.config.as_dict()) == str(before)
    assert len(recorded.records) == 1


def test_equal_values_and_new_ones_are_no_change() -> None:
    """Also NaN, and a number of another type that is equal."""
    recorded = Recorded()
    recorded.config.update({"lr": 1, "loss": math.nan, "list": [math.nan, 1], "optim": {"a": 1}})
    recorded.config.update({"lr": 1, "loss": math.nan, "list": [math.nan, 1], "optim": {"a": 1, "b": 2}})
    recorded.config.lr = 1.0

    assert recorded.records[1:] == [
        {"set": {"optim": {"b": 2}}, "remove": []},
        {"set": {"lr": 1.0}, "remove": []},
    ]


def test_with_leave_a_nested_dict_takes_the_place_of_the_old_one() -> None:
    """What the new one has not is gone, for readers as well."""
    recorded = Recorded()
    recorded.config.update({"optim": {"name": "adam", "betas": [0.9, 0.99]}})
    held = recorded.config.optim
    recorded.config.update({"optim": {"name": "sgd"}}, allow_val_change=True)

    assert recorded.config.as_dict() == recorded.told() == recorded.stored() == {"optim": {"name": "sgd"}}
    assert held == {"name": "sgd"}


def test_removing_and_the_ways_of_dicts() -> None:
    """`del`, `pop`, `clear`, `setdefault`, `|=` are recorded like any other change."""
    recorded = Recorded(allow=True)
    config = recorded.config
    config.update({"a": {"b": {"c": 1}}, "d": 2, "e": 3, "f": 4})
    del config.a.b.c
    del config["d"]
    assert config.pop("e") == 3
    assert config.pop("e", None) is None
    assert config.setdefault("g", 5) == config.setdefault("g", 6) == 5
    config |= {"h": 6}
    config.setdefaults({"h": 7, "i": 8, "a": {"b": {"z": 1}}})

    expected = {"a": {"b": {"z": 1}}, "f": 4, "g": 5, "h": 6, "i": 8}
    assert config.as_dict() == recorded.told() == recorded.stored() == expected
    with pytest.raises(KeyError):
        del config["nothing"]
    with pytest.raises(AttributeError):
        del config.nothing
    config.clear()
    assert config.as_dict() == recorded.told() == {}


def test_a_branch_that_was_taken_away_can_still_be_written_to() -> None:
    """It comes back."""
    recorded = Recorded(allow=True)
    recorded.config.update({"a": {"b": 1}})
    branch = recorded.config.a
    recorded.config.a = 3
    branch.c = 2

    assert recorded.config.as_dict() == recorded.told() == recorded.stored() == {"a": {"c": 2}}


def test_a_config_is_a_real_dict_and_copies_are_plain() -> None:
    """json, `**`, pickle and deepcopy work, and a copy writes nothing."""
    recorded = Recorded()
    recorded.config.update({"model": {"width": 8}})
    config = recorded.config

    assert json.dumps(config) == '{"model": {"width": 8}}'
    assert dict(**config.model) == {"width": 8}
    for copied in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config)), config.copy()):
        assert copied == {"model": {"width": 8}}
        assert type(copied) is dict and type(copied["model"]) is dict
    assert len(recorded.records) == 1


class Color(enum.Enum):
    RED = "red"


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_values_become_plain() -> None:
    """Paths, enums, functions, numpy scalars, sets; what cannot be read becomes a word."""
    import numpy as np

    config = Config()
    circle: dict[str, Any] = {"x": 1}
    circle["self"] = circle
    circle["again"] = circle
    config.update(
        {
            "path": Path("/a/b"),
            "color": Color.RED,
            "function": json.dumps,
            "dtype": np.float32,
            "scalar": np.float64(0.5),
            "set": {2, 1},
            "nan": math.nan,
            "tuple": (1, 2),
            3: "number",
            "circle": circle,
            "bad": Unreadable(),
            "nested": {"train": Training()},
            "space": types.SimpleNamespace(a=1),
        }
    )
    found = config.as_dict()

    assert math.isnan(found.pop("nan"))
    assert found.pop("bad").startswith("<Unreadable")
    assert found == {
        "path": "/a/b", "color": "red", "function": "json.dumps", "dtype": "numpy.float32", "scalar": 0.5,
        "set": [1, 2], "tuple": [1, 2], "3": "number",
        "circle": {"x": 1, "self": "<holds itself>", "again": "<holds itself>"},
        "nested": {"train": {"lr": 0.1, "optim": {"name": "adam", "betas": [0.9, 0.99]}}}, "space": {"a": 1},
    }  # fmt: skip


class Flags:
    def flag_values_dict(self) -> dict[str, Any]:
        return {"lr": 0.1}


class Pretrained:
    def __init__(self) -> None:
        self.other = 1

    def to_dict(self) -> dict[str, Any]:
        return {"hidden": 8}


class Plain:
    def __init__(self) -> None:
        self.lr = 0.1
        self._private = 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (argparse.Namespace(lr=0.1, name="x"), {"lr": 0.1, "name": "x"}),
        (Training(), {"lr": 0.1, "optim": {"name": "adam", "betas": [0.9, 0.99]}}),
        (Flags(), {"lr": 0.1}),
        (Pretrained(), {"hidden": 8}),
        (Plain(), {"lr": 0.1}),
    ],
)
def test_what_people_keep_hyperparameters_in(source: Any, expected: dict[str, Any]) -> None:
    """All of it becomes the same kind of dict."""
    assert from_any(source) == expected


def test_pydantic_and_omegaconf() -> None:
    """Models and containers of others are read without importing them here."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", lr=(float, 0.1), sub=(Training, Training()))

    assert from_any(model()) == {"lr": 0.1, "sub": {"lr": 0.1, "optim": {"name": "adam", "betas": [0.9, 0.99]}}}
    omegaconf = pytest.importorskip("omegaconf")
    made = omegaconf.OmegaConf.create({"a": {"b": 1}, "c": "${a.b}", "d": [1, {"e": 2}]})
    assert from_any(made) == {"a": {"b": 1}, "c": 1, "d": [1, {"e": 2}]}
    assert from_any({"inner": made.a}) == {"inner": {"b": 1}}


def test_attrs() -> None:
    """Also with slots."""
    attrs = pytest.importorskip("attrs")
    made = attrs.make_class("Made", {"lr": attrs.field(default=0.1)}, slots=True)

    assert from_any(made()) == {"lr": 0.1}


def test_keys_are_chosen_by_inclusion_or_exclusion() -> None:
    """Not by both."""
    values = {"a": 1, "b": 2, "c": 3}

    assert from_any(values, ["a", "b"]) == {"a": 1, "b": 2}
    assert from_any(values, None, ["a"]) == {"b": 2, "c": 3}
    with pytest.raises(UsageError, match="both"):
        from_any(values, ["a"], ["b"])
    with pytest.raises(UsageError, match="list"):
        from_any(values, "ab")


@pytest.mark.parametrize("source", [3, [1, 2], Training, print])
def test_what_is_no_config_is_told(source: Any) -> None:
    """With what would be one."""
    with pytest.raises(UsageError, match="give a dict"):
        from_any(source)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON always, YAML with PyYAML, W&B's own form of it too; what is wrong with one is said."""
    (tmp_path / "a.json").write_text('{"lr": 0.1}')
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.json").write_text("[1]")

    assert from_any(tmp_path / "a.json") == from_any(str(tmp_path / "a.json")) == {"lr": 0.1}
    for name, said in (("b.json", "understood"), ("c.json", "list"), ("d.json", "cannot be read")):
        with pytest.raises(UsageError, match=said):
            from_any(tmp_path / name)
    (tmp_path / "config-defaults.yaml").write_text("wandb_version: 1\nlr:\n  desc: null\n  value: 0.5\nn: 2\n")
    monkeypatch.chdir(tmp_path)
    try:
        import yaml  # noqa: F401
    except ImportError:
        with pytest.raises(MissingFramework, match="pip install pyyaml"):
            defaults()
    else:
        assert defaults() == {"lr": 0.5, "n": 2}
        (tmp_path / "bad.yaml").write_text("a: [")
        with pytest.raises(UsageError, match="understood"):
            from_any("bad.yaml")
    monkeypatch.chdir("/")
    assert defaults() == {}
    assert defaults([tmp_path / "a.json"]) == {"lr": 0.1}


def test_what_is_too_large_for_a_record_is_split_or_named(capsys: pytest.CaptureFixture[str]) -> None:
    """No record grows beyond its limit."""
    recorded = Recorded()
    recorded.config.update(
        {f"k{i}": "x" * 90_000 for i in range(30)} | {"small": 1, "deep": {"huge": list(range(10**6))}}
    )

    assert len(recorded.records) > 2
    assert all(len(json.dumps(body)) < 1.2 * MAX_CONTROL_BYTES for body in recorded.records)
    told = recorded.told()
    assert told["small"] == 1
    assert told["deep"]["huge"].startswith("<list of 1,000,000")
    assert len(recorded.config.deep.huge) == 10**6
    assert "'huge'" in capsys.readouterr().err


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([0.5, math.nan]),
    st.lists(st.integers(0, 2), max_size=2),
)
_keys = st.sampled_from("abc")
_trees = st.dictionaries(
    _keys, st.recursive(_leaves, lambda inner: st.dictionaries(_keys, inner, max_size=3), max_leaves=8), max_size=3
)
_changes = st.lists(
    st.one_of(
        st.tuples(st.just("update"), _trees),
        st.tuples(st.just("set"), st.lists(_keys, min_size=1, max_size=3), _leaves | _trees),
        st.tuples(st.just("del"), st.lists(_keys, min_size=1, max_size=3)),
    ),
    max_size=8,
)


@given(_changes)
def test_the_records_tell_what_the_config_holds(changes: list[Any]) -> None:
    """Whatever is set, replaced and removed: readers and the server come to the same."""
    recorded = Recorded(allow=True)
    model: dict[str, Any] = {}
    for kind, *rest in changes:
        if kind == "update":
            recorded.config.update(rest[0])
            model.update(copy.deepcopy(rest[0]))
            continue
        place: Any = recorded.config
        twin: Any = model
        *above, last = rest[0]
        for name in above:
            place = place.get(name) if isinstance(place, dict) else None
            twin = twin.get(name) if isinstance(twin, dict) else None
        if not isinstance(place, dict):
            continue
        if kind == "set":
            place[last] = rest[1]
            twin[last] = copy.deepcopy(rest[1])
        elif last in place:
            del place[last]
            del twin[last]

    assert repr_of(recorded.config) == repr_of(model)
    assert repr_of(recorded.told()) == repr_of(model)
    assert repr_of(recorded.stored()) == repr_of(model)


def repr_of(value: Any) -> Any:
    """Answer something that compares NaN with itself, and dicts without order."""
    if isinstance(value, dict):
        return {key: repr_of(item) for key, item in value.items()}
    return repr(value)
