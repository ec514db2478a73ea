"""One stream on its way to a server: what is behind the server's cursor is read, packed and sent, batch by batch.

Knows no thread and no waiting; the sender, `tracker sync` and the next start of a run all drive it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from .errors import FormatError, TransportError
from .journal import Block, Frame, StreamReader, encode_frame, scan
from .journal.reader import segment_files
from .limits import (
    BLOCK_ROWS,
    COMPLAINT_INTERVAL_SECONDS,
    GAP_SECONDS,
    MAX_BATCH_BYTES,
    MAX_BATCH_RAW_BYTES,
    MAX_BATCH_ROWS,
    MIN_BATCH_BYTES,
    PACK_SLICE_BYTES,
    REFUSALS_BEFORE_SET_ASIDE,
    SEAL_SLICE_ROWS,
    SLOW_BATCH_SECONDS,
)
from .paths import RunPath
from .record import Kind, encode_control
from .transport import Batch, Transport
from .values import encodable, encode

_HINT = "acked"
_TOO_LARGE = 413
_REFUSED = (400, 422)
_UNREADABLE = (FormatError, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
_FEW_ROWS = 4  # fewer are smaller as they are
_QUICK_SECONDS = 0.5
_BREATH_SECONDS = 0.0005
_RECOVERING_BATCHES = 16  # taken in a row before a larger one is tried after a 413


class Piece(NamedTuple):
    """One frame of a batch.

    Args:
        first_seq, last_seq: The records it spans.
        data: The frame's bytes.
        rows: How many of the records are rows.
        is_stand_in: Whether it says that the true record was set aside.
    """

    first_seq: int
    last_seq: int
    data: bytes
    rows: int
    is_stand_in: bool = False


class Acked(NamedTuple):
    """What is remembered beside a stream.

    Args:
        seq: The last sequence number acknowledged.
        address: By which server.
        is_whole: Whether the stream had ended there: nothing will follow.
    """

    seq: int
    address: str
    is_whole: bool


def read_acked(stream: Path) -> Acked | None:
    """Answer what the server has acknowledged, or None where the stream was never meant for one."""
    try:
        words = (stream / _HINT).read_text(encoding="utf-8").split()
        return Acked(int(words[0]), words[1] if len(words) > 1 else "", "whole" in words[2:])
    except (OSError, ValueError, IndexError):
        return None


def last_seq(stream: Path) -> int:
    """Answer the sequence number of a stream's last record, reading as little as possible; 0 where there is none."""
    for file in reversed(segment_files(stream)):
        last = 0
        try:
            for frame in scan(file.path.read_bytes()):
                last = max(last, frame.last_seq)
        except OSError:  # sealed or removed meanwhile
            return max(last, StreamReader(stream).cursor)
        if last:
            return last
    return 0


