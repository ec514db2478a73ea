"""The runs that the pages under test show, made as users make them."""

from __future__ import annotations

import math
import sys
import textwrap
from pathlib import Path
from typing import Any

import tracker

STEPS = 10_000
SPIKE_AT = 6_173

# Logs a step each tenth of a second until its standard input is closed, and says which and when.
LIVE = textwrap.dedent(
    """
    import select, sys, time
    import tracker

    run = tracker.init(project="live", dir=sys.argv[1], id="live", name="live run")
    step = 0
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        run.log({"loss": 1 / (step + 1)}, step=step)
        print(step, time.time(), flush=True)
        step += 1
    run.finish()
    """
)
LIVE_COMMAND = (sys.executable, "-c", LIVE)


def begin(folder: Path, project: str, **arguments: Any) -> tracker.Run:
    """Begin a run beside others that may be open."""
    return tracker.init(project=project, dir=folder, reinit="create_new", **arguments)


def log_curves(folder: Path) -> None:
    """Three runs of 10,000 steps; the first has a single value 25 above the rest, and some that are not finite."""
    for number in range(3):
        run = begin(
            folder, "curves", id=f"run-{number}", name=f"curve {number}", tags=["baseline"], config={"lr": 0.1 * number}
        )
        for step in range(STEPS):
            loss = math.exp(-step / 3000) + 0.05 * math.sin(step * 1.7 + number)
            row = {"train/loss": loss + 25 * (number == 0 and step == SPIKE_AT), "val/acc": 1 - loss / 2}
            if step % 10 == 0:
                row["odd"] = math.nan if step == 500 else math.inf if step == 700 else loss
            run.log(row, step=step)
        run.finish()


def log_failure(folder: Path) -> None:
    """A run that ended with an exception."""
    config = {
        "model": {"layers": 12, "dropout": math.nan, "act": "gelu"},
        "seed": 2**70,
        "nothing": None,
        "shards": [1, 2, 3],
    }
    try:
        with begin(
            folder,
            "odd",
            id="failed",
            name="failed run",
            notes="Tried a warmup.",
            tags=["a", "b"],
            group="g",
            config=config,
        ) as run:
            run.log({"loss": math.nan, "acc": 0.5})
            raise ValueError("the loss is NaN")
    except ValueError:
        pass


# What a logged text may hold to become more than text.
PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=//evil.example/x>",
    "<svg onload=alert(1)>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<style>@import '//evil.example/x.css'</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<object data=//evil.example/x>",
    "<embed src=//evil.example/x>",
    "<video><source onerror=alert(1)></video>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<form action=//evil.example><button>x</button></form>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "<!--<img src=x onerror=alert(1)>-->",
    "\u202e<script>alert(1)</script>",
    "<x style=background:url(//evil.example/x)>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
]


def log_payloads(folder: Path) -> None:
    """One run for each payload, with it in every text a run has."""
    for number, payload in enumerate(PAYLOADS):
        run = begin(
            folder,
            "hostile",
            id=f"hostile-{number}",
            name=payload,
            tags=[payload],
            notes=payload,
            group=payload,
            job_type=payload,
            config={payload: payload, "nested": {payload: [payload]}},
        )
        for step in range(3):
            run.log({payload: step, f"section/{payload}": step, "text": payload})
        run.finish()
