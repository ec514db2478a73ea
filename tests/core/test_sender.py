"""The sender and the shipper against a transport in memory: what arrives, whatever goes wrong on the way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracker.core.backoff import Backoff
from tracker.core.clock import Clock
from tracker.core.errors import TransportError
from tracker.core.journal import Block, Journal, encode_frame, scan
from tracker.core.journal.frame import encode_segment_header
from tracker.core.journal.seal import seal
from tracker.core.paths import RunPath
from tracker.core.record import Kind, encode_control
from tracker.core.sender import Sender
from tracker.core.shipping import Shipper, last_seq, read_acked
from tracker.core.transport import Batch, MemoryTransport
from tracker.core.values import encode

PATH = RunPath("local", "digits", "r1")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(PATH.folder(tmp_path) / "streams", Clock())
    yield journal
    journal.close()


def log(journal: Journal, count: int, start: int = 0, **more: object) -> None:
    for step in range(start, start + count):
        journal.append(Kind.ROW, encode((step, 1000 + step, {"loss": step / 2, "text": "é", **more})))


def exit_record(journal: Journal) -> None:
    journal.append(Kind.EXIT, encode_control(10**6, {"state": "finished", "exit_code": 0}))


def steps(transport: MemoryTransport) -> list[int | float]:
    return [row["_step"] for row in transport.rows()]


def drain(shipper: Shipper, *, is_final: bool = False) -> list[str]:
    """Step until all is sent; answer what was raised on the way."""
    raised = []
    for _ in range(1000):
        try:
            if not shipper.step(is_final=is_final):
                return raised
        except TransportError as error:
            raised.append(str(error))
    raise AssertionError("no end of it")


def make(journal: Journal, transport: MemoryTransport, said: list[str] | None = None) -> Shipper:
    return Shipper(journal.folder, PATH, transport, say=(said if said is not None else []).append)


class Picky(MemoryTransport):
    """Refuses what a test does not like."""

    def __init__(self, refuses: Callable[[Batch], int | None]) -> None:
        super().__init__()
        self.refuses = refuses
        self.tries = 0

    def send(self, batch: Batch) -> int:
        self.tries += 1
        status = self.refuses(batch)
        if status:
            raise TransportError(f"picky answers {status}", status=status)
        return super().send(batch)


# --- what is sent ------------------------------------------------------------------------


def test_rows_and_records_arrive_as_they_were_written(journal: Journal) -> None:
    """Packed in blocks on the way, whole and in order at the end."""
    journal.append(Kind.RUN, encode_control(1, {"name": "x"}))
    log(journal, 1000)
    journal.append(Kind.CONFIG, encode_control(2, {"set": {"lr": 0.1}, "remove": []}))
    log(journal, 3, 1000)
    exit_record(journal)
    transport = MemoryTransport()
    drain(make(journal, transport))
    entries = transport.entries()

    assert steps(transport) == list(range(1003))
    assert transport.rows()[7] == {"_step": 7, "_time_ns": 1007, "loss": 3.5, "text": "é"}
    assert [entry.kind for entry in entries if not isinstance(entry, Block)] == [Kind.RUN, Kind.CONFIG, Kind.EXIT]
    assert transport.cursors == {(PATH, journal.id): 1006}


def test_a_live_stream_is_followed(journal: Journal) -> None:
    """Each step takes up what has come since, and no more."""
    transport = MemoryTransport()
    shipper = make(journal, transport)
    for start in range(0, 100, 10):
        log(journal, 10, start)
        assert shipper.step()
        assert not shipper.step()

    assert steps(transport) == list(range(100))
    assert sum(batch.rows for batch in transport.batches) == 100


def test_sealed_segments_are_passed_on_as_they_are(journal: Journal) -> None:
    """What the keeper has packed is not packed again."""
    log(journal, 5000)
    journal.close()
    for path in sorted(journal.folder.glob("*.seg")):
        seal(path)
    transport = MemoryTransport()
    drain(make(journal, transport))
    kinds = {frame.kind for batch in transport.batches for frame in scan(batch.body)}

    assert steps(transport) == list(range(5000))
    assert kinds == {Kind.BLOCK}


def test_batches_are_bounded(journal: Journal) -> None:
    """Memory and requests stay small however much there is to send."""
    log(journal, 60_000)
    transport = MemoryTransport()
    drain(make(journal, transport))

    assert len(transport.batches) >= 3
    assert max(batch.rows for batch in transport.batches) <= 17_000
    assert max(len(batch.body) for batch in transport.batches) <= 4 << 20
    assert steps(transport) == list(range(60_000))


def test_the_next_shipper_goes_on_where_the_server_stands(journal: Journal) -> None:
    """The file `acked` is a hint: a lost, stale, foreign or exaggerating one costs a request, nothing else."""
    log(journal, 100)
    transport = MemoryTransport()
    drain(make(journal, transport))
    hint = journal.folder / "acked"

    assert hint.read_text() == "100 memory\n"
    for text in ("100 memory", "", "nonsense \xff", "3 memory", "100000 memory", "50 elsewhere"):
        hint.write_text(text)
        log(journal, 1, len(steps(transport)))
        drain(make(journal, transport))
    assert steps(transport) == list(range(106))


def test_a_server_that_lost_its_store_gets_everything_again(journal: Journal) -> None:
    """Its cursor rules; the journal has it all."""
    log(journal, 50)
    transport = MemoryTransport()
    shipper = make(journal, transport)
    drain(shipper)
    transport.cursors.clear()
    transport._entries.clear()
    log(journal, 50, 50)
    drain(shipper)

    assert steps(transport) == list(range(100))


def test_two_shippers_of_one_stream_do_no_harm(journal: Journal) -> None:
    """Each passes over what the other has sent."""
    transport = MemoryTransport()
    both = [make(journal, transport), make(journal, transport)]
    for start in range(0, 300, 100):
        log(journal, 100, start)
        for shipper in both:
            drain(shipper)
        both.reverse()

    assert steps(transport) == list(range(300))


def test_the_end_is_remembered(journal: Journal) -> None:
    """A stream that said goodbye and arrived whole is never looked into again."""
    log(journal, 5)
    exit_record(journal)
    transport = MemoryTransport()
    drain(make(journal, transport))

    assert read_acked(journal.folder) == (6, "memory", True)
    assert make(journal, transport).has_ended
    assert last_seq(journal.folder) == 6


# --- what is refused ---------------------------------------------------------------------


def test_a_batch_too_large_is_halved(journal: Journal) -> None:
    """A limit of the server's is found, and nothing is lost by it."""
    log(journal, 3000, noise="x" * 300)
    transport = Picky(lambda batch: 413 if len(batch.body) > 5000 else None)
    shipper = make(journal, transport)

    assert drain(shipper) == []
    assert shipper.set_aside == 0
    assert steps(transport) == list(range(3000))


