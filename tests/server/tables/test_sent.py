"""A table that is logged online can be asked on the server, with the media in its cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tracker
from tracker import Api

from ..http.helpers import start_server, until


def test_tables_and_their_media_are_sent(home: Path, tmp_path: Path) -> None:
    """Parts as they are logged, and each picture in a cell."""
    pytest.importorskip("PIL")
    server = start_server(tmp_path / "log", "server", folder=tmp_path / "store")
    pictures = [np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8) for n in range(4)]
    try:
        settings = {"silent": True, "base_url": server.url}
        with tracker.init(project="p", id="r", dir=tmp_path / "runs", settings=settings) as run:
            table = tracker.Table(columns=["n", "picture"], log_mode="INCREMENTAL")
            for number, picture in enumerate(pictures):
                table.add_data(number, tracker.Image(picture))
                run.log({"t": table}, step=number)
        with Api(base_url=server.url) as api:
            found = api.run("local/p/r")
            until(lambda: found.load().state == "finished")
            assert found.table("t").filter({"n": {"$gte": 2}}).select(["n"]).rows() == [{"n": 2}, {"n": 3}]
            rows = found.table("t").rows()
            assert [
                np.array_equal(np.asarray(r["picture"].to_pil()), p) for r, p in zip(rows, pictures, strict=True)
            ] == [True] * 4
    finally:
        server.stop()
