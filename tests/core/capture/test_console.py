"""The console, captured from real programs: nothing swallowed, nothing stuck, everything put back."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tracker
from tracker.core.printed import ConsoleLine

LIMIT_SECONDS = 60.0
# Without the code: git is a child while it is asked, and may be slow; that is another part's, and documented.
BEGIN = """
import os, sys, time, signal, subprocess, logging, contextlib, ctypes, threading
import tracker
run = tracker.init(project="console", dir=sys.argv[1], settings={
    "quiet": True, "console": sys.argv[2], "disable_git": True, "disable_code": True})
"""


def command(code: str, folder: Path, mode: str = "auto") -> list[str]:
    """Answer the command that runs a program with a run open."""
    return [sys.executable, "-c", BEGIN + textwrap.dedent(code), str(folder), mode]


def program(code: str, folder: Path, mode: str = "auto", **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end."""
    return subprocess.run(
        command(code, folder, mode),
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", **more},
    )


def lines(folder: Path) -> list[ConsoleLine]:
    """Read what the only run under a folder has printed."""
    with tracker.Api(dir=folder) as api:
        (run,) = api.runs()
        return list(run.console())


def texts(folder: Path, source: str | None = None) -> list[str]:
    """Read the texts of it, in order."""
    return [line.text for line in lines(folder) if source in (None, line.source)]


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    limit = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < limit, "it did not come to pass"
        time.sleep(0.02)


EVERYTHING = """
print("from python")
print("to stderr", file=sys.stderr, flush=True)
sys.stdout.flush()
os.write(1, b"from a library\\n")
subprocess.run(["sh", "-c", "echo from a subprocess; echo its stderr >&2"])
os.write(1, bytes(range(256)) + b"\\xff\\n")
print("\\x1b[31mred\\x1b[0m ü 漢")
for percent in range(0, 101, 5):
    print(f"\\r{percent}%", end="", file=sys.stderr, flush=True)
"""


def test_what_the_user_sees_is_unchanged(tmp_path: Path) -> None:
    """Byte for byte, also what is no text."""
    kept, bare = (program(EVERYTHING, tmp_path / mode, mode) for mode in ("redirect", "off"))

    assert bare.stdout == kept.stdout
    assert bare.stderr == kept.stderr
    assert b"from a library" in kept.stdout


def test_all_that_reaches_the_descriptors_is_kept(tmp_path: Path) -> None:
    """Python's own, libraries', subprocesses'; a progress bar is one line, colours stay."""
    assert program(EVERYTHING, tmp_path).returncode == 0
    printed = texts(tmp_path, "stdout")

    assert {"from python", "from a library", "from a subprocess", "\x1b[31mred\x1b[0m ü 漢"} <= set(printed)
    assert texts(tmp_path, "stderr") == ["to stderr", "its stderr", "100%"]


def test_one_place_for_both_keeps_the_order(tmp_path: Path) -> None:
    """`2>&1`: the lines come out, and are kept, in the order of writing."""
    code = """
    for number in range(300):
        os.write(1 + number % 2, b"%d\\n" % number)
    """
    done = subprocess.run(
        command(code, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS, check=True
    )

    assert [str(number) for number in range(300)] == done.stdout.decode().split() == texts(tmp_path)
    assert {"console"} == {line.source for line in lines(tmp_path)}


@pytest.mark.fault
def test_printing_while_holding_the_lock_does_not_hang(tmp_path: Path) -> None:
    """An extension module may print more than any pipe holds and not let go of the interpreter's lock meanwhile."""
    code = """
    library = ctypes.PyDLL(None)  # calls without letting go of the lock
    data = b"x" * 99 + b"\\n"
    data *= 80_000
    done = 0
    while done < len(data):
        done += library.write(1, data[done:], len(data) - done)
    """
    done = program(code, tmp_path)

    assert done.stdout == (b"x" * 99 + b"\n") * 80_000
    assert len(texts(tmp_path)) == 80_000


@pytest.mark.fault
@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "ctypes.string_at(0)", "os._exit(3)", "os.abort()"]
)
def test_the_last_words_are_passed_on_and_kept(tmp_path: Path, end: str) -> None:
    """Of a program that is killed, that crashes or leaves at once: also what the crash itself prints."""
    done = program(f"import faulthandler\nfaulthandler.enable()\nprint('last words', flush=True)\n{end}", tmp_path)

    assert done.stdout == b"last words\n"
    until(lambda: "last words" in texts(tmp_path))
    if b"Fatal Python error" in done.stderr:
        until(lambda: any("Fatal Python error" in text for text in texts(tmp_path)))


