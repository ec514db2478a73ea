"""What a run captured by itself, on its page: the console, the machine, the code, the environment."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import Server, until

PROGRAM = """
import logging, sys, time
import tracker
run = tracker.init(project="captured", dir=sys.argv[1], id="one", settings={"quiet": True})
logging.basicConfig(level=logging.INFO, format="%(message)s")
run.log({"loss": 0.5})
print("\\x1b[31mred\\x1b[0m <img src=x onerror=alert(1)>", flush=True)
logging.getLogger("net").error("a batch was skipped")
for number in range(2000):
    print("line", number)
sys.stdout.flush()
print("waiting", flush=True)
sys.stdin.readline()
print("the end", flush=True)
time.sleep(1.5)
run.finish()
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A training that has printed, in a git repository with a change, and waits for a line to go on."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text(textwrap.dedent(PROGRAM))
    (folder / "model.py").write_text("width = 1\n")
    environment = {name: value for name, value in os.environ.items() if name != "TRACKER_X_DISABLE_STATS"}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True, env=environment)
    (folder / "model.py").write_text("width = 2\n")
    process = subprocess.Popen(
        [sys.executable, "train.py", str(tmp_path / "runs")],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    while (line := process.stdout.readline().strip()) != "waiting":
        assert line
    yield process
    process.kill()
    process.communicate()


def _open(page: Page, server: Server, tab: str = "") -> None:
    page.goto(f"{server.url}/local/captured/runs/one{'?tab=' + tab if tab else ''}")


def _go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin
    program.stdin.write("\n")
    program.stdin.flush()


def test_what_is_printed_is_seen_while_it_is(
    tmp_path: Path, serve: Callable[..., Server], page: Page, program: subprocess.Popen[str]
) -> None:
    """The end is followed; colours are kept, markup is text, records have their level, and all of it is searched."""
    server = serve(tmp_path / "runs")
    until(lambda: server.json("/runs")["total"] == 1)
    _open(page, server, "logs")
    log = page.get_by_role("log")
    expect(log).to_contain_text("waiting")
    _go_on(program)
    expect(log).to_contain_text("the end")
    assert log.locator(".log-line").count() < 200

    search = page.get_by_label("Search what was printed")
    search.fill("onerror")
    expect(log.locator(".log-line")).to_have_count(1)
    expect(log.locator(".ansi-red")).to_have_text("red")
    expect(log).to_contain_text("<img src=x onerror=alert(1)>")
    search.fill("")
    page.get_by_label("level").select_option("ERROR")
    expect(log.locator(".log-line")).to_have_count(1)
    expect(log.locator(".is-error")).to_contain_text("a batch was skipped")


def test_machine_code_and_environment_have_their_places(
    tmp_path: Path, serve: Callable[..., Server], page: Page, program: subprocess.Popen[str]
) -> None:
    """Charts over the time of the run, the change beside the commit, and the facts in the overview."""
    _go_on(program)
    program.communicate(timeout=60)
    server = serve(tmp_path / "runs")
    until(lambda: server.json("/runs")["total"] == 1)
    _open(page, server)
    environment = page.get_by_role("region", name="environment")
    expect(environment.get_by_text("python", exact=True)).to_be_visible()
    environment.get_by_label("Search environment").fill("commit")
    expect(environment.locator("li").filter(has_text="commit")).to_be_visible()

    page.get_by_role("tab", name="system").click()
    expect(page.locator('[data-metric="system/cpu.percent"] .chart')).to_be_visible()
    page.get_by_role("tab", name="files").click()
    files = page.get_by_role("region", name="files")
    expect(files.locator(".patch-added")).to_have_text("+width = 2\n")
    files.get_by_role("button", name="code/script/train.py").click()
    expect(files.locator("pre")).to_contain_text('project="captured"')
    with page.expect_download() as download:
        files.get_by_role("link", name="save").click()
    assert download.value.suggested_filename == "train.py"
