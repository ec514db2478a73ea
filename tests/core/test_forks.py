"""Forks beside threads of ours that load modules."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# A module that takes its time to load, loaded by one of our threads while the program forks.
PROGRAM = """
    import os, sys, threading, time
    import tracker
    sys.path.insert(0, sys.argv[2])
    run = tracker.init(project="forks", dir=sys.argv[1], settings={"silent": True})
    thread = threading.Thread(target=__import__, args=("slow_module",), name="tracker-test")
    thread.start()
    while "slow_module" not in sys.modules:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        import slow_module
        os._exit(slow_module.VALUE)
    _, status = os.waitpid(child, 0)
    run.finish()
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.fault
def test_a_child_can_load_what_a_thread_of_ours_was_loading(tmp_path: Path) -> None:
    """The lock of a module that is being loaded would be locked for good in the child."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.5)\nVALUE = 7\n")
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "runs"), str(tmp_path)]

    assert subprocess.run(command, timeout=60, check=False).returncode == 7


@pytest.mark.fault
def test_forks_right_behind_the_beginning_do_not_hang(tmp_path: Path) -> None:
    """Children that load what the parts of a run load, forked while they do."""
    program = """
        import os, sys, time
        import tracker
        run = tracker.init(project="forks", dir=sys.argv[1], settings={"silent": True})
        for number in range(20):
            child = os.fork()
            if child == 0:
                import blake3, importlib.metadata, tempfile, uuid, platform
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            time.sleep(0.005)
        run.finish()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]

    assert subprocess.run(command, timeout=60, check=False).returncode == 0


@pytest.mark.fault
def test_a_child_has_no_pipe_of_a_program_that_a_thread_of_ours_was_starting(tmp_path: Path) -> None:
    """Who reads from it would wait for the child's end: here for ever, as the child waits for the parent's."""
    program = """
        import os, subprocess, sys, threading, time
        import tracker
        run = tracker.init(project="forks", dir=sys.argv[1], settings={"silent": True})
        pipe = os.pipe
        is_open = threading.Event()

        def slow_pipe():
            both = pipe()
            is_open.set()
            time.sleep(0.2)
            return both

        os.pipe = slow_pipe
        answers = []
        ask = lambda: answers.append(subprocess.run(["echo", "7"], capture_output=True).stdout)
        thread = threading.Thread(target=ask, name="tracker-test", daemon=True)
        thread.start()
        is_open.wait(30)
        os.pipe = pipe
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        thread.join(30)
        os.kill(child, 9)
        run.finish()
        sys.exit(0 if answers == [b"7\\n"] else 1)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]

    assert subprocess.run(command, timeout=100, check=False).returncode == 0
