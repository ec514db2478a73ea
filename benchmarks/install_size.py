"""What an install brings: megabytes and packages, without extras; numpy is counted apart."""

from __future__ import annotations

import re
import sys
from typing import Any

from .harness import PEERS, Bench, Figure, Skipped

NAMES = {"tracker": "runtracker", **{name: name for name in PEERS}}


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    found: dict[str, dict[str, Any]] = {}
    for tool in NAMES:
        try:
            found[tool] = bench.call(tool, "install_size", "measure", distribution=NAMES[tool])
        except Skipped as reason:
            bench.tell(f"{tool}: {reason}")
    numpy = next((f"; numpy alone is {one['numpy_mb']:.0f} MB" for one in found.values() if one["numpy_mb"]), "")
    ours = found.get("tracker", {})
    rows = []
    try:
        loaded = bench.call("tracker", "install_size", "measure_loaded")
        rows += [
            Figure("what a run loads, installed MB", loaded["mb"], {}, 15, note=", ".join(loaded["packages"])),
            Figure("what a run loads, packages", len(loaded["packages"]), {}, 8),
        ]
    except Skipped as reason:
        bench.tell(f"tracker: {reason}")
    for name, key, target in (
        ("installed MB, no extras", "mb", 150),
        ("installed packages, no extras", "packages", 35),
    ):
        peers = {tool: one[key] for tool, one in found.items() if tool in PEERS}
        note = "server and page included" + numpy if key == "mb" else "numpy not counted"
        rows.append(Figure(name, ours.get(key), peers, target, note=note))
    return rows


def measure(distribution: str) -> dict[str, float]:
    """Add up a distribution and all it requires, as installed (with byte code); in the tool's interpreter."""
    names = _closure(distribution)
    return {
        "mb": sum(_bytes(name) for name in names if name != "numpy") / 1e6,
        "packages": len(names - {"numpy"}),
        "numpy_mb": _bytes("numpy") / 1e6 if "numpy" in names else 0,
    }


def measure_loaded() -> dict[str, Any]:
    """Add up the distributions of which a run has loaded a module; of tracker itself, what is not the server."""
    from importlib.metadata import packages_distributions

    import tracker

    with tracker.init(project="size", mode="offline") as run:
        run.log({"loss": 0.5})
    owners = packages_distributions()
    loaded = {name.partition(".")[0] for name, module in list(sys.modules.items()) if getattr(module, "__file__", None)}
    names = {_canonical(owner) for name in loaded for owner in owners.get(name, ())}
    names &= _closure("runtracker")  # not what start-up files of others load
    return {"mb": sum(_bytes(name, but="tracker/server/") for name in names) / 1e6, "packages": sorted(names)}


def _closure(distribution: str) -> set[str]:
    from importlib.metadata import PackageNotFoundError, requires

    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement

    found: set[str] = set()
    wanted: list[tuple[str, str]] = [(distribution, "")]
    seen = set()
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            if name == distribution:
                raise
            continue
        found.add(_canonical(name))
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted += [(requirement.name, option) for option in ("", *requirement.extras)]
    return found


def _bytes(name: str, but: str = "\0") -> int:
    from importlib.metadata import files

    total = 0
    for file in files(name) or []:
        path = file.locate()
        if path.is_file() and not str(file).startswith(but):
            total += path.stat().st_size
    return total


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
