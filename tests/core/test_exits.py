"""Every way a program ends, in a real process: the state told, the rows kept, and the process's own end unchanged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tracker
from tracker.core import exits
from tracker.testing import read_runs

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX's")
_OPENING = """
import os, signal, sys, threading, time
import tracker

def me(number):
    os.kill(os.getpid(), number)
    time.sleep(5)

def begin():
    run = tracker.init(project="p", id="r", settings={"silent": True})
    run.log({"a": 1})
    return run
"""


class Ended(NamedTuple):
    """What is left of a process and its run."""

    code: int
    state: str
    exit: dict[str, Any]
    rows: int
    out: str
    err: str


def end(root: Path, body: str, *, command: list[str] | None = None) -> Ended:
    """Run a program to its end and read its run."""
    script = root / "program.py"
    script.write_text(_OPENING + textwrap.dedent(body))
    done = subprocess.run(
        command or [sys.executable, str(script)],
        env={**os.environ, "TRACKER_DIR": str(root / "runs")},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (run,) = read_runs(root / "runs")
    return Ended(done.returncode, run["status"], run["exit"] or {}, len(run["history"]), done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("body", "code", "state", "exit_code"),
    [
        ("begin()", 0, "finished", 0),
        ("begin(); sys.exit()", 0, "finished", 0),
        ("begin(); sys.exit(0)", 0, "finished", 0),
        ("begin(); sys.exit(3)", 3, "failed", 3),
        ("begin(); sys.exit('no data')", 1, "failed", 1),
        ("begin(); exit(4)", 4, "failed", 4),
        ("begin()\ntry: sys.exit(3)\nexcept SystemExit: pass", 0, "finished", 0),
        ("begin()\ntry: sys.exit(3)\nexcept SystemExit: sys.exit(5)", 5, "failed", 5),
        ("begin(); raise SystemExit(6)", 6, "finished", None),
        ("with begin(): raise SystemExit(6)", 6, "failed", 6),
        ("with begin(): sys.exit(0)", 0, "finished", 0),
        ("def main():\n  with begin(): sys.exit(7)\nmain()", 7, "failed", 7),
        ("begin().finish(exit_code=8)", 0, "failed", 8),
        ("t = threading.Thread(target=lambda: sys.exit(3))\nbegin(); t.start(); t.join()", 0, "finished", 0),
        ("t = threading.Thread(target=lambda: 1 / 0)\nbegin(); t.start(); t.join()", 0, "finished", 0),
        ("from sys import exit as leave\nbegin(); leave(9)", 9, "finished", None),
    ],
)
def test_programs_that_end_by_themselves(
    tmp_path: Path, body: str, code: int, state: str, exit_code: int | None
) -> None:
    """A code given to `sys.exit` is told unless somebody caught it; one of a bare SystemExit cannot be seen."""
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit["exit_code"], ended.rows) == (code, state, exit_code, 1)


@pytest.mark.parametrize(
    "body",
    [
        "begin(); raise ValueError('too large')",
        "sys.excepthook = lambda *_: print('mine')\nbegin(); raise ValueError('too large')",
        "begin(); sys.excepthook = lambda *_: print('mine')\nraise ValueError('too large')",
        "begin()\nold = sys.excepthook\nsys.excepthook = lambda *a: (print('mine'), old(*a))\nraise ValueError('too large')",
        "with begin(): raise ValueError('too large')",
        "def work():\n  begin(); raise ValueError('too large')\nt = threading.Thread(target=work); t.start(); t.join(); sys.exit(1)",
    ],
)
def test_an_exception_fails_the_run_and_its_traceback_is_kept(tmp_path: Path, body: str) -> None:
    """Whatever stands at `sys.excepthook`, and in a thread that has opened the run; others' hooks are called."""
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit["exit_code"], ended.rows) == (1, "failed", 1, 1)
    assert ended.exit["reason"] == "ValueError: too large"
    assert "raise ValueError('too large')" in ended.exit["traceback"]
    assert "Traceback" in ended.err or "mine" in ended.out
    assert ("mine" in ended.out) == ("mine" in body)


