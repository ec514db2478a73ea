"""Bytes and versions through a network that fails, to a server that is killed, from a process that is killed.

Whatever fails: what was logged arrives and is the same, byte by byte; no version is ever visible whose bytes are not all
there; training is not disturbed, and `finish()` is bounded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from .processes import LIMIT_SECONDS, Server, sync
from .proxy import FaultProxy
from .uploader import files, page

pytestmark = pytest.mark.fault
UPLOADER = Path(__file__).with_name("uploader.py")
EXIT_CODE = 7
PATIENT = {"TRACKER_FINISH_STALL_SECONDS": "15", "TRACKER_X_DISABLE_STATS": "true"}
ALL = [
    "refuse", "reset_before", "reset_after", "duplicate", "half_response", "truncate_body", "cut_body", "garbage",
    "garbage_after", "delay:0.2", "status:413", "status:429:1", "status:500", "status:503:1", "status:401", "status:404",
]  # fmt: skip
SHORT = ["reset_after", "cut_body", "garbage_after", "status:413", "status:429:1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the cases that leave it alive."""
    with Server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


class Uploader:
    """A process that logs versions and pages."""

    def __init__(self, folder: Path, url: str, run_id: str, versions: int, pause: float) -> None:
        self.folder = folder
        self.run_id = run_id
        self.process = subprocess.Popen(
            [sys.executable, str(UPLOADER), str(folder), run_id, str(versions), str(pause), str(EXIT_CODE)],
            env={**os.environ, "TRACKER_BASE_URL": url, **PATIENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def promised(self) -> int:
        """Answer how many versions it has logged."""
        try:
            return len((self.folder / f"promised-{self.run_id}").read_text().splitlines())
        except OSError:
            return 0

    def until(self, claim: Callable[[], object]) -> None:
        """Wait until something is true while it runs."""
        limit = time.monotonic() + LIMIT_SECONDS
        while not claim():
            assert time.monotonic() < limit
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def result(self) -> dict[str, Any]:
        """Wait for its end; it never fails for our sake."""
        out, said = self.process.communicate(timeout=LIMIT_SECONDS * 2)
        assert self.process.returncode == EXIT_CODE, said
        assert "Traceback" not in said, said
        measured: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        assert measured["raised"] == 0, said
        return {**measured, "said": said}


def look(server: Server, run_id: str) -> dict[str, dict[str, bytes]]:
    """Answer all versions that are visible, by the number in their alias, with what they hold; read from the server."""
    try:
        found = server._get(f"/artifacts/local/faults/of-{run_id}").json()
    except requests.HTTPError as error:
        assert error.response.status_code == 404
        return {}
    seen = {}
    for version in found["items"]:
        route = f"/artifacts/local/faults/of-{run_id}/v{version['version']}"
        listed = server._get(f"{route}/manifest?flat=true").json()["files"]
        held = {file["path"]: server._get(f"{route}/file/{file['path']}").content for file in listed}
        (alias,) = [alias for alias in version["aliases"] if alias != "latest"]
        seen[alias] = held
    return seen


def check(server: Server, run_id: str, promised: int) -> None:
    """Hold what is on the server against what was logged: versions, in their order, and pages."""
    assert look(server, run_id) == {f"n{number}": files(run_id, number) for number in range(promised)}
    numbers = [version["aliases"] for version in server._get(f"/artifacts/local/faults/of-{run_id}").json()["items"]]
    assert [names[0] for names in numbers] == [f"n{number}" for number in range(promised)]
    pages = {key: value for row in server.rows(run_id) for key, value in row.items() if key.startswith("page ")}
    assert set(pages) == {f"page {number}" for number in range(promised)}
    for key, reference in pages.items():
        text = server._get(f"/runs/local/faults/{run_id}/blobs/{reference['digest']}").content
        assert page(int(key.split()[1])).encode() in text


@pytest.mark.parametrize("fault", ALL)
def test_what_was_logged_arrives_whatever_the_network_does(
    tmp_path: Path, server: Server, fault: str, request: pytest.FixtureRequest
) -> None:
    """Faults come while versions are on their way, and go again; nothing half is seen meanwhile."""
    if fault not in SHORT and not request.config.getoption("--long"):
        pytest.skip("all faults: --long")
    run_id = fault.replace(":", "-").replace(".", "-")
    with FaultProxy(server.port) as proxy:
        uploader = Uploader(tmp_path, proxy.url, run_id, versions=3, pause=0.6)
        uploader.until(lambda: uploader.promised() >= 1)
        proxy.probability = 0.7
        proxy.fault = fault
        uploader.until(lambda: uploader.promised() >= 3)
        for number, held in look(server, run_id).items():
            assert held == files(run_id, int(number[1:]))
        proxy.fault = ""
        measured = uploader.result()

    assert fault == "refuse" or proxy.counts[fault.partition(":")[0]] > 0
    assert "still on this machine" not in measured["said"]
    check(server, run_id, 3)


def test_a_server_that_is_killed_in_mid_upload(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Again and again, at whatever moment: no half version is seen when it is back, and all arrives in the end."""
    kills = 12 if request.config.getoption("--long") else 3
    with Server(tmp_path / "store") as server:
        uploader = Uploader(tmp_path, f"http://127.0.0.1:{server.port}", "server", versions=kills, pause=1.0)
        for number in range(kills - 1):
            uploader.until(lambda number=number: uploader.promised() > number)  # type: ignore[misc]
            time.sleep(0.05 * number)  # another moment each time
            server.kill()
            server.start()
            for alias, held in look(server, "server").items():
                assert held == files("server", int(alias[1:]))
        measured = uploader.result()

        assert "still on this machine" not in measured["said"]
        check(server, "server", kills)


def test_a_client_that_is_killed_in_mid_upload(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> None:
    """What it had logged is completed and sent by `tracker sync`, twice at once; the second time nothing is left."""
    for kill in range(8 if request.config.getoption("--long") else 2):
        run_id = f"client-{kill}"
        uploader = Uploader(tmp_path, f"http://127.0.0.1:{server.port}", run_id, versions=50, pause=0.2)
        uploader.until(lambda kill=kill, uploader=uploader: uploader.promised() > kill)  # type: ignore[misc]
        uploader.process.kill()
        uploader.process.communicate()
        promised = uploader.promised()
        for alias, held in look(server, run_id).items():
            assert held == files(run_id, int(alias[1:]))
        # What died in the middle of log_artifact may be there or not; its number was not promised.
        processes = [sync(tmp_path, f"http://127.0.0.1:{server.port}") for _ in range(2)]
        results = [(*process.communicate(timeout=LIMIT_SECONDS), process.returncode) for process in processes]
        last = sync(tmp_path, f"http://127.0.0.1:{server.port}")
        out, said = last.communicate(timeout=LIMIT_SECONDS)

        assert last.returncode == 0, (results, out, said)
        assert json.loads(out)["sent_files"] == 0, (results, out, said)
        seen = look(server, run_id)
        for number in range(promised):
            assert seen[f"n{number}"] == files(run_id, number)
        for alias, held in seen.items():
            assert held == files(run_id, int(alias[1:]))
