"""Journals damaged on disk: at most the damaged records are lost, none is invented or changed, nothing raises."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tracker
from tracker.core.journal.seal import seal
from tracker.testing import read_runs

from .helpers import lost, rows, stream_folders

ROWS = 3000


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(3):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at : at + 200] = chance.randbytes(len(data[at : at + 200]))


def hole(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at : at + 300] = bytes(len(data[at : at + 300]))


def zero_page(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data)) // 512 * 512
    data[at : at + 512] = bytes(len(data[at : at + 512]))


def insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.randrange(1, 300))


def remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 300)]


def double(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + 400]


def swap(data: bytearray, chance: random.Random) -> None:
    one, two = (chance.randrange(len(data) - 100) for _ in range(2))
    data[one : one + 100], data[two : two + 100] = data[two : two + 100], data[one : one + 100]


def tear(data: bytearray, chance: random.Random) -> None:
    del data[-chance.randrange(1, 500) :]


def foreign(data: bytearray, chance: random.Random) -> None:
    data += b"somebody else wrote here\n" * 20 + b"\xf5TKJ" * 10


WAYS: list[Callable[[bytearray, random.Random], None]] = [
    flip, overwrite, hole, zero_page, insert, remove, double, swap, tear, foreign,
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A run of three thousand rows, as a killed process leaves it."""
    folder = tmp_path_factory.mktemp("written")
    run = tracker.init(project="corrupt", dir=folder, config={"lr": 0.1}, settings={"silent": True})
    for number in range(ROWS):
        run.log({"n": number, "half": number / 2, "text": f"row {number}"})
    copy = tmp_path_factory.mktemp("copy") / "runs"
    shutil.copytree(folder, copy)
    run.finish()
    return copy


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_damaged_journal_loses_what_was_hit_and_no_more(written, tmp_path, is_long, way):
    """At least 99.5 % of the rows come back, each right, and what is missing is told by LOST records."""
    for number in range(40 if is_long else 4):
        chance = random.Random(f"{way.__name__} {number}")
        folder = tmp_path / str(number)
        shutil.copytree(written, folder)
        ((_, stream),) = stream_folders(folder)
        path = stream / "00000001.seg"
        data = bytearray(path.read_bytes().rstrip(b"\0"))
        way(data, chance)
        path.write_bytes(data)

        found = {row["n"]: row for row in rows(folder)}
        assert len(found) >= ROWS * 0.995
        assert all((row["half"], row["text"]) == (n / 2, f"row {n}") for n, row in found.items())
        missing_inside = [n for n in range(max(found)) if n not in found]
        assert lost(folder) >= len(missing_inside)
        (run,) = read_runs(folder)
        assert len(run["history"]) == len(found)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_damaged_sealed_journal_is_read_without_a_fault(written, tmp_path, way):
    """Sealed, a block is lost whole; what is read is right all the same."""
    ((_, stream),) = stream_folders(written)
    folder = tmp_path / "runs"
    shutil.copytree(written, folder)
    ((_, stream),) = stream_folders(folder)
    path = seal(stream / "00000001.seg", lambda _: None)
    data = bytearray(path.read_bytes())
    way(data, random.Random(way.__name__))
    path.write_bytes(data)
    found = {row["n"]: row for row in rows(folder)}

    assert all((row["half"], row["text"]) == (n / 2, f"row {n}") for n, row in found.items())
    assert len(read_runs(folder)) <= 1


def test_another_program_may_have_put_files_there(written, tmp_path):
    """Files that are none of ours, in every folder, change nothing."""
    folder = tmp_path / "runs"
    shutil.copytree(written, folder)
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        (place / ".DS_Store").write_bytes(b"\0\1")
        (place / "notes.txt").write_text("mine")
        (place / "00000007.seg.swp").write_bytes(b"\xf5TKJ")

    assert len(rows(folder)) == ROWS
    assert len(read_runs(folder)) == 1