def test_the_end_is_told_before_threads_that_keep_the_process(tmp_path: Path) -> None:
    """A crashed program with a thread left running shows as failed at once, not when somebody kills it."""
    body = """
    def wait():
        while run.state == "running":
            time.sleep(0.01)
        print(run.state)
    run = begin()
    threading.Thread(target=wait).start()
    raise ValueError
    """

    assert end(tmp_path, body).out == "failed\n"


def test_a_hook_called_by_hand_ends_nothing(tmp_path: Path) -> None:
    """GUIs call `sys.excepthook` for what went wrong in a callback, and go on."""
    body = """
    run = begin()
    try:
        1 / 0
    except ZeroDivisionError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    run.log({"a": 2})
    """
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.rows) == (0, "finished", 2)


@posix
@pytest.mark.parametrize(
    ("name", "before", "state"),
    [
        ("SIGTERM", "", "killed"),
        ("SIGHUP", "", "killed"),
        ("SIGXCPU", "", "killed"),
        ("SIGINT", "", "killed"),
        ("SIGTERM", "run.mark_preempting()", "preempted"),
        ("SIGTERM", "run.finish(); run = begin()", "killed"),
        ("SIGINT", "signal.signal(signal.SIGINT, signal.SIG_DFL)", "crashed"),
        ("SIGKILL", "", "crashed"),
        ("SIGABRT", "", "crashed"),
    ],
)
def test_signals_do_what_they_do_without_us(tmp_path: Path, name: str, before: str, state: str) -> None:
    """The process dies of the signal itself, and where it can be told the run names it."""
    ended = end(tmp_path, f"run = begin()\n{before}\nme(signal.{name})")

    assert ended.code == -getattr(signal, name)
    assert ended.state == state
    if state != "crashed":
        assert (ended.exit["signal"], ended.exit["exit_code"]) == (name, 128 + getattr(signal, name))


@posix
@pytest.mark.parametrize(
    ("body", "code", "state", "name", "rows"),
    [
        # there before: it decides
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nbegin(); me(signal.SIGTERM)", 7, "killed", "SIGTERM", 1),
        (
            "signal.signal(signal.SIGTERM, lambda *_: None)\n"
            "run = begin(); os.kill(os.getpid(), signal.SIGTERM); run.log({'a': 2})",
            0, "finished", None, 2,
        ),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)\nrun = begin(); os.kill(os.getpid(), 1); run.log({'a': 2})", 0, "finished", None, 2),
        (
            "signal.signal(signal.SIGTERM, signal.default_int_handler)\nbegin(); me(signal.SIGTERM)",
            -2, "killed", "SIGTERM", 1,
        ),
        # there later: it takes the place
        ("begin(); signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); me(signal.SIGTERM)", 7, "failed", None, 1),
        ("begin(); signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); me(signal.SIGTERM)", 143, "killed", "SIGTERM", 1),
        (
            "run = begin(); old = signal.getsignal(signal.SIGTERM)\n"
            "signal.signal(signal.SIGTERM, lambda *a: old(*a))\n"
            "os.kill(os.getpid(), signal.SIGTERM); run.log({'a': 2})",
            0, "finished", None, 2,
        ),
        ("begin(); signal.signal(signal.SIGTERM, signal.SIG_DFL); me(signal.SIGTERM)", -15, "crashed", None, 1),
        # caught as KeyboardInterrupt
        ("run = begin()\ntry: me(signal.SIGINT)\nexcept KeyboardInterrupt: run.log({'a': 2})", 0, "finished", None, 2),
    ],
)  # fmt: skip
def test_handlers_of_others_stay_in_charge(
    tmp_path: Path, body: str, code: int, state: str, name: str | None, rows: int
) -> None:
    """Chained, never replaced: what they do with the signal is what happens."""
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit.get("signal"), ended.rows) == (code, state, name, rows)


