"""Forks, spawns, threads, signals and every way an interpreter ends: nothing hangs, nothing that was logged is lost."""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

import pytest

from .helpers import lost, numbers, run_program, state, stream_folders

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
both = pytest.mark.parametrize("more", [{}, {"BATTERY_WRITTEN": "1"}], ids=["mapped", "written"])


class Way(NamedTuple):
    """A program, and what it must leave.

    Args:
        code: The program.
        numbers: The values of `n` that must be there, each once.
        exit_code: The program's.
        state: The run's; None where a kill decides.
    """

    code: str
    numbers: range
    exit_code: int = 0
    state: str = "finished"


LOG_100 = """
    run = begin()
    for number in range(100):
        run.log({"n": number})
"""

ENDS = {
    "return": Way("", range(100)),
    "finish": Way("    run.finish()", range(100)),
    "sys.exit(0)": Way("    sys.exit(0)", range(100)),
    "sys.exit(3)": Way("    sys.exit(3)", range(100), 3, "failed"),
    "sys.exit(text)": Way("    sys.exit('no')", range(100), 1, "failed"),
    "exception": Way("    raise ValueError('x')", range(100), 1, "failed"),
    "os._exit": Way("    os._exit(4)", range(100), 4, "crashed"),
    "abort": Way("    os.abort()", range(100), -signal.SIGABRT, "crashed"),
    "segfault": Way("    import ctypes; ctypes.string_at(0)", range(100), -signal.SIGSEGV, "crashed"),
    "SIGKILL": Way("    os.kill(os.getpid(), signal.SIGKILL)", range(100), -signal.SIGKILL, "crashed"),
    "SIGTERM": Way("    os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", range(100), -signal.SIGTERM, "killed"),
    "SIGHUP": Way("    os.kill(os.getpid(), signal.SIGHUP); time.sleep(9)", range(100), -signal.SIGHUP, "killed"),
    "SIGINT": Way("    os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", range(100), -signal.SIGINT, "killed"),
    "sys.exit in a thread": Way(
        "    t = threading.Thread(target=sys.exit, args=(7,)); t.start(); t.join()", range(100)
    ),
    "exec": Way("    os.execv(sys.executable, [sys.executable, '-c', ''])", range(100), 0, "crashed"),
}


@both
@pytest.mark.parametrize("end", ENDS)
def test_however_a_process_ends(tmp_path, more, end):
    """All hundred points are there, the exit code is what it would be without us, and the state is true."""
    way = ENDS[end]
    done = run_program(LOG_100 + way.code, tmp_path, **more)

    assert done.returncode == way.exit_code, done.stderr
    assert numbers(tmp_path) == list(way.numbers)
    assert (lost(tmp_path), state(tmp_path)) == (0, way.state)


