"""Measure all subjects and print one table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from .harness import HERE, PEERS, Bench, Figure, machine

SUBJECTS = (
    "log_cost",
    "throughput",
    "step_overhead",
    "watch",
    "xgboost_rounds",
    "hf_trainer",
    "lightning_steps",
    "keras_batches",
    "import_init",
    "capture_cost",
    "console",
    "install_size",
    "bytes_per_point",
    "media",
    "tables",
    "ingest",
    "read",
    "artifacts",
    "kill9",
    "server_faults",
)


def main() -> int:
    """Measure, print the table, keep the figures in `results/`."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="tracker-benchmarks-", dir=options.folder))
    bench = Bench(folder, _peers(options), options.quick, options.python)
    where = machine(folder)
    print(f"measuring on {where}", file=sys.stderr)
    found: list[tuple[str, Figure]] = []
    start = time.monotonic()
    try:
        for subject in options.subjects or SUBJECTS:
            print(f"{time.monotonic() - start:6.0f} s  {subject}", file=sys.stderr, flush=True)
            try:
                found += [
                    (subject, figure) for figure in importlib.import_module(f"benchmarks.{subject}").figures(bench)
                ]
            except Exception as error:
                bench.tell(f"{subject}: {error!r}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = _table([figure for _, figure in found], bench, where, options.quick)
    print(text)
    _keep(found, text, where)
    if options.readme:
        _into_readme([figure for _, figure in found], where)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[[], *SUBJECTS], help="by default all")
    parser.add_argument("--quick", action="store_true", help="less of everything: minutes, and rougher figures")
    parser.add_argument("--readme", action="store_true", help="put the figures that peers have too into the README")
    parser.add_argument("--no-peers", action="store_true", help="measure tracker alone")
    parser.add_argument("--peers-venv", help="a virtual environment that has the peers, or where to make one")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has tracker")
    parser.add_argument("--folder", help="where to write; by default the system's temporary folder")
    return parser.parse_args()


def _peers(options: argparse.Namespace) -> str | None:
    if options.no_peers:
        return None
    folder = Path(options.peers_venv or Path(tempfile.gettempdir()) / "tracker-benchmarks-peers").absolute()
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"installing the peers into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        requirements = str(HERE / "requirements.txt")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True, stdout=sys.stderr)
    return str(python)


def _table(figures: list[Figure], bench: Bench, where: str, is_quick: bool) -> str:
    lines = [
        f"Measured on {where}{', a quick run' if is_quick else ''}; load {os.getloadavg()[0]:.1f} at the end.",
        "",
        "| figure | tracker | best peer | ÷ best peer | target | | note |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for one in figures:
        best = one.best
        peer = f"{best[0]} {_number(best[1], one.digits)}" if best else "–"
        ratio = _number(one.ours / best[1], 2) if best and best[1] and one.ours is not None else "–"
        ours = "–" if one.ours is None else _number(one.ours, one.digits)
        sign = "≥" if one.is_more_better else "≤"
        target = f"{sign} {_number(one.target, 3)}" if one.target is not None else "–"
        verdict = {True: "met", False: "**short**", None: ""}[one.is_met]
        lines.append(f"| {one.name} | {ours} | {peer} | {ratio} | {target} | {verdict} | {one.note} |")
    if bench.skipped:
        lines += ["", "Left out:", "", *(f"- {reason}" for reason in bench.skipped)]
    return "\n".join(lines)


def _into_readme(figures: list[Figure], where: str) -> None:
    lines = [
        f"| {time.strftime('%Y-%m-%d')} | tracker | {' | '.join(PEERS)} |",
        f"| --- | ---: {'| ---: ' * len(PEERS)}|",
    ]
    for one in figures:
        if one.peers and one.ours is not None:
            cells = [_number(one.peers[peer], one.digits) if peer in one.peers else "–" for peer in PEERS]
            lines.append(f"| {one.name} | **{_number(one.ours, one.digits)}** | {' | '.join(cells)} |")
    lines += ["", f"Measured on {where}."]
    page = HERE.parent / "README.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- benchmarks: begin -->\n")
    _, end, after = rest.partition("<!-- benchmarks: end -->")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def _number(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e5:
        return f"{value / 1e3:,.0f} k"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):f}".rstrip("0").rstrip(".") if "e" in text else text


def _keep(found: list[tuple[str, Figure]], text: str, where: str) -> None:
    results = HERE / "results"
    try:
        results.mkdir(exist_ok=True)
        name = time.strftime("%Y%m%d-%H%M%S")
        (results / f"{name}.md").write_text(text + "\n", encoding="utf-8")
        rows = [{"subject": subject, **vars(figure)} for subject, figure in found]
        (results / f"{name}.json").write_text(json.dumps({"machine": where, "figures": rows}, indent=1))
    except OSError as error:
        print(f"the figures are not kept: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
