"""Definitions of metrics: what is taken, what is refused, which one holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core.errors import UsageError
from tracker.core.metrics import MODES, Definition, Definitions, summarise
from tracker.server.stores.summary import merged_summary

STATISTICS = {"first": 3.0, "last": 2.0, "min": 1.0, "max": 4.0, "mean": 2.5}


def test_a_definition_tells_its_record() -> None:
    """All that is known of the name, in plain data."""
    definitions = Definitions()
    definitions.define("loss", step_metric=definitions.define("epoch"), summary="min, max,min", goal="minimize")
    body = definitions.define("loss", hidden=True).body()

    assert body == {
        "name": "loss", "step_metric": "epoch", "step_sync": None, "hidden": True, "summary": ["min", "max"],
        "goal": "minimize",
    }  # fmt: skip
    again = Definitions()
    again.take_body({**body, "from": "the future"})
    assert list(again) == [definitions.match("loss")]
    assert definitions.define("loss", overwrite=True).body()["summary"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": ""}, "names no metric"),
        ({"name": 3}, "names no metric"),
        ({"summary": "least"}, "min, max, mean"),
        ({"summary": "none,min"}, "stands alone"),
        ({"summary": 3}, "list of such"),
        ({"summary": [3]}, "summary=3"),
        ({"goal": "up"}, "'minimize' or 'maximize'"),
        ({"step_metric": 3}, "name of a metric"),
        ({"step_metric": "a/*"}, "not a pattern"),
        ({"hidden": "yes"}, "True or False"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    """With what can be."""
    with pytest.raises(UsageError, match=said):
        Definitions().define(**{"name": "loss", **arguments})


def test_a_key_gets_what_its_own_name_says_and_then_patterns() -> None:
    """The later pattern goes before the earlier one; brackets are no wildcards."""
    definitions = Definitions()
    definitions.define("val/*", step_metric="epoch", summary="min")
    definitions.define("*/acc", summary="max")
    definitions.define("val/acc", hidden=True)
    definitions.define("loss[0]*", hidden=True)

    assert definitions.match("val/acc") == Definition("val/acc", "epoch", None, True, ("max",))
    assert definitions.match("val/loss") == Definition("val/*", "epoch", None, None, ("min",))
    assert definitions.match("loss0") is None
    found = definitions.match("loss[0]/x")
    assert found is not None and found.hidden
    definitions.define("val/*", hidden=True)
    found = definitions.match("val/loss")
    assert found is not None and found.hidden


@pytest.mark.parametrize(
    ("summary", "goal", "expected"),
    [
        (None, None, {"loss": 2.0}),
        ("last", None, {"loss": 2.0}),
        ("copy", None, {"loss": 2.0}),
        ("none", None, {}),
        ("min,mean", None, {"loss": 2.0, "loss.min": 1.0, "loss.mean": 2.5}),
        ("best", None, {"loss": 2.0, "loss.best": 1.0}),
        ("best,first", "maximize", {"loss": 2.0, "loss.best": 4.0, "loss.first": 3.0}),
    ],
)
def test_the_summary_of_a_key(summary: str | None, goal: str | None, expected: dict[str, float]) -> None:
    """The last value always, others beside it."""
    definition = Definitions().define("loss", summary=summary, goal=goal)

    assert summarise(definition, STATISTICS, "loss") == expected
    assert summarise(None, {"first": "a", "last": "b"}, "text") == {"text": "b"}
    assert summarise(Definition("text", summary=("min", "first")), {"first": "a", "last": "b"}, "text") == {"text": "b"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "ab", "a*", "*", "b"]),
            st.lists(st.sampled_from([mode for mode in MODES if mode != "none"]), max_size=2) | st.just(["none"]),
            st.sampled_from([None, "minimize", "maximize"]),
        ),
        max_size=5,
    )
)
def test_the_stores_come_to_the_same_summary(defined: list[tuple[str, list[str], str | None]]) -> None:
    """What a run says of itself and what the server says of it."""
    definitions = Definitions()
    for name, modes, goal in defined:
        if modes:  # a definition without them may leave the goal to another: only the run's own view joins them
            definitions.define(name, summary=modes, goal=goal or "minimize")
    stored = {
        key: {**STATISTICS, "numeric": 3, "last_time_ns": 1, "points": 3} for key in ("a", "ab", "c")
    }  # fmt: skip
    own: dict[str, Any] = {}
    for key in stored:
        own.update(summarise(definitions.match(key), STATISTICS, key))

    assert own == merged_summary(stored, {}, [one.body() for one in definitions])
