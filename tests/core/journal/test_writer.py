"""Writing: every append comes back, also when the disk refuses, the folder moves, or one append cuts into another."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from tracker.core.clock import Clock
from tracker.core.journal import Journal, StreamReader, storage, writer
from tracker.core.journal import segments as segment_files
from tracker.core.journal.held import Held
from tracker.core.paths import streams
from tracker.core.record import Kind

both = pytest.mark.parametrize("is_mapped", [True, False], ids=["mapped", "written"])
linux = pytest.mark.skipif(sys.platform != "linux", reason="the disk's faults are made with Linux's means")


class FakeClock(Clock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        super().__init__(lambda: 10**18, lambda: self.ns)

    ns = 0


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def begin(tmp_path, said):
    def make(is_mapped: bool = True, clock: Clock | None = None) -> Journal:
        return Journal(tmp_path / "run" / "streams", clock or Clock(), say=said.append, is_mapped=is_mapped)

    return make


def payload(number: int, size: int = 0) -> bytes:
    return msgspec.msgpack.encode((number, 10**18 + number, {"n": number, "t": "y" * size}))


def numbers(folder: Path) -> list[int]:
    return [row[2]["n"] for entry in StreamReader(folder).entries() if hasattr(entry, "rows") for row in entry.rows()]


def lost(folder: Path) -> int:
    return sum(
        entry.body["count"] for entry in StreamReader(folder).entries() if getattr(entry, "kind", 0) == Kind.LOST
    )


def fail(error: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    return refuse


@both
def test_what_is_appended_is_readable_at_once(begin, is_mapped):
    """Without close, sync or anything else, each record is in the file when `append` returns."""
    journal = begin(is_mapped)
    for number in range(1, 6):
        assert journal.append(Kind.ROW, payload(number)) == number
        assert numbers(journal.folder) == list(range(1, number + 1))
    assert journal.is_mapped is is_mapped
    journal.close()
    assert numbers(journal.folder) == [1, 2, 3, 4, 5]


@both
def test_segments_follow_one_another(begin, is_mapped):
    """Over many segments, with and without one made ready ahead, all records stay in order."""
    journal = begin(is_mapped)
    for number in range(1, 301):
        journal.append(Kind.ROW, payload(number, 60_000))
        if number % 7 == 0:
            journal.prepare()
        if number % 50 == 0:
            journal.sync()
    journal.close()

    assert numbers(journal.folder) == list(range(1, 301))
    assert len(list(journal.folder.iterdir())) == len(journal.closed_segments) > 2


def test_a_record_longer_than_a_segment_gets_one_of_its_size(begin):
    """Nothing is too long to be appended; the segment made ready is skipped for it."""
    journal = begin()
    for number, size in enumerate([700_000, 9_000_000, 1, 12_000_000, 1], 1):
        journal.append(Kind.ROW, payload(number, size))
        journal.prepare()

    assert numbers(journal.folder) == [1, 2, 3, 4, 5]


@both
def test_a_closed_journal_goes_on_in_a_new_segment(begin, is_mapped):
    """Appending after `close` opens the next segment."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))
    journal.close()
    journal.append(Kind.ROW, payload(2))
    journal.close()
    journal.close()

    assert numbers(journal.folder) == [1, 2]


def test_sync_reaches_the_segments_that_are_full(begin, monkeypatch):
    """`sync` has every file on disk that a record was appended to, not only the newest one."""
    synced: set[int] = set()
    monkeypatch.setattr(segment_files, "sync_file", lambda fd: synced.add(os.fstat(fd).st_ino))
    journal = begin()
    for number in range(1, 40):
        journal.append(Kind.ROW, payload(number, 500_000))
    journal.sync()

    assert synced == {path.stat().st_ino for path in journal.folder.iterdir()}


def test_segments_that_nobody_syncs_are_closed_all_the_same(begin):
    """Without a keeper (a forked child) full segments do not pile up as open files."""
    journal = begin(False)
    before = len(os.listdir("/dev/fd"))
    for number in range(1, 60):
        journal.append(Kind.ROW, payload(number))
        journal._segment.room = 0  # type: ignore[attr-defined]
        assert len(os.listdir("/dev/fd")) - before < 25
    journal.sync()

    assert numbers(journal.folder) == list(range(1, 60))


# --- the disk refuses --------------------------------------------------------------------