def test_one_record_too_large_is_set_aside_and_the_rest_goes_on(journal: Journal) -> None:
    """It is counted as lost on the server; the journal keeps it."""
    log(journal, 300)
    log(journal, 1, 300, noise=os.urandom(100_000).hex())
    log(journal, 300, 301)
    said: list[str] = []
    transport = Picky(lambda batch: 413 if len(batch.body) > 50_000 else None)
    shipper = make(journal, transport, said)
    drain(shipper)
    lost = [entry for entry in transport.entries() if not isinstance(entry, Block)]

    assert steps(transport) == [step for step in range(601) if step != 300]
    assert [(entry.kind, entry.seq, entry.body["count"]) for entry in lost] == [(Kind.LOST, 301, 1)]
    assert shipper.set_aside == len(said) == 1
    assert "record 301 of run local/digits/r1 is refused" in said[0]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", [[0], [299], [17, 18, 211]])
def test_records_that_are_refused_are_found_and_set_aside(journal: Journal, status: int, bad: list[int]) -> None:
    """By halving: the others arrive, each once."""
    for step in range(300):
        log(journal, 1, step, **({"poison": 1} if step in bad else {}))

    def refuses(batch: Batch) -> int | None:
        rows = [
            row
            for frame in scan(batch.body)
            if frame.kind in (Kind.ROW, Kind.BLOCK)
            for row in (
                Block.from_frame(frame) if frame.kind == Kind.BLOCK else Block.from_rows(frame.seq, [frame.payload])
            ).rows()
        ]
        return status if any("poison" in values for _, _, values in rows) else None

    transport = Picky(refuses)
    said: list[str] = []
    shipper = make(journal, transport, said)
    raised = drain(shipper)
    log(journal, 5, 300)
    drain(shipper)

    assert steps(transport) == [step for step in range(305) if step not in bad]
    assert shipper.set_aside == len(bad)
    assert len(said) == 1
    assert len(raised) == 4 * len(bad)  # a wait between the tries of a record alone
    assert transport.tries < 150


