"""Taking records in over HTTP: exactly once, in order, whatever is sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tracker.core.journal import Block, encode_frame
from tracker.core.journal.block import zstd
from tracker.core.journal.frame import ZSTD
from tracker.core.paths import RunPath
from tracker.core.record import Kind, encode_control

from .helpers import Server, frames_of, write_run

NOW = 1_700_000_000_000_000_000
RUN = encode_frame(Kind.RUN, 1, encode_control(NOW, {"name": "n", "pid": 1, "host": "elsewhere"}))


def row(seq: int, **values: object) -> bytes:
    return encode_frame(Kind.ROW, seq, msgspec.msgpack.encode((seq, NOW + seq, values)))


@pytest.fixture
def path(request: pytest.FixtureRequest) -> RunPath:
    """A run of this test's own on the shared server."""
    return RunPath("ingest", "demo", "".join(char if char.isalnum() else "-" for char in request.node.name)[:100])


def test_a_stream_arrives_whole(team: Server, path: RunPath, tmp_path: Path) -> None:
    local = write_run(tmp_path, rows=3000)
    stream, body, last = frames_of(local.folder(tmp_path))
    answer = team.send(path, stream, body)
    run = team.get(f"/runs/{path}")

    assert (answer.status_code, answer.json()) == (200, {"acked": last})
    assert team.get(f"/streams/{path}/{stream}") == {"acked": last}
    assert (run["points"], run["state"], run["lost"]) == (3000, "finished", 0)


def test_repeats_and_overlaps_change_nothing(team: Server, path: RunPath) -> None:
    frames = [RUN, *(row(seq, loss=seq) for seq in range(2, 12))]
    for first, last in ((0, 5), (0, 5), (2, 8), (0, 11), (10, 11)):
        team.send(path, "s", b"".join(frames[first:last]), after=first)
    run = team.get(f"/runs/{path}")

    assert team.get(f"/streams/{path}/s") == {"acked": 11}
    assert run["points"] == 10


def test_a_gap_is_refused_with_the_cursor(team: Server, path: RunPath) -> None:
    team.send(path, "s", RUN + row(2, loss=1))
    answer = team.send(path, "s", row(9, loss=1), after=8)

    assert (answer.status_code, answer.json()) == (409, {"acked": 2})


def test_what_the_journal_lost_is_counted(team: Server, path: RunPath) -> None:
    """A gap inside a body is damage on the sender's disk: the stream goes on behind it."""
    answer = team.send(path, "s", RUN + row(5, loss=1))

    assert answer.json() == {"acked": 5}
    assert team.get(f"/runs/{path}")["lost"] == 3


@pytest.mark.parametrize("cut", ["tail", "middle", "head", "all"])
def test_a_damaged_body_is_sent_again(team: Server, path: RunPath, cut: str) -> None:
    body = RUN + row(2, loss=1) + row(3, loss=2)
    damaged = {"tail": body[:-3], "middle": body[:60] + b"\0" + body[60:], "head": b"x" + body, "all": b"<html>"}[cut]
    answer = team.send(path, "s", damaged)

    assert answer.status_code == 422
    assert team.get(f"/streams/{path}/s") == {"acked": 0}


def bomb(seq: int, size: int) -> bytes:
    return encode_frame(Kind.BLOCK, seq, zstd.compress(bytes(size)), ZSTD, 4)


def block_of(payload: object) -> bytes:
    return zstd.compress(msgspec.msgpack.encode(payload))