@both
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_disk_that_refuses_is_said_once_and_gone_on_without(begin, said, monkeypatch, is_mapped, error):
    """Records are held while the disk refuses, and are all there within a second of its taking them again."""
    clock = FakeClock()
    journal = begin(is_mapped, clock)
    journal.append(Kind.ROW, payload(1))
    with monkeypatch.context() as patch:
        patch.setattr(segment_files, "open_segment", fail(error))
        patch.setattr(storage.os, "write", fail(error))
        for number in range(2, 40):
            journal.append(Kind.ROW, payload(number, 60_000))
            clock.ns += 10**8
        with pytest.raises(OSError, match="could not be written yet"):
            journal.sync()
        assert len(said) == 1
        assert "cannot be written" in said[0]
        assert numbers(journal.folder) == list(range(1, 1 + len(numbers(journal.folder))))
    clock.ns += 10**9
    journal.append(Kind.ROW, payload(40))
    journal.prepare()

    assert numbers(journal.folder) == list(range(1, 41))
    assert len(said) == 2
    assert "nothing was lost" in said[1]
    assert journal.held_bytes == 0


def test_the_keeper_writes_what_was_held(begin, monkeypatch):
    """No further append is needed: `prepare` tries as well, in slices."""
    journal = begin(False)
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "write", fail(errno.ENOSPC))
        for number in range(1, 12):
            journal.append(Kind.ROW, payload(number, 1_000_000))
        journal.prepare()
    journal.prepare()

    assert numbers(journal.folder) == list(range(1, 12))


@both
def test_what_cannot_even_be_held_is_counted(begin, said, monkeypatch, is_mapped):
    """Memory is bounded; beyond it records are dropped without a gap, and a LOST record tells how many."""
    clock = FakeClock()
    journal = begin(is_mapped, clock)
    journal._held = Held(250_000)
    with monkeypatch.context() as patch:
        patch.setattr(segment_files, "open_segment", fail(errno.ENOSPC))
        patch.setattr(storage.os, "write", fail(errno.ENOSPC))
        journal._segment.room = 0  # type: ignore[attr-defined]
        for number in range(1, 11):
            journal.append(Kind.ROW, payload(number, 60_000))
            assert journal.held_bytes <= 250_000
    clock.ns += 2 * 10**9
    journal.append(Kind.ROW, payload(11))
    kept = numbers(journal.folder)

    assert kept[:4] == [1, 2, 3, 4]
    assert len(kept) + lost(journal.folder) == 11
    assert [entry.seq for entry in StreamReader(journal.folder).entries() if getattr(entry, "kind", 0) == Kind.LOST]
    assert sum("points are lost from here on" in sentence for sentence in said) == 1
    assert "were lost" in said[-1]


def test_closing_with_held_records_says_how_many_are_lost(begin, said, monkeypatch):
    """A run that ends on a full disk tells what it could not keep."""
    journal = begin(False)
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "write", fail(errno.ENOSPC))
        for number in range(3):
            journal.append(Kind.ROW, payload(number))
        journal.close()

    assert "3 points could not be written" in said[-1]
    assert journal.held_bytes == 0


@linux
def test_a_partly_written_record_is_taken_back(begin, monkeypatch):
    """A disk that takes half a record and then refuses leaves no torn frame behind."""
    journal = begin(False)
    journal.append(Kind.ROW, payload(1))
    size, write = journal._segment.size, os.write
    answers = iter([lambda fd, data: write(fd, data[:10]), fail(errno.ENOSPC)])
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "write", lambda fd, data: next(answers)(fd, data))
        journal.append(Kind.ROW, payload(2))
    (path,) = journal.folder.iterdir()

    assert path.stat().st_size == size
    journal.prepare()
    assert numbers(journal.folder) == [1, 2]