@pytest.mark.fault
def test_training_goes_on_when_the_drain_is_killed(tmp_path: Path) -> None:
    """It is noticed, said, and printing goes where it went before; nothing that was in the pipe is lost."""
    code = """
    import psutil
    print("before", flush=True)
    def drains():
        return [p for p in psutil.process_iter(["cmdline"]) if "drain.py" in " ".join(p.info["cmdline"] or ())
                and run._journal.id in " ".join(p.info["cmdline"])]
    while not drains(): time.sleep(0.01)
    time.sleep(0.5)
    drains()[0].kill()
    for number in range(200):
        print(number, flush=True)
        time.sleep(0.01)
    run.finish()
    print("after", flush=True)
    """
    done = program(code, tmp_path)

    assert ["before", *map(str, range(200)), "after"] == done.stdout.decode().split()
    assert b"has gone" in done.stderr
    assert "before" in texts(tmp_path)


@pytest.mark.fault
def test_nothing_is_swallowed_when_the_run_ends_without_the_drain(tmp_path: Path) -> None:
    """It is killed, and the run ended before anybody has noticed: what is in the pipe still comes out, and no marks."""
    code = """
    import psutil
    def drains():
        return [p for p in psutil.process_iter(["cmdline"]) if "drain.py" in " ".join(p.info["cmdline"] or ())
                and run._journal.id in " ".join(p.info["cmdline"])]
    while not drains(): time.sleep(0.01)
    drain = drains()[0]
    drain.suspend()
    logging.basicConfig(format="%(message)s")
    for number in range(100):
        print(number, flush=True)
        logging.warning(f"warning {number}")
    drain.kill()
    while drain.is_running() and drain.status() != "zombie": time.sleep(0.01)
    run.finish()
    """
    done = program(code, tmp_path)

    assert [str(number) for number in range(100)] == done.stdout.decode().split()
    assert [f"warning {number}" for number in range(100)] == [
        line for line in done.stderr.decode().splitlines() if line.startswith("warning")
    ]
    assert b"7777" not in done.stderr


