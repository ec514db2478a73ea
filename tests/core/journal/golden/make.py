"""Makes the golden files of version 1. They are never made anew for a version that was released: run this by hand.

python tests/core/journal/golden/make.py
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import msgspec

from tracker.core.journal.frame import encode_frame, encode_segment_header
from tracker.core.journal.seal import seal
from tracker.core.record import Kind, encode_control
from tracker.core.values import encodable

HERE = Path(__file__).parent
BEGIN_NS = 1_767_225_600_000_000_000  # 2026-01-01
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_BEEF))[0]

ROWS: list[tuple[float, int, dict]] = [
    *((step, BEGIN_NS + step * 10_000_000, {"loss": 1 / (step + 1), "epoch": step // 4}) for step in range(8)),
    (8, BEGIN_NS + 90_000_000, {"loss": NAN, "epoch": 2, "note": "naïve 🙂"}),
    (8, BEGIN_NS + 91_000_000, {"loss": math.inf, "val.acc": 1}),
    (-3, BEGIN_NS + 91_000_001, {"loss": -math.inf, "val.acc": 0.5, "ok": True}),
    (2, BEGIN_NS + 91_000_001, {"loss": -0.0, "ok": None, "big": 2**70, "neg": -(2**70)}),
    (2**62, BEGIN_NS + 92_000_000, {}),
    (-(2**62), BEGIN_NS + 93_000_000, {"list": [1, 0.5, "x", None, [2**64]], "empty": {}, "": 18446744073709551615}),
]
FLOAT_STEPS: list[tuple[float, int, dict]] = [
    (0.25, BEGIN_NS + 100_000_000, {"x": 1.5}),
    (1, BEGIN_NS + 101_000_000, {"x": 2}),
]


def row(step: float, time_ns: int, data: dict) -> bytes:
    return msgspec.msgpack.encode((step, time_ns, encodable(data)))


def frames() -> list[bytes]:
    """One of each: rows, nested rows, every kind of control record, and a kind of the future."""
    run = {"id": "abc12345", "project": "golden", "name": "quiet-heron-1", "tags": ["a", "b"], "pid": 4242}
    controls: list[tuple[int, dict]] = [
        (Kind.CONFIG, {"set": {"lr": 0.1, "model": {"layers": 3}}, "remove": []}),
        (Kind.SUMMARY, {"set": {"best": 0.125}, "remove": [["old"]]}),
        (Kind.METRIC, {"name": "val.*", "step_metric": "epoch", "summary": ["min"], "goal": "minimize"}),
        (Kind.ALERT, {"title": "hot", "text": "91 °C", "level": "WARN"}),
        (Kind.HEARTBEAT, {}),
        (Kind.REWIND, {"step": 5}),
        (Kind.LOST, {"count": 2, "reason": "the disk refused"}),
        (Kind.EXIT, {"state": "finished", "exit_code": 0, "reason": None, "traceback": None, "signal": None}),
    ]
    records: list[tuple[int, bytes]] = [(Kind.RUN, encode_control(BEGIN_NS, run))]
    records += [(Kind.ROW, row(*values)) for values in ROWS]
    records += [(Kind.ROW, msgspec.msgpack.encode((9, BEGIN_NS + 94_000_000, {"gen": {"d": {"loss": 0.75}}, "n": 1})))]
    records += [(kind, encode_control(BEGIN_NS + 95_000_000 + kind, body)) for kind, body in controls[:-1]]
    records += [(Kind.ROW, row(*values)) for values in FLOAT_STEPS]
    records += [(200, b"a kind of the future")]
    records += [(kind, encode_control(BEGIN_NS + 110_000_000, body)) for kind, body in controls[-1:]]
    return [encode_frame(kind, seq, payload) for seq, (kind, payload) in enumerate(records, 1)]


def open_segment() -> bytes:
    """A segment as a killed process leaves it: allocated further than it was written, with half a frame at the end."""
    return encode_segment_header(1, BEGIN_NS) + b"".join(frames()) + frames()[1][:30] + bytes(200)


def damaged_segment() -> bytes:
    """The same with its header damaged, a byte flipped in one record, and three bytes of rubbish put in."""
    whole = frames()
    whole[2] = whole[2][:40] + bytes([whole[2][40] ^ 1]) + whole[2][41:]
    whole.insert(5, b"\x00\xf5T")
    return b"\x88" + encode_segment_header(1, BEGIN_NS)[1:] + b"".join(whole)


def main() -> None:
    (HERE / "open-1.seg").write_bytes(open_segment())
    (HERE / "damaged-1.seg").write_bytes(damaged_segment())
    (HERE / "sealed-1.seg").write_bytes(open_segment())
    seal(HERE / "sealed-1.seg", lambda _: None)


if __name__ == "__main__":
    main()