def test_a_server_that_refuses_everything_takes_nothing_away(journal: Journal) -> None:
    """A record is set aside only where the server takes a request without it."""
    log(journal, 100)
    is_broken = True
    transport = Picky(lambda _batch: 400 if is_broken else None)
    said: list[str] = []
    shipper = make(journal, transport, said)
    for _ in range(200):
        try:
            shipper.step()
        except TransportError:
            continue
    is_broken = False
    drain(shipper)

    assert steps(transport) == list(range(100))
    assert shipper.set_aside == 0
    assert said == []


def test_a_server_that_takes_nothing_but_says_yes_is_not_asked_in_a_circle(journal: Journal) -> None:
    """The same cursor again and again is a failure, to be waited for."""
    log(journal, 10)
    transport = MemoryTransport()
    transport.send = lambda _batch: 0  # type: ignore[method-assign]
    shipper = make(journal, transport)
    shipper.step()

    with pytest.raises(TransportError, match="takes nothing behind record 0"):
        shipper.step()


# --- what is damaged ---------------------------------------------------------------------


def test_a_hole_in_a_live_stream_counts_only_when_it_stays(journal: Journal) -> None:
    """The end of a segment may have been half written when it was read, and the next one begun a moment later."""
    log(journal, 3)
    path = journal.folder / "00000002.seg"
    data = b"".join(encode_frame(Kind.ROW, seq, encode((seq - 1, seq, {"a": 1}))) for seq in (5, 6))
    path.write_bytes(encode_segment_header(0, 0) + data)
    now = [0.0]
    transport = MemoryTransport()
    shipper = Shipper(journal.folder, PATH, transport, say=print, clock=lambda: now[0])
    drain(shipper)
    before = steps(transport)
    path.write_bytes(encode_segment_header(0, 0) + encode_frame(Kind.ROW, 4, encode((3, 4, {"a": 1}))) + data)
    drain(shipper)

    assert before == [0, 1, 2]
    assert steps(transport) == [0, 1, 2, 3, 4, 5]
    path.with_name("00000003.seg").write_bytes(
        encode_segment_header(0, 0) + encode_frame(Kind.ROW, 9, encode((8, 9, {"a": 1})))
    )
    drain(shipper)
    now[0] = 3.0
    drain(shipper)
    assert steps(transport) == [0, 1, 2, 3, 4, 5, 8]
    assert [entry.body["count"] for entry in transport.entries() if not isinstance(entry, Block)] == [2]


def test_a_row_that_cannot_be_packed_goes_as_it_is(journal: Journal) -> None:
    """Only that one is lost, by the server's word."""
    log(journal, 10)
    journal.append(Kind.ROW, b"\xc1 no msgpack")
    log(journal, 10, 10)
    transport = MemoryTransport()
    drain(make(journal, transport))

    assert steps(transport) == list(range(20))


# --- the thread --------------------------------------------------------------------------


def sender_of(journal: Journal, transport: MemoryTransport, said: list[str], root: Path) -> Sender:
    sender = Sender.for_journal(journal, PATH, transport, root=root, say=said.append)
    sender._interval = 0.02
    return sender


def until(claim: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.005)


def test_finish_returns_when_all_is_acknowledged(journal: Journal, tmp_path: Path) -> None:
    """And leaves nothing running."""
    transport, said = MemoryTransport(), []  # type: ignore[var-annotated]
    sender = sender_of(journal, transport, said, tmp_path)
    sender.start()
    log(journal, 2000)
    exit_record(journal)

    assert sender.finish() == (0, f"tracker sync {tmp_path}")
    assert steps(transport) == list(range(2000))
    assert transport.is_closed
    assert not sender._thread.is_alive()
    assert said == []


