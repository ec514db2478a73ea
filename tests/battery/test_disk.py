"""Disks that are full, limited, read-only, slow, failing or gone: one clear message, training goes on, nothing wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from .helpers import lost, numbers, run_program, state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the faults are made with Linux's means")
both = pytest.mark.parametrize("more", [{}, {"BATTERY_WRITTEN": "1"}], ids=["mapped", "written"])

# Logs with room, without, and with room again; says on stdout how far it was each time.
FILLER = """
    run = begin()
    text = "y" * 2000
    def log(first, count):
        for number in range(first, first + count):
            run.log({"n": number, "text": text})
    def wait_for(condition):
        limit = time.monotonic() + 30
        while not condition() and time.monotonic() < limit:
            time.sleep(0.01)
    log(0, 100)
    run.flush()
    fill()
    log(100, 1500)
    held = run._journal.held_bytes
    free()
    wait_for(lambda: run._journal.held_bytes == 0)
    log(1600, 400)
    run.finish()
    print(json.dumps({"held": held}))
"""
BALLAST = """
    def fill():
        with open(folder + "/ballast", "wb", buffering=0) as ballast:
            size = 1 << 20
            while size:
                try:
                    ballast.write(bytes(size))
                except OSError:
                    size //= 2
    def free():
        os.unlink(folder + "/ballast")
"""
INODES = """
    def fill():
        try:
            for number in range(100):
                open(f"{folder}/inode-{number}", "w").close()
        except OSError:
            pass
    def free():
        for number in range(100):
            if os.path.exists(f"{folder}/inode-{number}"):
                os.unlink(f"{folder}/inode-{number}")
"""


@both
def test_a_full_disk_is_met_and_left_again(mount, more):
    """Points logged with the disk full are held, and are on disk as soon as there is room; nothing is lost."""
    folder = mount("-t", "tmpfs", "-o", "size=8m", "tmpfs")
    done = run_program(BALLAST + FILLER, folder, **more)

    assert (done.returncode, done.stderr.count("cannot be written")) == (0, 1), done.stderr
    assert json.loads(done.stdout)["held"] > 0
    assert "is written again" in done.stderr
    assert numbers(folder) == list(range(2000))
    assert (lost(folder), state(folder)) == (0, "finished")


@both
def test_a_disk_that_stays_full_keeps_what_it_took(mount, more):
    """Everything that was on disk stays readable, the rest is said to be lost, and the exit code is the program's."""
    folder = mount("-t", "tmpfs", "-o", "size=3m", "tmpfs")
    code = """
        run = begin()
        for number in range(3000):
            run.log({"n": number, "text": "y" * 2000})
        run.finish()
        sys.exit(3)
    """
    done = run_program(code, folder, **more)
    found = numbers(folder)

    assert done.returncode == 3, done.stderr
    assert done.stderr.count("cannot be written") == 1
    assert "are lost" in done.stderr
    assert found == list(range(len(found)))
    assert len(found) > 500


@both
def test_inodes_that_are_used_up(mount, more):
    """No new segment can be made: points are held until there are inodes again."""
    folder = mount("-t", "tmpfs", "-o", "size=64m,nr_inodes=30", "tmpfs")
    done = run_program(INODES + FILLER, folder, **more)

    assert done.returncode == 0, done.stderr
    assert numbers(folder) == list(range(2000))
    assert (lost(folder), state(folder)) == (0, "finished")


@both
@pytest.mark.parametrize("limit", [100_000, 3_000_000])
def test_a_limit_on_the_size_of_files(tmp_path, more, limit):
    """RLIMIT_FSIZE: the journal goes on in another file, and nothing is said."""
    code = f"""
        import resource
        run = begin()
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        for number in range(2000):
            run.log({{"n": number, "text": "y" * 2000}})
        run.finish()
    """
    done = run_program(code, tmp_path, **more)

    assert done.returncode == 0, done.stderr
    assert "cannot" not in done.stderr
    assert numbers(tmp_path) == list(range(2000))


def test_a_read_only_folder_is_said_at_the_start(mount, tmp_path):
    """The run is kept in the temporary folder instead, and that is told in one line; under strictness init raises."""
    folder = mount("-t", "tmpfs", "-o", "ro", "tmpfs")
    code = """
        run = begin()
        run.log({"n": 1})
        run.finish()
    """
    spare = tmp_path / "spare"
    spare.mkdir()
    done = run_program(code, folder, TMPDIR=str(spare))
    strict = run_program(code, folder, TMPDIR=str(spare), TRACKER_STRICT="1")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1
    (kept,) = spare.iterdir()
    assert numbers(kept) == [1]
    assert strict.returncode == 1
    assert "StorageError" in strict.stderr


