"""One column of a table: values of one kind, packed, in pieces that never change once they are closed."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from .kinds import MAX_INT, MIN_INT, ColumnTypeError, Kind, any_text, classify, reader

PIECE_ROWS = 16_384
_CODES = {"int": "q", "float": "d", "datetime": "q", "bool": "b"}
_EXACT: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


class Piece(NamedTuple):
    """Consecutive values of a column.

    Args:
        values: An `array` of the kind's type, with 0 where there is none; for other kinds a list, with None.
        gaps: Where in an array there is no value, ascending.
    """

    values: Sequence[Any]
    gaps: Sequence[int] = ()

    def cut(self, start: int, stop: int) -> Piece:
        """Answer a part of it."""
        if start == 0 and stop == len(self.values):
            return self
        return Piece(self.values[start:stop], [gap - start for gap in self.gaps if start <= gap < stop])


class Column:
    """A column that grows.

    Args:
        name: Its name, for complaints.
        kind: What it holds; "null" until the first value says it.
        is_fixed: Whether the user said what it holds: then it stays so.
        is_optional: Whether it may hold None.
        is_mixed: Whether values of several types may be in it.
    """

    def __init__(
        self,
        name: Any,
        kind: Kind = "null",
        *,
        is_fixed: bool = False,
        is_optional: bool = True,
        is_mixed: bool = False,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.is_fixed = is_fixed
        self.is_optional = is_optional
        self.is_mixed = is_mixed
        self._pieces: list[Piece] = []
        self._ends: list[int] = []  # rows up to the end of each closed piece
        self._begin()

    def _begin(self) -> None:
        """Open a new piece."""
        code = _CODES.get(self.kind)
        self._values: Any = array(code) if code else []
        self._gaps: list[int] = []
        self._exact = _EXACT.get(self.kind)

    def __len__(self) -> int:
        return (self._ends[-1] if self._ends else 0) + len(self._values)

    # --- growing -------------------------------------------------------------------------

    def append(self, value: Any) -> None:
        """Add one value.

        Raises:
            ColumnTypeError: It is of another type than the others.
        """
        if type(value) is self._exact:
            try:
                self._values.append(value)
            except OverflowError:  # an integer beyond 64 bits
                self._append_other(value)
        else:
            self._append_other(value)
        if len(self._values) >= PIECE_ROWS:
            self.close()

    def _append_other(self, value: Any) -> None:
        kind, kept = self._kept(value)
        if kind == "null":
            if type(self._values) is array:
                self._gaps.append(len(self._values))
                self._values.append(0)
            else:
                self._values.append(None)
            return
        if self.kind == "int" and not MIN_INT <= kept <= MAX_INT:
            self._widen()
        self._values.append(kept)

    def _kept(self, value: Any) -> tuple[Kind, Any]:
        """Answer a value as the column keeps it, changing what the column holds where that is right."""
        try:
            kind, kept = classify(value)
        except ColumnTypeError as error:
            raise ColumnTypeError(f"column {self.name!r}, row {len(self)}: the value {error}.") from None
        if kind == "null":
            if not self.is_optional:
                raise ColumnTypeError(
                    f"column {self.name!r}, row {len(self)}: None is no value of a column that is not optional. "
                    "Give a value, or make the table with optional=True."
                )
            return kind, None
        if kind == self.kind:
            return kind, kept
        if self.kind == "any":
            return "any", any_text(kind, kept)
        if self.kind == "null":
            self._become(kind)
            if kind == "int" and not MIN_INT <= kept <= MAX_INT:
                self._widen()
            return kind, kept
        if self.kind == "float" and kind == "int":
            return "float", float(kept)
        if self.kind == "int" and kind == "float" and not self.is_fixed:
            self._become("float")
            return "float", kept
        if self.is_mixed:
            self._become("any")
            return "any", any_text(kind, kept)
        raise ColumnTypeError(
            f"column {self.name!r}, row {len(self)}: {_shown(value)} is a {type(value).__name__}, and the column holds "
            f"{self.kind}. Convert it, or make the table with allow_mixed_types=True."
        )

    def extend(self, values: Sequence[Any]) -> None:
        """Add many values; an array of numpy is taken as it is, without a look at each."""
        if not self._extend_array(values):
            for value in values:
                self.append(value)

    def _extend_array(self, values: Any) -> bool:
        dtype = getattr(values, "dtype", None)
        kind = {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(getattr(dtype, "kind", ""))
        if dtype is None or kind is None or type(values).__module__ != "numpy" or values.ndim != 1 or not len(values):
            return False
        if kind == "int" and dtype.kind == "u" and int(values.max()) > MAX_INT:
            return False
        if self.kind == "null" and not len(self):
            self._become(kind)  # type: ignore[arg-type]
        if self.kind == "float" and kind == "int":
            values = values.astype("float64")
        elif self.kind != kind:
            return False
        code = _CODES[self.kind]
        packed = array(code)
        packed.frombytes(values.astype({"q": "int64", "d": "float64", "b": "int8"}[code]).tobytes())
        self._add_piece(Piece(packed))
        return True

    def extend_packed(self, kind: Kind, values: Sequence[Any], gaps: Sequence[int]) -> bool:
        """Add a piece made elsewhere; answer False where the column holds another kind."""
        if self.kind == "null" and not len(self):
            self._become(kind)
        if self.kind != kind:
            return False
        self._add_piece(Piece(values, gaps))
        return True

    def _add_piece(self, piece: Piece) -> None:
        self.close()
        self._pieces.append(piece)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(piece.values))

    def close(self) -> None:
        """Close the open piece: from now on nothing in it changes."""
        if len(self._values):
            values, gaps = self._values, self._gaps
            self._begin()
            self._pieces.append(Piece(values, gaps))
            self._ends.append((self._ends[-1] if self._ends else 0) + len(values))

    def cut_back(self, rows: int) -> None:
        """Take the last rows away again."""
        while len(self) > rows:
            if not len(self._values):
                piece = self._pieces.pop()
                self._ends.pop()
                self._values, self._gaps = piece.values[:], list(piece.gaps)
                continue
            self._values.pop()
            if self._gaps and self._gaps[-1] >= len(self._values):
                self._gaps.pop()

    # --- changing what it holds ----------------------------------------------------------

    def cast(self, kind: Kind, *, is_optional: bool) -> None:
        """Make it a column of a kind, its values converted.

        Raises:
            ColumnTypeError: A value cannot be converted.
        """
        fresh = Column(self.name, kind, is_fixed=True, is_optional=is_optional)
        for value in self.values():
            fresh.append(_converted(value, kind))
        self.__dict__.update(fresh.__dict__)

    def _become(self, kind: Kind) -> None:
        pieces = [_turned(piece, self.kind, kind) for piece in self._pieces]
        last = _turned(Piece(self._values, self._gaps), self.kind, kind)
        self.kind = kind
        self._pieces = pieces
        self._begin()
        self._values, self._gaps = last.values, list(last.gaps)

    def _widen(self) -> None:
        """Go on with a list: one of its integers does not fit into 64 bits."""
        self.close()
        self._values, self._gaps = [], []
        self._exact = None

    # --- reading -------------------------------------------------------------------------

    def pieces(self, start: int = 0, stop: int | None = None) -> list[Piece]:
        """Answer the rows from `start` on, in pieces that do not change any more; nothing is copied for most."""
        self.close()
        end = len(self) if stop is None else stop
        found: list[Piece] = []
        index = bisect_right(self._ends, start)
        while index < len(self._pieces):
            first = self._ends[index - 1] if index else 0
            if first >= end:
                break
            piece = self._pieces[index]
            found.append(piece.cut(max(start - first, 0), min(end - first, len(piece.values))))
            index += 1
        return found

    def values(self) -> Iterator[Any]:
        """Walk the values as the user gave them."""
        pieces = [*self._pieces, Piece(self._values, self._gaps)]
        return chain.from_iterable(_given(piece, self.kind) for piece in pieces)

    def __getitem__(self, row: int) -> Any:
        index = bisect_right(self._ends, row)
        piece = self._pieces[index] if index < len(self._pieces) else Piece(self._values, self._gaps)
        return _given(piece.cut(at := row - (self._ends[index - 1] if index else 0), at + 1), self.kind)[0]


def _given(piece: Piece, kind: Kind) -> list[Any]:
    """Answer a piece's values as the user gave them."""
    values = list(piece.values)
    read = reader(kind)
    if read is not None:
        values = [None if value is None else read(value) for value in values]
    for gap in piece.gaps:
        values[gap] = None
    return values


def _turned(piece: Piece, before: Kind, after: Kind) -> Piece:
    """Answer a piece of a column of one kind as one of another: numbers as floats, anything as JSON."""
    code = _CODES.get(after)
    if before == "null":
        count = len(piece.values)
        return Piece(array(code, bytes(count * array(code).itemsize)), range(count)) if code else piece
    if after == "float":
        gaps = piece.gaps if type(piece.values) is array else [i for i, v in enumerate(piece.values) if v is None]
        return Piece(array("d", [value or 0 for value in piece.values]), gaps)
    if after != "any":
        return piece
    values = [
        None if value is None else any_text(before, bool(value) if before == "bool" else value)
        for value in piece.values
    ]
    for gap in piece.gaps:
        values[gap] = None
    return Piece(values)


def _converted(value: Any, kind: Kind) -> Any:
    if value is None or kind in ("any", "media", "datetime", "list", "dict"):
        return value
    try:
        if kind == "int" and isinstance(value, float) and value != int(value):
            raise ValueError("it is no whole number")
        return {"bool": bool, "int": int, "float": float, "str": str}[kind](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ColumnTypeError(f"{_shown(value)} cannot be made {kind}: {error}.") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


__all__ = ["PIECE_ROWS", "Column", "Piece"]