def test_streams_of_forked_children_are_sent_too_and_those_of_others_not(journal: Journal, tmp_path: Path) -> None:
    """A child's stream bears its parent's id; another process of the same run has its own sender."""
    child = Journal(PATH.folder(tmp_path) / "streams", Clock())
    stranger = Journal(PATH.folder(tmp_path) / "streams", Clock())
    for other in (child, stranger):
        log(other, 5)
        other.close()
    child.folder.rename(journal.folder.with_name(f"{journal.id}.77-abcd"))
    log(journal, 5)
    transport = MemoryTransport()
    sender = sender_of(journal, transport, [], tmp_path)
    sender.start()
    sender.finish()

    assert {stream for _, stream in transport.cursors} == {journal.id, f"{journal.id}.77-abcd"}


def test_finish_goes_on_while_the_server_acknowledges(journal: Journal, tmp_path: Path) -> None:
    """However long it takes; and stops soon after the last acknowledgement."""
    log(journal, 120_000)

    class Slow(MemoryTransport):
        def send(self, batch: Batch) -> int:
            if len(self.batches) >= 5:
                threading.Event().wait(60)
            time.sleep(0.25)
            return super().send(batch)

    sender = sender_of(journal, Slow(), [], tmp_path)
    sender.start()
    began = time.monotonic()
    left = sender.finish(stall_seconds=0.6)
    took = time.monotonic() - began

    assert 0 < left.points < 120_000
    assert 1.2 < took < 6


@pytest.mark.parametrize(("stall", "timeout"), [(0.4, None), (60.0, 0.4), (0.0, 0.0)])
def test_finish_is_bounded_when_nothing_is_taken(
    journal: Journal, tmp_path: Path, stall: float, timeout: float | None
) -> None:
    """It says what is left; the next start sends it."""
    log(journal, 10)
    transport = MemoryTransport(faults=[503] * 10_000)
    sender = sender_of(journal, transport, [], tmp_path)
    sender.start()
    until(lambda: sender._backoff.is_waiting)
    began = time.monotonic()
    left = sender.finish(stall, timeout)

    assert left.points == 10
    assert time.monotonic() - began < 2


def test_finish_does_not_sit_out_a_long_wait(journal: Journal, tmp_path: Path) -> None:
    """After a long outage the next try may be a minute away; who waits for `finish()` has it at once."""
    transport = MemoryTransport(faults=[503])
    sender = sender_of(journal, transport, [], tmp_path)
    log(journal, 10)
    sender.start()
    until(lambda: sender._backoff.is_waiting)
    sender._not_before = time.monotonic() + 60
    sender.wake()
    began = time.monotonic()

    assert sender.finish(5.0).points == 0
    assert time.monotonic() - began < 3
    assert steps(transport) == list(range(10))


def test_finish_keeps_a_wait_that_the_server_asked_for(journal: Journal, tmp_path: Path) -> None:
    """It returns instead."""
    transport = MemoryTransport(faults=[TransportError("busy", status=429, retry_after=60)])
    sender = sender_of(journal, transport, [], tmp_path)
    log(journal, 10)
    sender.start()
    until(lambda: sender._backoff.is_waiting)

    assert sender.finish(0.5).points == 10
    assert transport.batches == []


def test_a_short_outage_is_not_worth_a_sentence_a_long_one_is_said_once() -> None:
    """And once more when it is over."""
    said: list[str] = []
    now = [0.0]
    backoff = Backoff(said.append, clock=lambda: now[0], jitter=lambda: 1.0)
    waits = []
    for _ in range(40):
        waits.append(backoff.failed(TransportError("it is away"), now[0]))
        now[0] += waits[-1]
    backoff.succeeded("it")

    assert waits[:5] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert waits == sorted(waits)
    assert waits[-1] > 10
    assert 1 <= len(said) - 1 <= now[0] / 60 + 1
    assert said[0].startswith("it is away. Training goes on")
    assert said[-1] == f"it takes data again, after {now[0]:.0f} s."
    backoff.failed(TransportError("a blink"), now[0])
    backoff.succeeded("it")
    assert said[-1] == f"it takes data again, after {now[0]:.0f} s."