class Shipper:
    """Sends one stream.

    A batch is sent when the one before it was acknowledged. The server's cursor rules: what it already has is passed
    over, what it has lost is read again. A record that the server refuses is found by halving and set aside: a LOST
    record goes in its place, the journal keeps the true one.

    Args:
        folder: The stream's folder.
        path: The run it belongs to.
        transport: Where to.
        say: Takes a sentence for the user.
        breathe: Called with seconds to wait between slices of work, so that a training thread gets its turn.
        clock: Answers seconds that only go forward.
        is_asking: Ask the server where it stands even if nothing seems left to send: it may have lost its store.
    """

    def __init__(
        self,
        folder: Path,
        path: RunPath,
        transport: Transport,
        *,
        say: Callable[[str], object],
        is_asking: bool = False,
        breathe: Callable[[float], object] = lambda _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.path = path
        self.set_aside = 0
        self.sent_rows = 0
        self.sent_bytes = 0
        self._transport = transport
        self._say = say
        self._breathe = breathe
        self._clock = clock
        self._is_asking = is_asking
        hint = read_acked(folder)
        # One that tells of more than there is comes from another stream's folder, or a damaged disk.
        known = hint is not None and hint.address == transport.address and 0 <= hint.seq <= last_seq(folder)
        self.acked = hint.seq if hint is not None and known else 0
        self._is_noted = known
        self._reader = StreamReader(folder, self.acked)
        self._read_seq = self.acked
        self._pieces: deque[Piece] = deque()
        self._was_cut = False  # reading ended because the batch was full
        self._has_exit = hint is not None and known and hint.is_whole
        self._gap: tuple[int, float] | None = None
        self._most_bytes = MAX_BATCH_BYTES
        self._ceiling = MAX_BATCH_BYTES
        self._taken_in_row = 0
        self._most_pieces: int | None = None  # while looking for the record that is refused
        self._quiet_until = float("-inf")
        self._refusals = 0
        self._reason = ""
        self._short: int | None = None

    @property
    def has_more(self) -> bool:
        """Whether there is surely something to send at once, rather than when more has gathered."""
        return bool(self._pieces) or self._was_cut

    @property
    def has_hole(self) -> bool:
        """Whether there is more behind a hole that may yet be filled."""
        return self._gap is not None

    @property
    def has_ended(self) -> bool:
        """Whether the stream's writer said goodbye, and all before that is acknowledged."""
        return self._has_exit and not self._pieces

    def step(self, *, is_final: bool = False) -> bool:
        """Send one batch.

        Args:
            is_final: The stream's writer is gone: what looks unwritten will stay so.

        Returns:
            Whether the server took anything; False: it has all there is.

        Raises:
            TransportError: Not now; the same batch is sent again by the next call.
            OSError: The stream cannot be read.
            FormatError: It was written by a newer tracker.
        """
        self.note()
        if not self._pieces:
            self._fill(is_final)
        if not self._pieces:
            return self._ask()
        pieces = self._next()
        body = b"".join([piece.data for piece in pieces])
        batch = Batch(
            self.path, self.folder.name, self.acked, pieces[-1].last_seq, body, sum(piece.rows for piece in pieces)
        )
        began = self._clock()
        try:
            acked = self._send(batch)
        except TransportError as error:
            if error.status != _TOO_LARGE and error.status not in _REFUSED:
                raise
            self._refused(pieces, len(body), error)
            return True
        self._refusals = 0
        self._adapt(len(body), self._clock() - began)
        self._is_asking = False
        self._settle(acked, batch.last_seq, len(body))
        return True

    def _ask(self) -> bool:
        """Have the server say where it stands, once; answer whether there is something to send after all."""
        if not self._is_asking:
            return False
        known = self.acked
        self._settle(self._send(Batch(self.path, self.folder.name, known, known, b"", 0)), known, 0)
        self._is_asking = False
        return self.acked < known

    def note(self) -> None:
        """Write down where the server stands, once it changed; a hint for the next start, no more."""
        if self._is_noted:
            return
        self._is_noted = True
        whole = " whole" if self.has_ended else ""
        draft = self.folder / f"{_HINT}.{os.getpid()}.tmp"
        try:
            draft.write_text(f"{self.acked} {self._transport.address}{whole}\n", encoding="utf-8")
            os.replace(draft, self.folder / _HINT)
        except OSError:  # full disk, read-only, removed: the server knows
            return

    # --- reading -------------------------------------------------------------------------

    def _fill(self, is_final: bool) -> None:
        """Read and pack about one batch."""
        self._gap = self._gap if self._gap and self._gap[0] == self._read_seq else None
        self._was_cut = False
        rows: list[Frame] = []
        slice_bytes = raw_bytes = count = 0
        for frame in self._reader.frames(is_final=is_final):
            if frame.seq > self._read_seq + 1 and not self._is_hole(is_final):
                break
            is_row = frame.kind == Kind.ROW
            if frame.last_seq <= self.acked:  # somebody else has sent it meanwhile
                self._read_seq = frame.last_seq
                self._has_exit = frame.kind == Kind.EXIT
                continue
            if rows and (not is_row or frame.seq != self._read_seq + 1):
                self._pack(rows)
                rows, slice_bytes = [], 0
            self._read_seq = frame.last_seq
            count += frame.records
            raw_bytes += len(frame.payload)
            if is_row:
                rows.append(frame)
                slice_bytes += len(frame.payload)
                if len(rows) >= min(SEAL_SLICE_ROWS, BLOCK_ROWS) or slice_bytes >= PACK_SLICE_BYTES:
                    self._pack(rows)
                    rows, slice_bytes = [], 0
            else:
                self._add(frame, frame.records if frame.kind == Kind.BLOCK else 0)
                self._has_exit = frame.kind == Kind.EXIT
            if count >= MAX_BATCH_ROWS or raw_bytes >= MAX_BATCH_RAW_BYTES:
                self._was_cut = True
                break
        if rows:
            self._pack(rows)

    def _is_hole(self, is_final: bool) -> bool:
        """Answer whether missing records are really missing.

        The last record of a segment may have been half written when it was read, and the next segment begun a moment
        later. So a hole counts only when it is still there after a while.
        """
        if is_final or (self._gap and self._gap[0] == self._read_seq and self._clock() - self._gap[1] >= GAP_SECONDS):
            self._gap = None
            return True
        if not self._gap or self._gap[0] != self._read_seq:
            self._gap = (self._read_seq, self._clock())
        self._reader = StreamReader(self.folder, self._read_seq)
        return False

    def _pack(self, rows: list[Frame]) -> None:
        if len(rows) < _FEW_ROWS:
            for frame in rows:
                self._add(frame, 1)
            return
        began = self._clock()
        try:
            block = Block.from_rows(rows[0].seq, [frame.payload for frame in rows])
            piece = Piece(rows[0].seq, rows[-1].seq, block.to_frame(), len(rows))
        except _UNREADABLE:  # a row holds what none should: the server tells which
            for frame in rows:
                self._add(frame, 1)
        else:
            self._pieces.append(piece)
        self._has_exit = False
        # As long as the slice took: the sender never has more than half of the interpreter.
        self._breathe(max(_BREATH_SECONDS, self._clock() - began))

    def _add(self, frame: Frame, rows: int) -> None:
        data = encode_frame(frame.kind, frame.seq, frame.payload, frame.flags, frame.records)
        self._pieces.append(Piece(frame.seq, frame.last_seq, data, rows))
        self._has_exit = False

    # --- sending -------------------------------------------------------------------------

    def _next(self) -> list[Piece]:
        pieces: list[Piece] = []
        size = 0
        for piece in self._pieces:
            size += len(piece.data)
            if pieces and (size > self._most_bytes or len(pieces) == self._most_pieces):
                break
            pieces.append(piece)
        return pieces

    def _send(self, batch: Batch) -> int:
        try:
            return self._transport.send(batch)
        except TransportError:
            raise
        except Exception as error:  # a transport of somebody's own; nothing is final for the process
            text = f"{self._transport.address} cannot be served: {type(error).__name__}: {error}"
            raise TransportError(text) from error

    def _settle(self, acked: int, wanted: int, size: int) -> None:
        if acked < wanted:
            if acked == self._short:
                raise TransportError(f"{self._transport.address} answers, but takes nothing behind record {acked}")
            self._short = acked
        else:
            self._short = None
        while self._pieces and self._pieces[0].last_seq <= acked:
            piece = self._pieces.popleft()
            if piece.is_stand_in:
                self.set_aside += 1
                self._most_pieces = None
                if self._clock() >= self._quiet_until:  # there may be thousands of them
                    self._quiet_until = self._clock() + COMPLAINT_INTERVAL_SECONDS
                    self._say(
                        f"record {piece.last_seq} of run {self.path} is refused by the server and set aside "
                        f"({self._reason}); the journal keeps it, and the rest goes on."
                    )
            elif piece.last_seq > self.acked:
                self.sent_rows += piece.rows
        self.sent_bytes += size
        if acked < self.acked:
            self._go_on_from(acked)
        if acked != self.acked or self.has_ended:
            self._is_noted = False
        self.acked = acked
        if not self._pieces:
            self._most_pieces = None
        elif self._most_pieces is not None and wanted <= acked:
            self._most_pieces *= 2  # that half was good
        self.note()

    def _go_on_from(self, seq: int) -> None:
        self._pieces.clear()
        self._reader = StreamReader(self.folder, seq)
        self._read_seq = seq
        self._was_cut = True
        self._most_pieces = None
        self._has_exit = False

    def _adapt(self, size: int, seconds: float) -> None:
        self._taken_in_row += 1
        if self._taken_in_row % _RECOVERING_BATCHES == 0:
            self._ceiling = min(self._ceiling * 2, MAX_BATCH_BYTES)
        if seconds > SLOW_BATCH_SECONDS:
            self._most_bytes = max(min(self._most_bytes, size) // 2, MIN_BATCH_BYTES)
        elif seconds < _QUICK_SECONDS:
            self._most_bytes *= 2
        self._most_bytes = min(self._most_bytes, self._ceiling)

    def _refused(self, pieces: list[Piece], size: int, error: TransportError) -> None:
        """Make the next batch a smaller one, down to a single record; that one is replaced."""
        self._taken_in_row = 0
        self._reason = str(error)
        if error.status == _TOO_LARGE:
            self._ceiling = self._most_bytes = max(size // 2, 1)
        if len(pieces) > 1:
            self._most_pieces = len(pieces) // 2
            return
        self._most_pieces = 1
        if (
            error.status in (*_REFUSED, _TOO_LARGE)
            and pieces[0].first_seq == pieces[0].last_seq
            and not pieces[0].is_stand_in
        ):
            # A request that was cut on its way is refused as well, and by a proxy whatever it likes. A record is refused
            # when it is so again and again.
            self._refusals += 1
            if self._refusals < REFUSALS_BEFORE_SET_ASIDE:
                raise TransportError(self._reason, retry_after=error.retry_after)
        piece = self._pieces.popleft()
        if piece.is_stand_in:
            # It holds nothing to object to. So it was not the record: everything is refused, and nothing is set aside.
            self._go_on_from(self.acked)
            self._ceiling = self._most_bytes = MAX_BATCH_BYTES
            raise TransportError(self._reason, retry_after=error.retry_after)
        self._pieces.extendleft(reversed(list(_unpacked(piece)) or [_stand_in(piece, self._reason)]))


def _unpacked(piece: Piece) -> Iterator[Piece]:
    """Walk the rows of a block, one piece each; nothing where there is but one record, or no reading it."""
    if piece.first_seq == piece.last_seq:
        return
    try:
        frame = next(scan(piece.data))
        payloads = [
            encode((step, time_ns, encodable(values))) for step, time_ns, values in Block.from_frame(frame).rows()
        ]
    except (*_UNREADABLE, StopIteration):
        return
    for seq, payload in enumerate(payloads, piece.first_seq):
        yield Piece(seq, seq, encode_frame(Kind.ROW, seq, payload), 1)


def _stand_in(piece: Piece, reason: str) -> Piece:
    first, last = piece.first_seq, piece.last_seq
    count = last - first + 1
    body = {"count": count, "reason": f"set aside: {reason}"[:500], "first_seq": first, "last_seq": last}
    frame = encode_frame(Kind.LOST, first, encode_control(time.time_ns(), body), records=count)
    return Piece(first, last, frame, 0, True)