@posix
def test_a_signal_in_the_middle_of_everything_ends_the_process(tmp_path: Path) -> None:
    """A SIGTERM out of nowhere, while rows are logged: no deadlock, and the rows before it are there."""
    body = """
    run = begin()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        run.log({"a": 1})
    """
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit["signal"]) == (-15, "killed", "SIGTERM")
    assert ended.rows > 10


def test_os_exit_says_nothing(tmp_path: Path) -> None:
    """Nobody is asked: the reader finds the process gone."""
    ended = end(tmp_path, "begin(); os._exit(6)")

    assert (ended.code, ended.state, ended.exit, ended.rows) == (6, "crashed", {}, 1)


@posix
@pytest.mark.parametrize(
    "child",
    [
        "sys.exit(9)",
        "raise ValueError",
        "os._exit(0)",
        "signal.raise_signal(signal.SIGTERM)",
        "run.finish(); sys.exit(9)",
        "tracker.finish()",
    ],
)
def test_a_forked_child_ends_nothing_of_its_parent(tmp_path: Path, child: str) -> None:
    """However it ends, the parent's run goes on and ends with the parent."""
    body = f"""
    run = begin()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        {child}
        os._exit(0)
    os.waitpid(pid, 0)
    run.log({{"a": 2}})
    sys.exit(3)
    """
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit["exit_code"], ended.rows) == (3, "failed", 3, 2)


@posix
def test_a_forked_child_dies_of_a_signal_as_ever(tmp_path: Path) -> None:
    """Our handler does not stay in it."""
    body = """
    run = begin()
    pid = os.fork()
    if pid == 0:
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, sys.excepthook is sys.__excepthook__, flush=True)
        me(signal.SIGTERM)
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
    """
    ended = end(tmp_path, body)

    assert ended.out == "True True\n15\n"
    assert ended.state == "finished"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("last", "state", "exit_code"),
    [("pass", "finished", 0), ("sys.exit(3)", "failed", 3), ("raise ValueError('x')", "failed", 1)],
)
def test_a_run_opened_in_a_worker_ends_with_it(
    tmp_path: Path, method: str, last: str, state: str, exit_code: int
) -> None:
    """`multiprocessing` leaves by os._exit: nothing of the interpreter's own end is called there."""
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    body = f"""
    import multiprocessing
    def work():
        begin()
        {last}
    if __name__ == "__main__":
        worker = multiprocessing.get_context({method!r}).Process(target=work)
        worker.start()
        worker.join()
    """
    ended = end(tmp_path, body)

    assert (ended.code, ended.state, ended.exit["exit_code"], ended.rows) == (0, state, exit_code, 1)


def test_a_program_run_as_a_module_or_from_the_command_line(tmp_path: Path) -> None:
    """`python -m` and `python -c` end as scripts do."""
    (tmp_path / "one").mkdir()
    ended = end(tmp_path / "one", "begin(); sys.exit(3)", command=[sys.executable, "-m", "program"])
    assert (ended.code, ended.state, ended.exit["exit_code"]) == (3, "failed", 3)
    (tmp_path / "two").mkdir()
    code = _OPENING + "begin()\ntry: sys.exit(3)\nexcept SystemExit: pass"
    ended = end(tmp_path / "two", "", command=[sys.executable, "-c", code])
    assert (ended.code, ended.state, ended.exit["exit_code"]) == (0, "finished", 0)


def test_at_a_prompt_an_exception_is_not_the_end(tmp_path: Path) -> None:
    """`python -i`: life goes on."""
    lines = _OPENING.strip() + "\n\nrun = begin()\n1 / 0\nrun.log({'a': 2})\n"
    script = tmp_path / "lines.txt"
    script.write_text(lines.replace("time.sleep(5)\n", "time.sleep(5)\n\n"))
    with script.open() as stdin:
        done = subprocess.run(
            [sys.executable, "-i", "-q"],
            stdin=stdin,
            env={**os.environ, "TRACKER_DIR": str(tmp_path / "runs")},
            capture_output=True,
            text=True,
            timeout=60,
        )

    (run,) = read_runs(tmp_path / "runs")
    assert done.returncode == 0
    assert (run["status"], len(run["history"])) == ("finished", 2)