def test_a_zstd_bomb_costs_its_own_records_only(team: Server, path: RunPath) -> None:
    body = RUN + bomb(2, 1 << 30) + b"".join(bomb(6 + 4 * n, 200 << 20) for n in range(8)) + row(38, loss=1)
    answer = team.send(path, "s", body)
    run = team.get(f"/runs/{path}")

    assert answer.json() == {"acked": 38}
    assert (run["points"], run["lost"]) == (1, 36)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x28\xb5\x2f\xfd",
        b"garbage" * 10,
        block_of(b"\x91" * 50_000),
        block_of([1, 2, 3]),
        block_of({"n": 4}),
        block_of({"n": -1, "steps": ["i", b""], "times": b"", "columns": []}),
        block_of(
            {"n": 4, "steps": ["i", bytes(32)], "times": bytes(32), "columns": [["k", "o", None, b"\x91" * 9000]]}
        ),
        block_of({"n": 4, "steps": ["i", bytes(32)], "times": bytes(32), "columns": [["k", "f", b"\xff", b"123"]]}),
        block_of(
            {"n": 4, "steps": ["i", bytes(32)], "times": bytes(32), "columns": [[{"a": 1}, "f", None, bytes(32)]]}
        ),
    ],
)
def test_a_block_that_cannot_be_unpacked_is_set_aside(team: Server, path: RunPath, payload: bytes) -> None:
    body = RUN + encode_frame(Kind.BLOCK, 2, payload, ZSTD, 4) + row(6, loss=1)
    answer = team.send(path, "s", body)
    run = team.get(f"/runs/{path}")

    assert (answer.status_code, answer.json()) == (200, {"acked": 6})
    assert run["lost"] in (0, 4)  # a key that is no text is taken as its text
    assert run["summary"]["loss"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        encode_frame(Kind.ROW, 2, b"\x91" * 100_000),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((float("nan"), NOW, {"a": 1}))),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((float("inf"), NOW, {"a": 1}))),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((1e308, 2**63, {"a": 1}))),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((2**63, NOW, {"a": 1}))),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((1, -(2**63), {"a": 1, "": 2, "\0": 3, "k" * 5000: 4}))),
        encode_frame(Kind.ROW, 2, msgspec.msgpack.encode((1, NOW, {str(n): n for n in range(20_000)}))),
        encode_frame(Kind.RUN, 2, encode_control(NOW, {"name": 5, "tags": "x", "notes": {"a": []}, "pid": 2**70})),
        encode_frame(Kind.RUN, 2, encode_control(NOW, {"entity": "../..", "project": "\0", "id": "x" * 9999})),
        encode_frame(Kind.RUN, 2, encode_control(2**63, {"name": "late"})),
        encode_frame(Kind.CONFIG, 2, encode_control(NOW, {"set": 3, "remove": [[[]]]})),
        encode_frame(Kind.CONFIG, 2, msgspec.msgpack.encode((NOW, {"set": {"a": 1}, "remove": [["a"], "b", None, 7]}))),
        encode_frame(Kind.SUMMARY, 2, encode_control(NOW, {"set": [], "remove": {}})),
        encode_frame(Kind.METRIC, 2, encode_control(NOW, {"name": ["x"], "summary": 3})),
        encode_frame(Kind.ALERT, 2, encode_control(NOW, {"title": {}, "text": 3, "level": None})),
        encode_frame(Kind.EXIT, 2, encode_control(NOW, {"state": "<b>", "exit_code": "x", "signal": []})),
        encode_frame(Kind.REWIND, 2, encode_control(NOW, {"step": "all"})),
        encode_frame(Kind.LOST, 2, encode_control(NOW, {"count": -5, "first_seq": "x"})),
        encode_frame(Kind.HEARTBEAT, 2, b""),
        encode_frame(200, 2, b"\xff" * 100),
    ],
    ids=range(20),
)
def test_no_record_makes_the_server_fail(team: Server, path: RunPath, frame: bytes) -> None:
    answer = team.send(path, "s", RUN + frame + row(3, loss=1))

    assert (answer.status_code, answer.json()) == (200, {"acked": 3})
    for question in (f"/runs/{path}", "/runs", "/projects", f"/projects/{path.entity}/{path.project}/metrics"):
        assert team.client.get(f"/api/v1{question}").status_code == 200
    body = {"runs": [str(path)], "keys": ["loss", "a"]}
    assert team.client.post("/api/v1/series", json=body).status_code == 200
    assert team.client.get(f"/api/v1/runs/{path}/history").status_code == 200


@pytest.mark.parametrize("stream", ["a/b", "..%2F..", "a b", "%00", "x" * 101, "é"])
def test_a_streams_name_is_no_path(team: Server, path: RunPath, stream: str) -> None:
    assert team.send(path, stream, RUN).status_code in (404, 422)


def test_numbers_beyond_the_store_are_refused(team: Server, path: RunPath) -> None:
    assert team.send(path, "s", encode_frame(Kind.HEARTBEAT, 2**63, b"")).status_code == 422
    assert team.send(path, "s", RUN, after=2**63).status_code == 422
    assert team.send(path, "s", encode_frame(Kind.BLOCK, 1, b"", 0, 0)).status_code == 422


def test_tracker_ui_takes_nothing_in(ui: Server, path: RunPath) -> None:
    assert ui.send(path, "s", RUN).status_code == 403


def test_a_locked_store_asks_to_come_again(start: Callable[..., Server], tmp_path: Path) -> None:
    """While another program holds the database the sender is told to wait; afterwards nothing is lost or twice."""
    server = start("server", folder=tmp_path / "store")
    path = RunPath("local", "demo", "one")
    server.send(path, "s", RUN)
    other = sqlite3.connect(tmp_path / "store" / "metadata.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    waiting = server.send(path, "s", row(2, loss=1), after=1)
    reading = server.client.get("/api/v1/runs").status_code
    other.execute("ROLLBACK")
    other.close()
    answer = server.send(path, "s", row(2, loss=1), after=1)

    assert (waiting.status_code, int(waiting.headers["retry-after"]) > 0) == (503, True)
    assert reading == 200
    assert answer.json() == {"acked": 2}
    assert server.get(f"/runs/{path}")["points"] == 1


def test_blocks_are_taken_as_they_are(team: Server, path: RunPath) -> None:
    payloads = [msgspec.msgpack.encode((step, NOW + step, {"loss": float(step)})) for step in range(1000)]
    block = Block.from_rows(2, payloads).to_frame()
    answer = team.send(path, "s", RUN + block)

    assert answer.json() == {"acked": 1001}
    assert team.get(f"/runs/{path}")["points"] == 1000