@linux
@both
def test_a_limit_on_the_file_size_begins_another_file(begin, said, is_mapped):
    """RLIMIT_FSIZE: each file is as long as it may be, nothing is held for long, and nothing is said."""
    journal = begin(is_mapped)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, old[1]))
    try:
        for number in range(1, 200):
            journal.append(Kind.ROW, payload(number, 20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)

    assert numbers(journal.folder) == list(range(1, 200))
    assert said == []


def test_a_segment_that_cannot_be_mapped_is_written(begin, monkeypatch):
    """A C library without allocation, or too little address space, only means records are written one by one."""
    monkeypatch.setattr(storage.os, "posix_fallocate", fail(errno.EOPNOTSUPP), raising=False)
    journal = begin(True)
    journal.append(Kind.ROW, payload(1))

    assert not journal.is_mapped
    assert numbers(journal.folder) == [1]


def test_a_file_that_cannot_be_cut_is_as_readable(begin, monkeypatch):
    """Where the end cannot be truncated, zeros stay behind the last frame, and the segment is sealed all the same."""
    journal = begin()
    journal.append(Kind.ROW, payload(1))
    monkeypatch.setattr(storage.os, "ftruncate", fail(errno.EIO))
    journal.close()

    assert numbers(journal.folder) == [1]
    assert len(journal.closed_segments) == 1


@linux
def test_a_file_system_that_died_is_left_before_it_kills(begin, monkeypatch):
    """When the pages ahead cannot be had any more, nothing is stored into that map again."""
    journal = begin()
    journal.append(Kind.ROW, payload(1))

    def dead(_self: object, _ahead: int) -> None:
        raise OSError(errno.EFAULT, "dead")

    with monkeypatch.context() as patch:
        patch.setattr(storage.MappedSegment, "warm", dead)
        with pytest.raises(OSError, match="dead"):
            journal.sync()
        assert journal._segment is segment_files.NO_SEGMENT
    journal.append(Kind.ROW, payload(2))

    assert numbers(journal.folder) == [1, 2]


def test_no_folder_no_journal(tmp_path):
    """The first segment is made at once, so that `init` can say what is wrong."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Journal(tmp_path / "file" / "streams", Clock())


# --- the folder moves --------------------------------------------------------------------


@both
def test_a_removed_folder_is_made_anew(begin, said, is_mapped):
    """What the open segment holds is written again, and the user is told."""
    journal = begin(is_mapped)
    for number in range(1, 4):
        journal.append(Kind.ROW, payload(number))
    shutil.rmtree(journal.streams.parent)
    journal.prepare()
    journal.append(Kind.ROW, payload(4))
    journal.close()

    assert numbers(journal.folder) == [1, 2, 3, 4]
    assert len(said) == 1
    assert "made anew" in said[0]


@both
def test_a_folder_removed_just_before_the_end_is_made_anew(begin, is_mapped):
    """`close` looks as well."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))
    shutil.rmtree(journal.streams.parent)
    journal.close()

    assert numbers(journal.folder) == [1]


@linux
@both
def test_a_renamed_folder_is_followed(begin, said, tmp_path, is_mapped):
    """All that the run writes stays together, wherever it was moved."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))
    (tmp_path / "run").rename(tmp_path / "moved")
    for number in range(2, 200):
        journal.append(Kind.ROW, payload(number, 60_000))
        if number % 10 == 0:
            journal.prepare()
    journal.close()

    assert journal.folder.parent == tmp_path / "moved" / "streams"
    assert numbers(journal.folder) == list(range(1, 200))
    assert not (tmp_path / "run").exists()
    assert sum("goes on there" in sentence for sentence in said) == 1


@linux
def test_a_folder_behind_a_link_was_not_renamed(tmp_path, said):
    """A path through a symbolic link is the same place by another name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    journal = Journal(tmp_path / "link" / "streams", Clock(), say=said.append)
    journal.prepare()

    assert said == []
    assert journal.folder.parent == tmp_path / "link" / "streams"


def test_a_folder_that_cannot_be_made_again_is_said_once(begin, said, monkeypatch):
    """What is logged is lost if nobody acts: the user is told, and training goes on."""
    journal = begin()
    journal.append(Kind.ROW, payload(1))
    shutil.rmtree(journal.folder)
    monkeypatch.setattr(segment_files.Path, "mkdir", fail(errno.EACCES))
    for _ in range(3):
        with pytest.raises(OSError):
            journal.prepare()
        journal.append(Kind.ROW, payload(2))

    assert len(said) == 1
    assert "cannot be made anew" in said[0]


# --- one inside the other ----------------------------------------------------------------


class Interrupting:
    """A segment that does something while a frame is being put."""

    def __init__(self, segment, action, *, is_before: bool) -> None:
        self.__dict__.update(segment=segment, action=action, is_before=is_before)

    def put(self, frame: bytes) -> bool:
        action, self.__dict__["action"] = self.action, None
        if action and self.is_before:
            action()
        done = self.segment.put(frame)
        if action and not self.is_before:
            action()
        return done

    def __getattr__(self, name: str):
        return getattr(self.segment, name)


@both
@pytest.mark.parametrize("is_before", [True, False])
def test_an_append_within_an_append_follows_behind(begin, is_mapped, is_before):
    """What a signal handler or a finaliser logs meanwhile is written right after."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))
    answers: list[int] = []
    journal._segment = Interrupting(
        journal._segment, lambda: answers.append(journal.append(Kind.ROW, payload(3))), is_before=is_before
    )
    journal.append(Kind.ROW, payload(2))

    assert answers == [0]
    assert numbers(journal.folder) == [1, 2, 3]


@both
@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_the_last_record_of_a_dying_process_loses_none(begin, is_mapped, is_before, goes_on):
    """A signal that ends the run in mid-append: the record under way, those behind it and the last one are kept.

    Also where the process lives on and the interrupted append is completed.
    """
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))

    class Death(BaseException):
        pass

    def end() -> None:
        assert journal.append(Kind.ROW, payload(3)) == 0
        assert journal.append(Kind.ROW, payload(4)) == 0
        journal.append_last(Kind.ROW, payload(4))
        journal.close()
        if not goes_on:
            raise Death

    journal._segment = Interrupting(journal._segment, end, is_before=is_before)
    try:
        journal.append(Kind.ROW, payload(2))
    except Death:
        pass

    assert numbers(journal.folder)[:3] == [1, 2, 3]
    assert set(numbers(journal.folder)) == {1, 2, 3, 4}
    assert lost(journal.folder) == 0


@both
@pytest.mark.parametrize("is_before", [True, False])
def test_an_exception_in_the_middle_leaves_no_gap(begin, is_mapped, is_before):
    """After Ctrl-C within an append, the next record has the next number; nothing looks damaged."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))

    def interrupt() -> None:
        raise KeyboardInterrupt

    journal._segment = Interrupting(journal._segment, interrupt, is_before=is_before)
    with pytest.raises(KeyboardInterrupt):
        journal.append(Kind.ROW, payload(2))
    journal.append(Kind.ROW, payload(3))

    assert numbers(journal.folder) == ([1, 3] if is_before else [1, 2, 3])
    assert lost(journal.folder) == 0


def test_a_flag_left_standing_is_seen_through(begin):
    """Were an exception to hit the one line that clears it, the next append would go on all the same."""
    journal = begin()
    journal._busy = True

    assert journal.append(Kind.ROW, payload(1)) == 1


def test_a_payload_that_is_none_costs_no_number(begin):
    """A caller's mistake raises, and the next record is whole."""
    journal = begin()
    with pytest.raises(TypeError):
        journal.append(Kind.ROW, "text")  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"ubyte|format"):
        journal.append(300, b"x")

    assert journal.append(Kind.ROW, payload(1)) == 1