def test_everything_is_put_back(tmp_path: Path) -> None:
    """After `finish` the descriptors lead where they did, and none is left open."""
    code = """
    import tracker
    count = lambda: len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
    run.finish()
    here, there = [os.fstat(1).st_ino, os.fstat(2).st_ino], count()
    for _ in range(5):
        other = tracker.init(project="console", dir=sys.argv[1], reinit=True, settings={"quiet": True})
        assert [os.fstat(1).st_ino, os.fstat(2).st_ino] != here
        other.finish()
    assert [os.fstat(1).st_ino, os.fstat(2).st_ino] == here
    assert count() == there, (count(), there)
    """
    done = program(code, tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")


def test_what_was_redirected_since_stays_so(tmp_path: Path) -> None:
    """`finish` does not take back what the program itself has put in the place of a descriptor."""
    code = f"""
    with open({str(tmp_path / "inner")!r}, "w") as inner, contextlib.redirect_stdout(inner):
        print("inner")
    sys.stdout.flush()
    os.dup2(os.open({str(tmp_path / "own")!r}, os.O_WRONLY | os.O_CREAT), 1)
    run.finish()
    os.write(1, b"own\\n")
    os.write(2, b"after\\n")
    """
    done = program(code, tmp_path / "runs")

    assert (done.stdout, done.stderr) == (b"", b"after\n")
    assert (tmp_path / "inner").read_text() == "inner\n"
    assert (tmp_path / "own").read_text() == "own\n"


def test_children_print_on(tmp_path: Path) -> None:
    """A forked child's lines are kept, and one that outlives the run still reaches the terminal."""
    code = """
    if os.fork() == 0:
        print("child", flush=True)
        os.read(0, 1)
        print("survivor", flush=True)
        os._exit(0)
    time.sleep(0.2)
    print("parent", flush=True)
    run.finish()
    """
    process = subprocess.Popen(command(code, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.wait(LIMIT_SECONDS) == 0
    assert process.stdin
    process.stdin.write(b"x")
    out, _ = process.communicate(timeout=LIMIT_SECONDS)

    assert out.decode().split() == ["child", "parent", "survivor"]
    assert {"child", "parent"} == set(texts(tmp_path))


def test_a_program_meets_no_child_it_does_not_know(tmp_path: Path) -> None:
    """One that waits for any child waits for its own only."""
    code = """
    try:
        os.wait()
    except ChildProcessError:
        print("alone")
    """
    assert program(code, tmp_path).stdout == b"alone\n"


@pytest.mark.slow
def test_a_runaway_loop_does_not_fill_the_disk(tmp_path: Path) -> None:
    """All of it is passed on, the beginning and the end are kept, what is left out is counted and said."""
    code = """
    run.config.update({"lr": 0.1})
    for number in range(1_000_000):
        print("a line of a loop that has run away, number", number)
    """
    done = program(code, tmp_path)
    kept = lines(tmp_path)
    with tracker.Api(dir=tmp_path) as api:
        (run,) = api.runs()
        page = run._source.console(run._info.path, {"limit": 1})
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.blk")) + sum(
        path.stat().st_size for path in tmp_path.rglob("*.seg")
    )

    assert done.stdout.count(b"\n") == 1_000_000
    assert kept[0].text.endswith("number 0")
    assert kept[-1].text.endswith("number 999999")
    whole = [line for line in kept if not line.text.endswith("…")]
    assert [line.number for line in whole] == [int(line.text.rpartition(" ")[2]) for line in whole]
    assert len(kept) - len(whole) <= 20
    assert page.left_out == 1_000_000 - len(kept) > 0
    assert f"{page.left_out:,} lines".encode() in done.stderr
    assert size < 40 << 20


def test_log_records_have_their_level(tmp_path: Path) -> None:
    """Level and logger of what `logging` prints, in both ways of capturing; the marks reach nobody."""
    code = """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("net.layers").warning("two\\nlines")
    print("plain", file=sys.stderr)
    """
    for mode in ("redirect", "wrap"):
        done = program(code, tmp_path / mode, mode)
        found = [(line.text, line.level, line.logger) for line in lines(tmp_path / mode)]

        assert done.stderr == b"two\nlines\nplain\n"
        assert found == [("two", "WARNING", "net.layers"), ("lines", "WARNING", "net.layers"), ("plain", None, None)]


def test_a_terminal_stays_one(tmp_path: Path) -> None:
    """Programs that ask find a terminal, of the right size, and what they print arrives as it would."""
    code = """
    print(sys.stdout.isatty(), sys.stderr.isatty(), *os.get_terminal_size(1), flush=True)
    """
    main, end = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    # The size is copied by the drain, which needs a moment to begin.
    waited = "for _ in range(500):\n    if os.get_terminal_size(1).columns: break\n    time.sleep(0.01)\n"
    process = subprocess.Popen(
        command(waited + textwrap.dedent(code), tmp_path), stdin=end, stdout=end, stderr=end, start_new_session=True
    )
    os.close(end)
    shown = b""
    while True:
        try:
            data = os.read(main, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    process.wait(LIMIT_SECONDS)
    os.close(main)

    assert shown == b"True True 99 33\r\n"
    assert texts(tmp_path) == ["True True 99 33"]


def test_it_works_below_pytest(tmp_path: Path) -> None:
    """Pytest gets what tests print, and the run has it too."""
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(
            f"""
            import os, tracker
            def test_it(capsys):
                with tracker.init(project="console", dir={str(tmp_path / "runs")!r}, settings={{"quiet": True}}):
                    print("hello")
                assert capsys.readouterr().out == "hello\\n"
            def test_descriptors(capfd):
                with tracker.init(project="console", dir={str(tmp_path / "more")!r}, settings={{"quiet": True}}):
                    print("hello")
                    os.write(1, b"raw\\n")
                assert sorted(capfd.readouterr().out.split()) == ["hello", "raw"]
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_it.py")],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        cwd=tmp_path,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert texts(tmp_path / "runs") == ["hello"]


def test_it_works_in_a_notebook(tmp_path: Path) -> None:
    """A kernel's output goes to the cell as ever, and into the run."""
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    shown: list[str] = []

    def note(message: dict[str, object]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and isinstance(content, dict):
            shown.append(content["text"])

    try:
        client.execute_interactive(
            f"import tracker\nrun = tracker.init(project='console', dir={str(tmp_path)!r}, settings={{'quiet': True}})\n"
            "print('from a cell')",
            output_hook=note,
            timeout=LIMIT_SECONDS,
        )
        client.execute_interactive("print('another')\nrun.finish()", output_hook=note, timeout=LIMIT_SECONDS)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)

    assert "".join(shown) == "from a cell\nanother\n"
    assert texts(tmp_path) == ["from a cell", "another"]


def test_ranks_are_told_apart(tmp_path: Path) -> None:
    """Processes of one job that log to one run."""
    for rank in "01":
        code = BEGIN.replace("settings=", "id='job', resume='allow', settings=") + f"print('rank {rank}')"
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), "auto"],
            env={**os.environ, "RANK": rank},
            timeout=LIMIT_SECONDS,
            capture_output=True,
            check=True,
        )

    assert {(0, "rank 0"), (1, "rank 1")} == {(line.rank, line.text) for line in lines(tmp_path)}


def test_a_closed_reader_is_met_as_ever(tmp_path: Path) -> None:
    """`python train.py | head -1`: the program learns that nobody reads."""
    code = """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while True:
        print("y" * 1000, flush=True)
    """
    process = subprocess.Popen(command(code, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.read(1)
    process.stdout.close()

    assert process.wait(LIMIT_SECONDS) == -signal.SIGPIPE


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """Then nothing is touched."""
    done = program("print(run._captured.__len__() >= 0)\nos.write(1, b'raw')", tmp_path, "off")

    assert done.stdout == b"True\nraw" or done.stdout == b"rawTrue\n"
    assert texts(tmp_path) == []


@pytest.mark.parametrize("mode", ["auto", "wrap"])
def test_secrets_are_shown_and_not_kept(tmp_path: Path, mode: str) -> None:
    """In lines, in a private key of many lines, and in what an exception quotes."""
    code = """
    print("password: hunter2", flush=True)
    print("-----BEGIN PRIVATE KEY-----", flush=True)
    for _ in range(3):
        print("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7", flush=True)
        time.sleep(0.2)
    print("-----END PRIVATE KEY-----", flush=True)
    raise ValueError("no answer from https://me:hunter2@example.org/")
    """
    done = program(code, tmp_path, mode)
    with tracker.Api(dir=tmp_path) as api:
        (run,) = api.runs()
        exit = run.details["exit"]

    assert b"password: hunter2\n" in done.stdout
    assert b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7" in done.stdout
    assert texts(tmp_path, "stdout") == [
        "password: [redacted]",
        "-----BEGIN PRIVATE KEY-----",
        *["[redacted]"] * 3,
        "-----END PRIVATE KEY-----",
    ]
    assert exit["reason"] == "ValueError: no answer from https://me:[redacted]@example.org/"
    assert "hunter2" not in exit["traceback"]
    assert not any("hunter2" in line.text for line in lines(tmp_path))