def test_a_folder_without_permission_is_said_at_the_start(tmp_path):
    """As above, for whom the system tells apart (not for root)."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder, spare = tmp_path / "runs", tmp_path / "spare"
    folder.mkdir(mode=0o555)
    spare.mkdir()
    done = run_program("begin().finish()", folder, TMPDIR=str(spare))

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1


@both
@pytest.mark.parametrize("action", ["remove", "rename"])
def test_a_folder_that_goes_away_under_the_run(tmp_path, more, action):
    """Removed, it is made anew with the open segment's points; renamed, it is followed. Nothing raises."""
    folder = tmp_path / "runs"
    code = f"""
        import shutil
        run = begin()
        for number in range(100):
            run.log({{"n": number, "text": "y" * 2000}})
        {"shutil.rmtree(folder)" if action == "remove" else "os.rename(folder, folder + '-moved')"}
        for number in range(100, 2000):
            run.log({{"n": number, "text": "y" * 2000}})
        run.finish()
    """
    done = run_program(code, folder, **more)
    found = numbers(folder if action == "remove" else tmp_path / "runs-moved")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert found == list(range(2000))
    assert ("made anew" if action == "remove" else "goes on there") in done.stderr


def injected(calls: str, what: str) -> tuple[str, ...]:
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}")


def has_strace() -> bool:
    if shutil.which("strace") is None:
        return False
    command = [*injected("fsync", "error=EIO"), sys.executable, "-c", "import os; os.fsync(1)"]
    with open(os.devnull) as nothing:
        done = subprocess.run(command, stdin=nothing, capture_output=True, text=True, check=False)
    return "Input/output error" in done.stderr


strace = pytest.mark.skipif(
    not has_strace(), reason="system calls are made to fail by strace, which does not work here"
)


LOGS = """
    run = begin()
    for number in range(1000):
        run.log({"n": number})
    run.flush()
    for number in range(1000, 2000):
        run.log({"n": number})
    run.finish()
    sys.exit(5)
"""


@strace
@both
@pytest.mark.parametrize("what", ["error=EIO", "delay_enter=150000"], ids=["failing", "slow"])
def test_a_disk_that_does_not_confirm(tmp_path, more, what):
    """An fsync that fails or takes long never raises, loses no point, and a failing one is told."""
    done = run_program(LOGS, tmp_path, before=injected("fsync,fdatasync", what), **more)

    assert done.returncode == 5, done.stderr
    assert ("does not confirm" in done.stderr) is ("EIO" in what)
    assert "Traceback" not in done.stderr
    assert numbers(tmp_path) == list(range(2000))


@strace
@pytest.mark.parametrize(
    "call", ["fallocate", "ftruncate", "fsync,fdatasync", "rename,renameat", "madvise", "unlink,unlinkat"]
)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_any_call_may_fail(tmp_path, is_long, call, error):
    """Every k-th call of a kind fails: the exit code is the program's, and all that was logged is there."""
    code = """
        run = begin()
        for number in range(300):
            run.log({"n": number, "text": "y" * 9000})
            if number % 100 == 0:
                run.flush()
        run.finish()
        sys.exit(5)
    """
    for every in (1, 2, 3, 5, 9) if is_long else (1, 2):
        folder = tmp_path / f"every-{every}"
        done = run_program(code, folder, before=injected(call, f"error={error}:when=1+{every}"))

        assert done.returncode == 5, (every, done.stderr)
        assert numbers(folder) == list(range(300))
        assert lost(folder) == 0


def test_descriptors_that_run_out(tmp_path):
    """With no file descriptor left, points are held, and written when there are some again."""
    code = """
        import resource
        run = begin()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for number in range(1500):
            run.log({"n": number, "text": "y" * 2000})
        for fd in taken:
            os.close(fd)
        run.finish()
        sys.exit(5)
    """
    done = run_program(code, tmp_path)

    assert done.returncode == 5, done.stderr
    assert numbers(tmp_path) == list(range(1500))
    assert lost(tmp_path) == 0