def test_the_waits_are_capped_spread_and_obey_the_server() -> None:
    """A tenth of the outage, at most a minute; Retry-After as it is; a refused key slowly, and said at once."""
    said: list[str] = []
    now = [0.0]
    lows, highs = (Backoff(said.append, clock=lambda: now[0], jitter=lambda x=x: x) for x in (0.0, 1.0))
    for backoff in (lows, highs):
        backoff.failed(TransportError("x"), 0.0)
    now[0] = 10_000.0

    assert (lows.failed(TransportError("x"), 0), highs.failed(TransportError("x"), 0)) == (30.0, 60.0)
    assert lows.failed(TransportError("x", retry_after=7.0), 0) == 7.0
    assert 7.0 <= highs.failed(TransportError("x", retry_after=7.0), 0) <= 8.4
    assert highs.failed(TransportError("x"), 0, is_finishing=True) < 1
    refused = Backoff(said.append, clock=lambda: now[0], jitter=lambda: 1.0)
    assert refused.failed(TransportError("the key is refused", status=401), now[0]) == 4.0
    assert said[-1].startswith("the key is refused")


def test_it_goes_on_by_itself_after_every_kind_of_fault(journal: Journal, tmp_path: Path) -> None:
    """Nothing is final for the process, and a lost answer doubles nothing."""
    faults = [503, 500, "lost answer", 401, TransportError("gone"), OSError("odd"), RuntimeError("a bug"), 429, 404]
    transport = MemoryTransport(faults=faults)
    sender = sender_of(journal, transport, [], tmp_path)
    sender._backoff.failed = lambda *_args, **_kwargs: 0.01  # type: ignore[method-assign]
    sender.start()
    for start in range(0, 500, 50):
        log(journal, 50, start)
        time.sleep(0.01)
    left = sender.finish(stall_seconds=5)

    assert left.points == 0
    assert steps(transport) == list(range(500))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child_the_sender_is_dead(journal: Journal, tmp_path: Path) -> None:
    """No thread, no lock, no wait."""
    sender = sender_of(journal, MemoryTransport(faults=[503] * 10_000), [], tmp_path)
    sender.start()
    log(journal, 10)
    until(lambda: sender._backoff.is_waiting)
    child = os.fork()
    if child == 0:
        sender.wake()
        os._exit(0 if sender.finish(60.0).points == 0 else 1)
    began = time.monotonic()
    _, status = os.waitpid(child, 0)
    sender.finish(0.0)

    assert status == 0
    assert time.monotonic() - began < 5


def test_what_an_earlier_run_left_is_sent_by_the_next(journal: Journal, tmp_path: Path) -> None:
    """Only what was meant for this server: runs written offline stay where they are."""
    root = tmp_path / "runs"
    streams = {}
    for name, hint in {
        "left": "2 memory",
        "offline": None,
        "foreign": "2 http://other",
        "whole": "5 memory whole",
    }.items():
        old = Journal(RunPath("local", "old", name).folder(root) / "streams", Clock())
        log(old, 5)
        old.close()
        folder = old.folder.rename(old.folder.with_name(f"0123-{2**22 + 1}-abcd"))  # a process that is no more
        if hint:
            (folder / "acked").write_text(hint)
        streams[name] = folder
    transport = MemoryTransport()
    transport.cursors[RunPath("local", "old", "left"), streams["left"].name] = 2
    sender = sender_of(journal, transport, [], root)
    log(journal, 3)
    sender.start()
    until(lambda: transport.cursors.get((RunPath("local", "old", "left"), streams["left"].name)) == 5)
    sender.finish()

    assert {path.id for path, _ in transport.cursors} == {"r1", "left"}
    assert [row["_step"] for row in transport.rows(RunPath("local", "old", "left"))] == [2, 3, 4]


def test_the_folder_may_vanish(journal: Journal, tmp_path: Path) -> None:
    """The journal makes it anew, the sender does not stumble."""
    import shutil

    transport, said = MemoryTransport(), []  # type: ignore[var-annotated]
    sender = sender_of(journal, transport, said, tmp_path)
    sender.start()
    log(journal, 10)
    until(lambda: len(steps(transport)) == 10)
    shutil.rmtree(journal.streams)
    time.sleep(0.05)

    assert sender.finish(1.0).points == 0
    assert said == []
