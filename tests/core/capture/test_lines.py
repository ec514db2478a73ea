"""From what is printed to lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core.capture.backlog import Backlog, Piece
from tracker.core.capture.lines import Counter, Line, Screen, bodies


def _screen(*, rows: int = 8, longest: int = 100, again_ns: int = 0) -> Screen:
    return Screen("stdout", Counter(), rows=rows, longest=longest, again_ns=again_ns)


def _shown(*texts: str, **limits: int) -> list[str]:
    screen = _screen(**limits)
    told: dict[int, str] = {}
    for text in texts:
        screen.write(text, 1)
        told.update((line.number, line.text) for line in screen.take(1))
    told.update((line.number, line.text) for line in screen.take(1, is_last=True))
    return [told[number] for number in sorted(told)]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo", ["one", "two"]),
        ("\n\nx\n", ["", "", "x"]),
        ("  1%|#   |\r 50%|##  |\r100%|####|\n", ["100%|####|"]),
        ("long line\rshort", ["shortline"]),
        ("long line\r\x1b[Kshort", ["short"]),
        ("long line\x1b[2K\rshort", ["short"]),
        ("ab\x08c", ["ac"]),
        ("a\nb\n\x1b[2Aone\n\x1b[Btwo", ["one", "b", "two"]),  # bars that redraw each other
        ("\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
        ("\x1b[31mred\x1b[0m\r\x1b[32mgreen\x1b[0m\n", ["\x1b[32mgreen\x1b[0m"]),
    ],
)
def test_a_terminal_would_show_the_same(printed: str, expected: list[str]) -> None:
    """Carriage returns and moves of the cursor are followed; colours stay."""
    assert expected == _shown(printed)


@given(st.lists(st.text(alphabet="ab\n", max_size=30), max_size=20))
def test_plain_text_comes_back_whole(pieces: list[str]) -> None:
    """However it is cut into pieces, and however many lines one of them has."""
    text = "".join(pieces)
    expected = text.split("\n")

    assert (expected if expected[-1] else expected[:-1]) == _shown(*pieces, rows=2)


@given(st.lists(st.text(alphabet="ab\n\r\x08\x1b[AK2G", max_size=20), max_size=20))
def test_nothing_a_program_prints_breaks_it(pieces: list[str]) -> None:
    """Numbers go up one by one, and no line is longer than allowed."""
    lines = _shown(*pieces, rows=3, longest=10)

    assert all(len(line) <= 10 + len("… (999 more characters)") for line in lines)


def test_a_line_that_goes_on_changing_is_told_now_and_then() -> None:
    """A progress bar is told at first, again when its time has come, and at the end."""
    screen = _screen(again_ns=100)
    told = []
    for now in range(0, 1000, 10):
        screen.write(f"\r{now}", now)
        told += [(now, line.text) for line in screen.take(now)]
    told += [(1000, line.text) for line in screen.take(1000, is_last=True)]

    assert [(now, str(now)) for now in range(0, 1000, 100)] + [(1000, "990")] == told


def test_a_line_without_end_is_cut_and_says_so() -> None:
    """Its length is told in place of its rest."""
    assert [f"{'x' * 100}… (1,900 more characters)"] == _shown(*["x" * 50] * 40)


def test_a_log_record_gives_its_level_to_its_lines() -> None:
    """Also to the second one; not to what follows."""
    screen = _screen()
    screen.level, screen.logger = "ERROR", "train"
    screen.write("bad\nvery\n", 1)
    screen.level = screen.logger = None
    screen.write("good\n", 2)

    assert [
        Line(0, 1, "stdout", "bad", "ERROR", "train"),
        Line(1, 1, "stdout", "very", "ERROR", "train"),
        Line(2, 2, "stdout", "good"),
    ] == screen.take(3)


def test_the_beginning_and_the_end_of_endless_output_are_kept() -> None:
    """What lies between is left out, counted, and leaves a gap in the numbers."""
    backlog = Backlog(head_bytes=100, tail_bytes=50, between_bytes=20, between_seconds=1e9, most_bytes=1000)
    found = []
    for number in range(1000):
        backlog.put(Piece("stdout", f"line {number}\n", number))
        found += backlog.digest(number)
    found += backlog.end(1000)
    numbers = [line.number for line in found]

    assert [f"line {number}" for number in numbers] == [line.text for line in found]
    assert list(range(14)) == [number for number in numbers if number < 500]
    assert numbers[-1] == 999
    assert backlog.left_out == 1000 - len(numbers)


def test_endless_output_is_kept_up_to_a_bound() -> None:
    """The newest lines get through now and then, until the bound is met; the end always does."""
    backlog = Backlog(head_bytes=100, tail_bytes=50, between_bytes=20, between_seconds=1e-8, most_bytes=1000)
    found = []
    for number in range(100_000):
        backlog.put(Piece("stdout", f"{number}\n", number))
        found += backlog.digest(number)
    found += backlog.end(100_000)

    assert 1000 < sum(len(line.text) + 1 for line in found) < 1000 + 100
    assert found[-1].text == "99999"
    assert backlog.lines == 100_000


def test_records_are_bounded() -> None:
    """Lines are packed into as few bodies as the bound allows."""
    lines = [Line(number, 1, "stdout", "x" * 76) for number in range(25)]
    found = list(bodies(lines, 3, most_bytes=1000))

    assert [len(body["lines"]) for body in found] == [10, 10, 5]
    assert {3} == {body["rank"] for body in found}
    assert found[0]["lines"][0] == [0, 1, "stdout", "x" * 76]
