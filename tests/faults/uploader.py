"""A training process that logs numbers, pages and versions of an artifact, all of which can be told from their number.

    python uploader.py FOLDER RUN_ID VERSIONS PAUSE_SECONDS EXIT_CODE

What is logged is written to `promised-RUN_ID` in FOLDER, a line each. The last line of stdout is JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

import tracker


def files(run_id: str, number: int) -> dict[str, bytes]:
    """Answer what a version holds: small files, one that packs, one of several chunks that changes a little."""
    dice = random.Random(f"{run_id} {number}")
    large = bytearray(random.Random(run_id).randbytes(6_000_000))
    large[number * 1000 : number * 1000 + 500] = dice.randbytes(500)
    return {
        "a/small": dice.randbytes(3_000),
        "b/empty": b"",
        "c/text.txt": f"the text of {number}\n".encode() * 50_000,
        "d/large.bin": bytes(large),
    }


def page(number: int) -> str:
    """Answer a page that packs badly."""
    return random.Random(number).randbytes(40_000).hex()


def main() -> int:
    """Train."""
    folder, run_id, versions, pause, code = sys.argv[1:]
    promised = os.open(os.path.join(folder, f"promised-{run_id}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    run = tracker.init(project="faults", id=run_id, dir=os.path.join(folder, "runs"))
    raised = 0
    longest = 0.0
    for number in range(int(versions)):
        place = Path(folder, f"files-{run_id}")
        try:
            for name, data in files(run_id, number).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).unlink(missing_ok=True)
                (place / name).write_bytes(data)
            run.log_artifact(place, name=f"of-{run_id}", type="dataset", aliases=[f"n{number}"])
            run.log({f"page {number}": tracker.Html(page(number)), "number": number})
            os.write(promised, b"version %d\n" % number)
            end = time.monotonic() + float(pause)
            while time.monotonic() < end:
                before = time.perf_counter()
                run.log({"loss": 1.0})
                longest = max(longest, time.perf_counter() - before)
                time.sleep(0.005)
        except Exception:
            raised += 1
    before = time.perf_counter()
    run.finish()
    print(json.dumps({"raised": raised, "longest_s": longest, "finish_s": time.perf_counter() - before}))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