@linux
@both
def test_a_handler_that_logs_all_the_time_loses_nothing(begin, is_mapped):
    """A timer's handler appends in the middle of appends, thousands of times."""
    journal, handled = begin(is_mapped), []

    def handler(*_: object) -> None:
        handled.append(1)
        journal.append(Kind.CONFIG, payload(0))

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for number in range(1, 20_001):
            journal.append(Kind.ROW, payload(number))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    journal.append(Kind.HEARTBEAT, b"\x92\x00\x80")

    assert numbers(journal.folder) == list(range(1, 20_001))
    found = [entry for entry in StreamReader(journal.folder).entries() if getattr(entry, "kind", 0) == Kind.CONFIG]
    assert len(found) == len(handled) > 0
    assert lost(journal.folder) == 0


def test_what_is_said_is_said_without_the_lock(tmp_path, monkeypatch):
    """A logging handler of the user's that waits for another thread that logs to us must not wait for ever."""
    others: list[bool] = []

    def say(_sentence: str) -> None:
        thread = threading.Thread(target=journal.append, args=(Kind.ROW, payload(2)), daemon=True)
        thread.start()
        thread.join(10)
        others.append(thread.is_alive())

    journal = Journal(tmp_path, Clock(), say=say, is_mapped=False)
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "write", fail(errno.ENOSPC))
        journal.append(Kind.ROW, payload(1))

    assert others == [False]


@both
def test_threads_share_a_journal(begin, is_mapped):
    """Eight threads, one stream: every record once, numbered without a gap."""
    journal, each = begin(is_mapped), 2000

    def work(thread: int) -> None:
        for number in range(each):
            journal.append(Kind.ROW, payload(thread * each + number))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        journal.prepare()
        journal.sync()
    journal.close()

    assert sorted(numbers(journal.folder)) == list(range(8 * each))
    assert lost(journal.folder) == 0


# --- forks -------------------------------------------------------------------------------


def in_a_child(action) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@linux
@both
def test_a_forked_child_writes_a_stream_of_its_own(begin, is_mapped):
    """The parent's stream is not touched, the child's is named after it, and a grandchild has one as well."""
    journal = begin(is_mapped)
    journal.append(Kind.ROW, payload(1))

    def child() -> None:
        journal.append(Kind.ROW, payload(10))
        assert in_a_child(lambda: journal.append(Kind.ROW, payload(20))) == 0
        journal.append(Kind.ROW, payload(11))
        journal.sync()
        journal.close()

    assert in_a_child(child) == 0
    journal.append(Kind.ROW, payload(2))
    found = {path.name: numbers(path) for path in streams(journal.streams.parent)}

    assert found.pop(journal.id) == [1, 2]
    assert sorted(found.values()) == [[10, 11], [20]]
    assert all(name.startswith(journal.id + ".") and name.count(".") == 1 for name in found)


