"""What a run printed, over HTTP and in the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tracker
from tracker.core.paths import RunPath
from tracker.core.record import Kind

from .helpers import Server, Writer, until

PATH = RunPath("local", "digits", "aaaa")
URL = "/runs/local/digits/aaaa"


def _line(number: int, text: str, *record: str, source: str = "stdout") -> list[Any]:
    return [number, 1_000_000 + number, source, text, *record]


def _run(root: Path) -> Writer:
    writer = Writer(root, PATH)
    writer.record(Kind.CONSOLE, {"lines": [_line(0, "begin"), _line(1, "1%"), _line(2, "oh", "ERROR", "net")]})
    return writer


def _texts(answer: Any) -> list[str]:
    return [line["text"] for line in answer["lines"]]


def test_lines_are_read_by_the_page_and_followed(start: Callable[..., Server], tmp_path: Path) -> None:
    """In order; what changed since is told again; what is left out is counted."""
    writer = _run(tmp_path)
    server = start("ui", root=tmp_path)
    until(lambda: server.client.get(f"/api/v1{URL}").status_code == 200)
    until(lambda: server.get(f"{URL}/console")["total"] == 3)
    before = server.get(f"{URL}/console")
    writer.record(Kind.CONSOLE, {"lines": [_line(1, "100%"), _line(7, "end")]})
    until(lambda: server.get(f"{URL}/console")["total"] == 4)
    after = server.get(f"{URL}/console")
    writer.end()

    assert _texts(before) == ["begin", "1%", "oh"]
    assert (before["left_out"], after["left_out"]) == (0, 4)
    assert _texts(after) == ["begin", "100%", "oh", "end"]
    assert _texts(server.get(f"{URL}/console?after={before['mark']}")) == ["100%", "end"]
    assert _texts(server.get(f"{URL}/console?after={after['mark']}")) == []
    assert _texts(server.get(f"{URL}/console?search=OH")) == ["oh"]
    assert _texts(server.get(f"{URL}/console?level=error")) == ["oh"]
    assert _texts(server.get(f"{URL}/console?offset=1&limit=2")) == ["100%", "oh"]
    assert _texts(server.get(f"{URL}/console?last=true&limit=2")) == ["oh", "end"]
    assert [after["lines"][2][name] for name in ("logger", "level")] == ["net", "ERROR"]
    assert server.client.get("/api/v1/runs/local/digits/none/console").status_code == 404


def test_what_is_no_line_harms_none_that_is(start: Callable[..., Server], tmp_path: Path) -> None:
    """Records come from other programs and versions too."""
    writer = Writer(tmp_path, PATH)
    odd: list[Any] = [None, 3, [], [1, 2], ["x", 1, "stdout", "text"], [5, 1, "stdout", 7], [2**63, 1, "stdout", "far"]]
    for body in ({"lines": odd}, {"lines": 3}, {}, {"lines": [[*_line(0, "good"), None, 3, "more"]], "rank": "x"}):
        writer.record(Kind.CONSOLE, body)
    writer.end()
    server = start("ui", root=tmp_path)
    until(lambda: server.client.get(f"/api/v1{URL}").status_code == 200)
    found = server.get(f"{URL}/console")

    assert _texts(found) == ["good"]
    assert tuple(found["lines"][0][name] for name in ("level", "logger", "rank")) == (None, None, None)


def test_a_server_has_what_a_program_printed(start: Callable[..., Server], tmp_path: Path) -> None:
    """Sent with all else, by the time `finish` returns; the same through `Api` from the folder and from the server."""
    server = start("server", folder=tmp_path / "store")
    code = (
        "import sys, subprocess, tracker\n"
        "with tracker.init(project='digits', id='aaaa', dir=sys.argv[1], settings={'quiet': True}):\n"
        "    print('from python', flush=True)\n"
        "    subprocess.run(['echo', 'from a subprocess'])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs")],
        env={**os.environ, "TRACKER_BASE_URL": server.url},
        check=True,
        timeout=60,
        capture_output=True,
    )
    with tracker.Api(base_url=server.url) as there, tracker.Api(dir=tmp_path / "runs") as here:
        found = [list(api.run("digits/aaaa").console()) for api in (there, here)]

    assert [line.text for line in found[0]] == ["from python", "from a subprocess"]
    assert found[0] == found[1]


def test_the_terminal_shows_them(tmp_path: Path) -> None:
    """`tracker logs`: colours are for terminals only, and no other control sequence gets out."""
    writer = _run(tmp_path)
    writer.record(Kind.CONSOLE, {"lines": [_line(3, "\x1b[31mred\x1b[0m \x1b]0;title\x07", source="stderr")]})
    writer.end()

    def logs(*arguments: str) -> str:
        command = [sys.executable, "-m", "tracker.core.cli", "logs", "aaaa", "--dir", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert logs() == "begin\n1%\noh\nred �]0;title�\n"
    assert logs("--level", "ERROR") == "oh\n"
    assert logs("-n", "2", "-f") == "oh\nred �]0;title�\n"
    assert '"text": "begin"' in logs("--json")
