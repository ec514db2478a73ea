"""A table keeps what it is given, in columns of one type, and says what does not fit."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.core.errors import UsageError
from tracker.core.tables import ColumnTypeError, JoinedTable, Table
from tracker.core.tables.column import PIECE_ROWS

UTC = datetime.timezone.utc


def test_rows_come_back_as_they_were_added() -> None:
    """In order, with their types, and Nones where there were any."""
    table = Table(columns=["id", "name", "score", "ok", "when", "tags", "meta"])
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    rows = [
        [1, "a", 0.5, True, moment, [1, "x", None], {"k": [1.5]}],
        [None, None, None, None, None, None, None],
        [2, "", float("inf"), False, moment, [], {}],
    ]
    for row in rows:
        table.add_data(*row)

    assert table.data == rows
    assert table.columns == ["id", "name", "score", "ok", "when", "tags", "meta"]
    assert list(table.types.values()) == ["int", "str", "float", "bool", "datetime", "list", "dict"]
    assert len(table) == 3
    assert list(table.iterrows())[2] == (2, rows[2])
    assert table.get_index() == [0, 1, 2]
    assert table.get_column("id") == [1, None, 2]
    assert type(table.get_column("ok")[0]) is bool  # type: ignore[index]


@pytest.mark.parametrize("count", [0, 1, PIECE_ROWS - 1, PIECE_ROWS, PIECE_ROWS + 1, 3 * PIECE_ROWS + 7])
def test_tables_of_any_length_are_whole(count: int) -> None:
    """Across the borders of the pieces that a column is made of."""
    table = Table(columns=["n", "text"])
    for number in range(count):
        table.add_data(None if number % 5 == 0 else number, f"t{number}")

    assert table.data == [[None if n % 5 == 0 else n, f"t{n}"] for n in range(count)]
    cut = table.frame(count // 3, count)
    assert sum(len(piece.values) for piece in cut.pieces[0]) == count - count // 3


def test_a_value_of_another_type_says_where_and_what() -> None:
    """It is an error of ours, a TypeError as in W&B, and the row is not added."""
    table = Table(columns=["id", "score"])
    table.add_data(1, 0.5)

    with pytest.raises(
        TypeError, match=r"column 'score', row 1: 'high' is a str, and the column holds float"
    ) as raised:
        table.add_data(2, "high")
    assert isinstance(raised.value, UsageError)
    assert "allow_mixed_types=True" in str(raised.value)
    assert table.data == [[1, 0.5]]
    table.add_data(2, 0.25)
    assert table.data == [[1, 0.5], [2, 0.25]]


@pytest.mark.parametrize(
    ("first", "second"),
    [(True, 1), (1, True), ("x", 1), ([1], {"a": 1}), (1.0, None), ("x", datetime.date(2026, 1, 1))],
)
def test_what_mixes_and_what_does_not(first: Any, second: Any) -> None:
    """A bool is no number; None goes with all."""
    strict, mixed = Table(columns=["x"]), Table(columns=["x"], allow_mixed_types=True)
    strict.add_data(first)
    mixed.add_data(first)
    mixed.add_data(second)

    if second is None:
        strict.add_data(second)
        assert strict.data == mixed.data == [[first], [None]]
    else:
        with pytest.raises(ColumnTypeError):
            strict.add_data(second)
        assert mixed.types == {"x": "any"}
        assert mixed.data[0] == [first]
        assert type(mixed.data[0][0]) is type(first)
        assert (
            mixed.data[1] == [second.isoformat() + "T00:00:00+00:00"] if isinstance(second, datetime.date) else [second]
        )


def test_whole_and_broken_numbers_are_one_type() -> None:
    """A column of ints becomes one of floats when the first float comes, also behind Nones."""
    table = Table(columns=["x"])
    for value in (None, 1, 2, None, 2.5, 3):
        table.add_data(value)

    assert table.types == {"x": "float"}
    assert table.data == [[None], [1.0], [2.0], [None], [2.5], [3.0]]


def test_integers_beyond_64_bits_stay_exact() -> None:
    table = Table(columns=["x"])
    values = [1, 2**63, -(2**90), None, 5]
    for value in values:
        table.add_data(value)

    assert table.get_column("x") == values
    with pytest.raises(ColumnTypeError, match="at most 38 are kept"):
        table.add_data(10**40)
    assert len(table) == 5


def test_the_number_of_values_must_be_that_of_the_columns() -> None:
    table = Table(columns=["a", "b"])

    with pytest.raises(UsageError, match=r"2 columns \(a, b\), got 3 values"):
        table.add_data(1, 2, 3)
    with pytest.raises(UsageError, match="row 1 is 1 values"):
        Table(columns=["a", "b"], data=[[1, 2], [3]])
    with pytest.raises(UsageError, match="columns is a str"):
        Table(columns="ab")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two columns 'a'"):
        Table(columns=["a", "a"])
    with pytest.raises(UsageError, match="log_mode"):
        Table(log_mode="SOMETIMES")  # type: ignore[arg-type]


def test_arguments_are_those_of_wandb() -> None:
    """Default columns, `rows`, `dtype`, `optional`, names that are ints, limits that can be set."""
    assert Table().columns == ["Input", "Output", "Expected"]
    assert Table(rows=[["a", "b", "c"]]).data == [["a", "b", "c"]]
    assert Table([0, 1], [[1, 2]]).columns == [0, 1]
    fixed = Table(columns=["a", "b"], dtype=[float, str], optional=[True, False])
    fixed.add_data(1, "x")
    assert fixed.data == [[1.0, "x"]]
    assert type(fixed.data[0][0]) is float
    with pytest.raises(ColumnTypeError, match="None is no value of a column that is not optional"):
        fixed.add_data(1, None)
    whole = Table(columns=["a"], dtype={"a": int})
    with pytest.raises(ColumnTypeError):
        whole.add_data(0.5)
    Table.MAX_ROWS = Table.MAX_ARTIFACT_ROWS = 10_000_000
    assert Table(columns=["a"], dtype=object, data=[[1], ["x"]]).types == {"a": "any"}
    with pytest.raises(UsageError, match="is no type of a column"):
        Table(columns=["a"], dtype="colour")


def test_columns_are_added_and_computed() -> None:
    table = Table(columns=["x"], data=[[1], [2], [3]])
    table.add_column("y", np.array([0.5, 1.5, 2.5]))
    table.add_computed_columns(lambda index, row: {"sum": row["x"] + row["y"], "even": index % 2 == 0})

    assert table.data == [[1, 0.5, 1.5, True], [2, 1.5, 3.5, False], [3, 2.5, 5.5, True]]
    assert table.get_column("y", convert_to="numpy").tolist() == [0.5, 1.5, 2.5]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="has 2 values, the table has 3 rows"):
        table.add_column("z", [1, 2])
    with pytest.raises(UsageError, match="there is a column 'x' already"):
        table.add_column("x", [1, 2, 3])
    with pytest.raises(ColumnTypeError):
        table.add_column("z", [1, None, 3])
    with pytest.raises(UsageError, match="there is no column 'w'"):
        table.get_column("w")
    with pytest.raises(UsageError, match="same columns for all rows"):
        table.add_computed_columns(lambda index, row: {"a": 1} if index else {"b": 1})


def test_a_column_is_cast() -> None:
    table = Table(columns=["x"], data=[["1"], ["2"], [None]])
    with pytest.raises(ColumnTypeError):
        table.cast("x", int)
    table.cast("x", int, optional=True)

    assert table.data == [[1], [2], [None]]
    with pytest.raises(ColumnTypeError, match=r"2\.5 cannot be made int"):
        Table(columns=["x"], data=[[2.5]]).cast("x", int)


def test_later_changes_of_a_value_do_not_change_the_table() -> None:
    items, inner = [1, 2], {"a": [1]}
    table = Table(columns=["list", "dict"])
    table.add_data(items, inner)
    items.append(3)
    inner["a"].append(2)

    assert table.data == [[[1, 2], {"a": [1]}]]


def test_scalars_and_arrays_of_numpy_are_plain_values() -> None:
    table = Table(columns=["i", "f", "b", "s", "t", "a"])
    table.add_data(np.int32(3), np.float32(0.5), np.bool_(True), np.str_("x"), np.datetime64("2026-01-02"), np.eye(2))

    assert table.data == [[3, 0.5, True, "x", datetime.datetime(2026, 1, 2, tzinfo=UTC), [[1.0, 0.0], [0.0, 1.0]]]]
    table.add_data(None, np.nan, None, None, np.datetime64("NaT"), None)
    assert table.data[1][0] is None
    assert table.data[1][1] != table.data[1][1]
    assert table.data[1][4] is None


@pytest.mark.parametrize("value", [b"abc", 1j, object()])
def test_what_no_column_holds_is_said(value: Any) -> None:
    table = Table(columns=["x"])

    with pytest.raises(ColumnTypeError, match="column 'x', row 0: the value "):
        table.add_data(value)
    assert len(table) == 0


def test_a_row_that_does_not_fit_leaves_no_trace() -> None:
    """Whatever columns had taken of it already is taken back."""
    table = Table(columns=["a", "b", "c"])
    source = random.Random(7)
    expected: list[list[Any]] = []
    for number in range(3 * PIECE_ROWS):
        row: list[Any] = [number, f"{number}", 0.5]
        if source.random() < 0.01 or number in (PIECE_ROWS - 1, PIECE_ROWS):
            with pytest.raises(ColumnTypeError):
                table.add_data(*row[:2], "bad") if number else table.add_data(1, "x", b"bad")
            continue
        table.add_data(*row)
        expected.append(row)

    assert table.data == expected


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [0.5, float("nan"), 2.0],
            "s": ["a", None, "c"],
            "b": [True, False, True],
            "t": pandas.to_datetime(["2026-01-01T00:00:00.000000", None, "2026-01-03T00:00:00.000001"]),
            "z": pandas.to_datetime(["2026-01-01T02:00+02:00"] * 3, utc=True),
            "I": pandas.array([1, None, 3], dtype="Int64"),
            "c": pandas.Categorical(["x", "y", "x"]),
        },
        index=[7, 8, 9],
    )
    table = Table(dataframe=frame)

    assert list(table.types.values()) == ["int", "float", "str", "bool", "datetime", "datetime", "int", "str"]
    assert table.get_column("s") == ["a", None, "c"]
    assert table.get_column("I") == [1, None, 3]
    assert table.get_column("t") == [
        datetime.datetime(2026, 1, 1, tzinfo=UTC), None, datetime.datetime(2026, 1, 3, microsecond=1, tzinfo=UTC),
    ]  # fmt: skip
    assert table.get_column("z") == [datetime.datetime(2026, 1, 1, tzinfo=UTC)] * 3
    assert np.isnan(table.get_column("f")[1])  # type: ignore[arg-type]
    assert table.get_dataframe()["c"].tolist() == ["x", "y", "x"]
    assert Table(columns=["s", "i"], data=frame).data == [["a", 1], [None, 2], ["c", 3]]
    with pytest.raises(UsageError, match="no column 'q'"):
        Table(columns=["q"], dataframe=frame)
    with pytest.raises(UsageError, match="dataframe is a list"):
        Table(dataframe=[[1]])


def test_frames_of_arrow() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    arrow = pyarrow.table({"i": [1, None, 3], "f": [1.5, 2.5, 3.5], "s": ["a", "b", None], "l": [[1], [], [2, 3]]})

    table = Table(data=arrow)

    assert table.data == [[1, 1.5, "a", [1]], [None, 2.5, "b", []], [3, 3.5, None, [2, 3]]]


def test_frames_of_polars() -> None:
    polars = pytest.importorskip("polars")
    moment = datetime.datetime(2026, 1, 1, 12)
    frame = polars.DataFrame({"i": [1, 2], "f": [1.5, None], "s": ["a", None], "t": [moment, moment], "l": [[1], [2]]})

    table = Table(dataframe=frame)

    aware = moment.replace(tzinfo=UTC)
    assert table.data == [[1, 1.5, "a", aware, [1]], [2, None, None, aware, [2]]]


def test_data_sets_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets")
    split = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "ids": [[1], [2, 3]]})

    assert Table(data=split).data == [["a", 0, [1]], ["b", 1, [2, 3]]]
    with pytest.raises(UsageError, match="one split"):
        Table(data=datasets.DatasetDict({"train": split}))


def test_arrays_and_dicts_as_rows() -> None:
    assert Table(data=np.arange(4).reshape(2, 2)).data == [[0, 1], [2, 3]]
    assert Table(data=[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]).data == [[1, "x"], [2, "y"]]
    assert Table(columns=["b", "a"], data=[{"a": 1}]).data == [[None, 1]]
    structured = np.array([(1, 0.5), (2, 1.5)], dtype=[("n", "i4"), ("f", "f8")])
    assert Table(data=structured).columns == ["n", "f"]
    assert Table(data=structured).data == [[1, 0.5], [2, 1.5]]
    with pytest.raises(UsageError, match="shape"):
        Table(data=np.arange(3))
    with pytest.raises(UsageError, match="no column of the table"):
        Table(columns=["a"], data=[{"z": 1}])


def test_tables_are_joined() -> None:
    """Rows without a partner are kept; columns of equal name are told apart."""
    left = Table(columns=["id", "guess"], data=[[1, "cat"], [2, "dog"], [3, "cow"]])
    right = Table(columns=["id", "guess", "truth"], data=[[2, "dog", "dog"], [1, "dog", "cat"], [9, "ox", "ox"]])
    joined = JoinedTable(left, right, "id").table()

    assert joined.columns == ["id", "1.guess", "2.guess", "truth"]
    assert joined.data == [
        [1, "cat", "dog", "cat"], [2, "dog", "dog", "dog"], [3, "cow", None, None], [9, None, "ox", "ox"],
    ]  # fmt: skip
    with pytest.raises(UsageError, match="there is no column 'key'"):
        JoinedTable(left, right, "key")
    with pytest.raises(UsageError, match="takes two tables"):
        JoinedTable(left, [1], "id")  # type: ignore[arg-type]


def test_importing_tracker_loads_none_of_it(tmp_path: Path) -> None:
    """Neither DuckDB nor numpy is imported by making a table."""
    import subprocess
    import sys

    code = (
        "import sys; from tracker.core.tables import Table; t = Table(columns=['a']); t.add_data(1);"
        "print([m for m in ('duckdb', 'numpy', 'pandas', 'blake3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