@linux
def test_a_child_that_does_not_log_leaves_nothing(begin):
    """No file, no folder, and closing there does not touch the parent's."""
    journal = begin()
    journal.append(Kind.ROW, payload(1))

    assert in_a_child(journal.close) == 0
    assert in_a_child(lambda: None) == 0
    journal.append(Kind.ROW, payload(2))
    assert [numbers(path) for path in streams(journal.streams.parent)] == [[1, 2]]


@linux
def test_a_fork_while_another_thread_holds_the_lock(begin):
    """The child does not wait for a thread that it does not have."""
    journal = begin()
    holds, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with journal._lock, journal._files.syncing:
            holds.set()
            ends.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(30)

    def child() -> None:
        signal.alarm(20)
        journal.append(Kind.ROW, payload(1))
        journal.sync()

    try:
        assert in_a_child(child) == 0
    finally:
        ends.set()
        thread.join()


@linux
@both
def test_a_fork_in_the_middle_of_an_append(begin, is_mapped):
    """The record under way is the parent's; what the child logs afterwards goes to its own stream."""
    journal = begin(is_mapped)
    pids: list[int] = []
    journal._segment = Interrupting(journal._segment, lambda: pids.append(os.fork()), is_before=True)
    try:
        journal.append(Kind.ROW, payload(1))
        journal.append(Kind.ROW, payload(2))
    finally:
        if pids[0] == 0:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    found = {path.name: numbers(path) for path in streams(journal.streams.parent)}

    assert found.pop(journal.id) == [1, 2]
    assert list(found.values()) == [[2]]


@linux
def test_a_child_on_a_full_disk_goes_on(begin, said, monkeypatch):
    """Where the child cannot make a stream of its own, its records are held, and nothing raises."""
    journal = begin()
    read, write = os.pipe()

    def child() -> None:
        monkeypatch.setattr(segment_files, "open_segment", fail(errno.ENOSPC))
        journal.append(Kind.ROW, payload(1))
        os.write(write, b"held" if journal.held_bytes and said else b"lost")

    assert in_a_child(child) == 0
    assert os.read(read, 10) == b"held"


# --- where to map ------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("kind", "files", "block", "maps"),
    [
        ("ext4", 1, 4096, True),
        ("xfs", 1, 4096, True),
        ("tmpfs", 1, 4096, True),
        ("overlay", 1000, 4096, True),
        ("overlay", 0, 4096, False),  # btrfs below
        ("overlay", 1000, 131072, False),  # zfs below
        ("btrfs", 0, 4096, False),
        ("zfs", 1, 131072, False),
        ("nfs4", 1, 1 << 20, False),
        ("lustre", 1, 4096, False),
        ("fuse.sshfs", 1, 4096, False),
        ("fuse.fuse-overlayfs", 1, 4096, False),
        ("9p", 1, 4096, False),
        ("unknown", 1, 4096, False),
    ],
)
def test_only_file_systems_that_overwrite_in_place_are_mapped(tmp_path, monkeypatch, kind, files, block, maps):
    """A map is for where an allocated page needs no new space, ever."""

    class Figures:
        f_files, f_bsize = files, block

    monkeypatch.setattr(storage, "_file_system", lambda _folder: kind)
    monkeypatch.setattr(storage.os, "statvfs", lambda _folder: Figures)

    assert storage.can_map(tmp_path) is maps


@linux
def test_the_file_system_is_found_out(tmp_path):
    """What the kernel tells of its mounts is understood here, on whatever this runs."""
    assert storage._file_system(tmp_path) != "unknown"
    assert storage._file_system(tmp_path / "nowhere") == "unknown"


def test_nothing_but_linux_is_mapped(tmp_path, monkeypatch):
    """Elsewhere allocation promises nothing."""
    monkeypatch.setattr(storage.sys, "platform", "darwin")

    assert not storage.can_map(tmp_path)


def test_the_writer_has_no_other_exclusive_section():
    """`_interrupted` knows the sections that set `_busy`; a third one would have to be named there."""
    source = Path(writer.__file__).read_text()

    assert source.count("self._busy = True") == 1
    assert source.count("self._busy = self._busy, True") == 1