def _places() -> tuple[Any, ...]:
    return sys.excepthook, sys.exit, exits.threading.excepthook, signal.getsignal(signal.SIGTERM)


def test_nothing_of_ours_is_left_when_no_run_is_open(tmp_path: Path) -> None:
    """Also after several runs at once."""
    before = _places()
    first = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
    second = tracker.init(project="p", dir=tmp_path, settings={"silent": True}, reinit="create_new")
    during = _places()
    first.finish()
    between = _places()
    second.finish()

    assert _places() == before
    assert during == between
    assert all(one is not other for one, other in zip(before, during, strict=True))


def test_whoever_chained_on_top_keeps_working(tmp_path: Path) -> None:
    """Ours stays beneath, once, and does nothing while no run is open."""
    before = sys.exit
    called: list[Any] = []
    try:
        for _ in range(3):
            run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
            if not called:
                ours = sys.exit

                def on_top(code: Any = None, ours: Any = ours) -> Any:
                    called.append(code)
                    return ours(code)

                sys.exit = on_top  # type: ignore[assignment]
            run.finish()
            with pytest.raises(SystemExit):
                sys.exit(3)
            assert sys.exit is on_top
        assert called == [3, 3, 3]
        sys.exit = ours
    finally:
        run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
        run.finish()
        assert sys.exit is before


def test_a_traceback_is_bounded_and_a_broken_exception_is_no_fault() -> None:
    """64 KiB, its two ends; an exception whose text cannot be had is named."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    try:
        raise ValueError("x" * 1_000_000)
    except ValueError as error:
        state = exits.state_of(error)
    assert len(state["traceback"]) < 66_000 and len(state["reason"]) <= 1000
    assert state["traceback"].startswith("Traceback") and "characters left out" in state["traceback"]
    assert exits.state_of(Broken())["reason"].startswith(("Broken", "tests", f"{__name__}"))
    assert exits.state_of(None) == {"state": "finished", "exit_code": 0}


def test_a_notebook_is_known_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython at a terminal is none."""
    import types

    shell = types.ModuleType("IPython")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("IPython", "ipykernel")]:
        monkeypatch.delitem(sys.modules, name)
    assert not exits.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    shell.get_ipython = lambda: object()  # type: ignore[attr-defined]
    assert not exits.in_notebook()
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert exits.in_notebook()
    shell.get_ipython = lambda: None  # type: ignore[attr-defined]
    assert not exits.in_notebook()


@pytest.mark.parametrize(
    ("error", "is_preempting", "state"),
    [
        (None, True, "finished"),
        (SystemExit(0), True, "finished"),
        (ValueError("x"), False, "failed"),
        (ValueError("x"), True, "preempted"),
        (KeyboardInterrupt(), False, "killed"),
        (KeyboardInterrupt(), True, "preempted"),
    ],
)
def test_the_end_of_a_with_block(tmp_path: Path, error: BaseException | None, is_preempting: bool, state: str) -> None:
    """A run that knew it would be stopped was preempted, unless it came to its end."""
    run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
    if is_preempting:
        run.mark_preempting()
    exits.end(run, error)

    assert read_runs(tmp_path)[0]["status"] == state


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_nothing_is_ever_asked(tmp_path: Path, mode: str) -> None:
    """Without an account, without a key, with a server that is not there: what is typed is the program's to read."""
    program = _OPENING + "begin().finish()\nprint(input())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("TRACKER_", "WANDB_"))},
            "HOME": str(tmp_path),
            "TRACKER_DIR": str(tmp_path / "runs"),
            "TRACKER_MODE": mode,
            "TRACKER_BASE_URL": "http://127.0.0.1:9",
            "TRACKER_FINISH_STALL_SECONDS": "0.2",
        },
        cwd=tmp_path,
        input="the program's\n",
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "the program's\n"), done.stderr
    assert [run["status"] for run in read_runs(tmp_path / "runs")] == ["finished"]
