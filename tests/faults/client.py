"""A training process: logs rows whose values can be told from their number, and says what it was promised.

    python client.py FOLDER RUN_ID SECONDS ROWS_PER_SECOND EXIT_CODE

Each number is written to `promised-RUN_ID` in FOLDER when `log` has returned for it. The last line of stdout is JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

import tracker


def row(i: int) -> dict[str, object]:
    """Answer the row of a number; whoever reads it back can tell whether it is right."""
    return {"i": i, "value": (i * 2654435761 % 1000003) / 7, "text": f"row {i}"}


def main() -> int:
    """Train."""
    folder, run_id, seconds, rate, code = sys.argv[1:]
    promised = os.open(os.path.join(folder, f"promised-{run_id}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.perf_counter()
    run = tracker.init(project="faults", id=run_id, dir=os.path.join(folder, "runs"))
    started = time.perf_counter() - began
    if run._sender is not None:
        run._sender._interval = 0.02  # fifty times the requests of a usual run: more of them meet a fault
    raised = 0
    longest = 0.0
    i = 0
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < float(seconds):
        if i > now * float(rate):
            time.sleep(0.001)
            continue
        before = time.perf_counter()
        try:
            run.log(row(i))
        except Exception:
            raised += 1
        else:
            longest = max(longest, time.perf_counter() - before)
            os.write(promised, b"%d\n" % i)
        i += 1
    before = time.perf_counter()
    run.finish()
    finish = time.perf_counter() - before
    print(json.dumps({"rows": i, "raised": raised, "longest_s": longest, "finish_s": finish, "start_s": started}))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
