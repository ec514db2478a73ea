"""Runs with tables in a folder, and an engine over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker import Api
from tracker.core.query.local import LocalSource
from tracker.core.tables import Table

QUIET = {"silent": True}
COUNT = 5000


def predictions(seed: int, count: int = COUNT) -> dict[str, list[Any]]:
    """Answer columns of predictions, with missing and odd values among them."""
    random = np.random.default_rng(seed)
    names = np.array(["cat", "dog", "truck", "ship"])
    score = random.random(count)
    score[::101] = np.nan
    score[::203] = np.inf
    return {
        "id": list(range(count)),
        "truth": names[random.integers(0, 4, count)].tolist(),
        "guess": [None if n % 97 == 0 else str(g) for n, g in enumerate(names[random.integers(0, 4, count)])],
        "score": [None if n % 89 == 0 else float(s) for n, s in enumerate(score)],
        "ok": (random.random(count) < 0.5).tolist(),
    }


def rows_of(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Answer columns as rows."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs: "one" and "two" of the project "p"."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_CACHE_DIR", str(folder / "cache"))
        patch.setenv("TRACKER_CONFIG_DIR", str(folder / "config"))
        for number, name in enumerate(("one", "two")):
            columns = predictions(number)
            growing = Table(columns=["epoch", "value"], log_mode="INCREMENTAL")
            with tracker.init(project="p", id=name, dir=folder / "runs", settings=QUIET) as run:
                run.log({"pred": Table(columns=list(columns), data=rows_of(columns))}, step=0)
                for epoch in range(10):
                    for row in range(100):
                        growing.add_data(epoch, row if epoch < 5 else row + 0.5)
                    run.log({"growing": growing}, step=epoch)
        yield folder / "runs"


@pytest.fixture
def api(root: Path) -> Iterator[Api]:
    """Reads the folder."""
    with Api(dir=root) as api:
        yield api


@pytest.fixture
def ask(root: Path) -> Iterator[Any]:
    """Asks the folder as the HTTP route does."""
    source = LocalSource(root)

    def asked(key: str = "pred", run: str = "one", **query: Any) -> dict[str, Any]:
        return source.tables({"source": {"run": f"local/p/{run}", "key": key}, **query})

    yield asked
    source.close()