WAYS = {
    "log in atexit": Way(
        """
    run = begin()
    atexit.register(lambda: run.log({"n": 1}))
    run.log({"n": 0})
    """,
        range(2),
    ),
    "log in __del__": Way(
        """
    import gc
    run = begin()
    class Finalised:
        def __init__(self, number):
            self.number, self.me = number, self  # a cycle: collected in the middle of anything
        def __del__(self):
            run.log({"n": self.number})
            gone.append(self.number)
    gone = []
    gc.set_threshold(5)
    for number in range(2000):
        Finalised(2 * number)
        run.log({"n": 2 * number + 1})
    limit = time.monotonic() + 30
    while len(gone) < 2000 and time.monotonic() < limit:
        gc.collect()  # does nothing while another thread (the keeper's, say) is collecting
        time.sleep(0.001)
    """,
        range(4000),
    ),
    "log in a handler": Way(
        """
    run = begin()
    count = 0
    def handler(*_):
        global count
        count += 1
        run.log({"handled": count})
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(20000):
        run.log({"n": number})
    signal.setitimer(signal.ITIMER_REAL, 0)
    run.finish()
    from tracker.testing import read_runs
    rows = read_runs(folder)[0]["history"]
    handled = sorted(row["handled"] for row in rows if "handled" in row)
    assert handled == list(range(1, count + 1)) and count > 5, (handled[:5], count)
    """,
        range(20_000),
    ),
    "a handler that raises": Way(
        """
    class Timeout(BaseException): pass  # an Exception could be taken for the fault of a value
    def handler(*_):
        raise Timeout
    signal.signal(signal.SIGALRM, handler)
    run = begin()
    number = 0
    for _ in range(60):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0007)
            while True:
                run.log({"n": number}, step=number)
                number += 1
        except Timeout:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    run.finish()
    from tracker.testing import read_runs
    (found,) = read_runs(folder)
    assert found["lost"] == 0, found["lost"]
    assert {row["n"] for row in found["history"]} >= set(range(number)), number
    run = begin()
    for number in range(10):
        run.log({"n": 10**6 + number})
    """,
        range(0),
    ),
    "eight threads": Way(
        """
    run = begin()
    def work(thread):
        for number in range(1000):
            run.log({"n": thread * 1000 + number})
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    """,
        range(8000),
    ),
    "two runs at once": Way(
        """
    one, two = begin(), begin(reinit="create_new")
    for number in range(100):
        (one if number % 2 else two).log({"n": number})
    two.finish()
    """,
        range(100),
    ),
    "a worker that logs": Way(
        """
    run = begin()
    run.log({"n": 0})
    child = os.fork()
    if child == 0:
        for number in range(1, 51):
            run.log({"n": number})
        os._exit(0)
    for number in range(51, 100):
        run.log({"n": number})
    os.waitpid(child, 0)
    """,
        range(100),
    ),
    "a worker that ends by sys.exit": Way(
        """
    run = begin()
    run.log({"n": 0})
    child = os.fork()
    if child == 0:
        run.log({"n": 1})
        sys.exit(0)
    os.waitpid(child, 0)
    run.log({"n": 2})
    """,
        range(3),
    ),
    "a worker that finishes the run": Way(
        """
    run = begin()
    run.log({"n": 0})
    child = os.fork()
    if child == 0:
        run.log({"n": 1})
        run.flush()
        run.finish()
        os._exit(0)
    os.waitpid(child, 0)
    run.log({"n": 2})
    """,
        range(3),
    ),
    "a storm of forks while threads log": Way(
        """
    run = begin()
    def work(thread):
        for number in range(1000):
            run.log({"n": thread * 1000 + number})
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    [thread.start() for thread in threads]
    pids = []
    for child in range(60):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)  # a child that hangs is a failure, told by its code
            run.log({"n": 4000 + child})
            os._exit(0)
        pids.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    [thread.join() for thread in threads]
    assert codes == [0] * 60, codes
    """,
        range(4060),
    ),
    "a pool of forks": Way(
        """
    import multiprocessing
    run = begin()
    def work(number):
        run.log({"n": number})
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(work, range(200))
        pool.close()
        pool.join()
    """,
        range(200),
    ),
    "spawned processes with runs of their own": Way(
        """
    import subprocess
    run = begin()
    run.log({"n": 0})
    code = "import sys, tracker; run = tracker.init(project='battery', dir=sys.argv[1]); run.log({'n': int(sys.argv[2])})"
    children = [subprocess.Popen([sys.executable, "-c", code, folder, str(number)]) for number in (1, 2)]
    assert [child.wait() for child in children] == [0, 0]
    """,
        range(3),
    ),
}


@both
@pytest.mark.parametrize("way", WAYS)
def test_whoever_logs_and_when(tmp_path, more, way):
    """Each program ends by itself, with its code, and each point that it logged is there once."""
    expected = WAYS[way]
    done = run_program(expected.code, tmp_path, **more)

    assert done.returncode == expected.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    if expected.numbers:
        assert numbers(tmp_path) == list(expected.numbers)
    assert lost(tmp_path) == 0


def test_a_daemon_thread_at_shutdown(tmp_path):
    """It may be stopped anywhere, also within an append: the process ends, and what it had logged is there."""
    code = """
        run = begin()
        done = 0
        def work():
            global done
            while True:
                run.log({"n": done}, step=done)
                done += 1
        threading.Thread(target=work, daemon=True).start()
        while done < 2000:
            time.sleep(0.001)
        atexit.register(lambda: print(done, flush=True))
    """
    for more in ({}, {"BATTERY_WRITTEN": "1"}):
        folder = tmp_path / str(len(more))
        done = run_program(code, folder, **more)

        assert done.returncode == 0, done.stderr
        found = numbers(folder)
        assert found == list(range(len(found)))
        assert len(found) >= 2000
        assert state(folder) == "finished"


def test_two_hundred_runs_in_one_process(tmp_path):
    """Neither descriptors nor threads pile up."""
    code = """
        def figures():
            return len(os.listdir("/dev/fd")), threading.active_count()
        begin().finish()
        before = figures()
        for number in range(200):
            run = begin()
            run.log({"n": number})
            run.finish()
        assert figures() == before, (before, figures())
    """
    done = run_program(code, tmp_path, TRACKER_SILENT="true")

    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == list(range(200))


def test_many_children_take_little_room(tmp_path):
    """A child's stream is small: hundreds of workers that log once do not fill the disk."""
    code = """
        run = begin()
        for number in range(40):
            child = os.fork()
            if child == 0:
                run.log({"n": number})
                os._exit(0)
            os.waitpid(child, 0)
    """
    done = run_program(code, tmp_path)
    files = [path for _, stream in stream_folders(tmp_path) for path in stream.iterdir()]

    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == list(range(40))
    assert sum(path.stat().st_blocks for path in files) * 512 < 8 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors")
def test_a_run_that_is_dropped_unfinished(tmp_path):
    """Nobody calls finish, the next run begins: all points are there."""
    code = """
        for number in range(20):
            begin(reinit="finish_previous").log({"n": number})
    """
    done = run_program(code, tmp_path, TRACKER_SILENT="true")

    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == list(range(20))
