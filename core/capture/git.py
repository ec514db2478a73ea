"""Asking git about the code: bounded in time and size, and without running anything that the repository configures."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from ..limits import GIT_SECONDS

_PIECE_BYTES = 256 << 10
_LOOK_SECONDS = 0.1  # how often one looks whether git has ended, while it says nothing
# A repository may come from anywhere, and its configuration names programs: a file system monitor, hooks, filters,
# viewers, transports. None of them is needed to look at it.
_QUIET = (
    "--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.safecrlf=false",
    "-c", "core.quotePath=false", "-c", "protocol.allow=never", "-c", "submodule.recurse=false",
    "-c", "diff.external=", "-c", "core.sshCommand=false", "-c", "core.askPass=false", "-c", "credential.helper=",
)  # fmt: skip
_SURROUNDINGS = {
    "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C", "LANGUAGE": "C",
}  # fmt: skip
_NOT_PASSED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_PREFIX", "GIT_NAMESPACE",
               "GIT_OBJECT_DIRECTORY", "GIT_DIFF_OPTS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS")  # fmt: skip


class GitTrouble(Exception):
    """Git gave no answer; the message says why in a few words."""


class TooMuch(GitTrouble):
    """The answer is longer than asked for."""


class Change(NamedTuple):
    """A tracked file that differs from the last commit.

    Args:
        path: From the root on, bytes as git has them.
        status: "M", "A", "D", "T", "U".
        old_mode, new_mode: As git writes them; "160000" is a submodule, "000000" none.
        old_id: Of the blob in the commit, zeros for none.
    """

    path: bytes
    status: str
    old_mode: str
    new_mode: str
    old_id: str


class Git:
    """Git in one folder. What it is told to stop does not go on, whoever waits for it.

    Args:
        folder: Where.
        scratch: The folder for its temporary files; the system's by default, which Python finds by writing into one
            after the other, and leaves what it wrote where it is killed meanwhile.
    """

    def __init__(self, folder: str, scratch: str | None = None) -> None:
        self.folder = folder
        self.scratch = scratch
        self.filters: tuple[str, ...] = ()  # options that take the repository's filters away, see `disarm`
        self._index: str | None = None
        self._take_away: Callable[[], object] = lambda: None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def ask(
        self,
        *arguments: str,
        most_bytes: int = 4 << 20,
        given: bytes | None = None,
        seconds: float = GIT_SECONDS,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        """Answer what git prints.

        Args:
            arguments: Its command line.
            most_bytes: How much it may say.
            given: What it is told on stdin.
            seconds: How long it may take.
            codes: How it may end.

        Raises:
            GitTrouble: It is not there, refuses, takes too long, or says too much (`TooMuch`).
        """
        environment = _environment()
        environment.update(_SURROUNDINGS)
        if self._index is not None:
            environment["GIT_INDEX_FILE"] = os.path.join(self._index, "index")
        command = ["git", *_QUIET, *self.filters, "-C", self.folder, *arguments]
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(process)

        with _scratch(self.scratch) as errors, _scratch(self.scratch) as source:
            if given is not None:
                source.write(given)
                source.seek(0)
            process = self._start(command, environment, source, errors)
            watch = threading.Timer(seconds, end)
            watch.daemon = True
            watch.start()
            try:
                pieces: list[bytes] = []
                size = 0
                for piece in _pieces(process):
                    pieces.append(piece)
                    size += len(piece)
                    if size > most_bytes:
                        raise TooMuch(f"git {arguments[0]} says more than {most_bytes:,} bytes")
                code = process.wait()
            finally:
                watch.cancel()
                watch.join(1.0)  # it ends at once; nobody shall find it among the threads later on
                _kill(process)
                process.stdout.close()  # type: ignore[union-attr]
                self._process = None
            if self._stopped.is_set():
                raise GitTrouble("git was stopped")
            if late.is_set() and code:
                raise GitTrouble(f"git {arguments[0]} did not answer within {seconds:.0f} s")
            if code not in codes:
                errors.seek(0)
                said = errors.read(4096).decode("utf-8", "replace").strip().splitlines()
                raise GitTrouble(said[0][:300] if said else f"git {arguments[0]} ended with {code}")
        return b"".join(pieces)

    def stop(self) -> None:
        """End what is under way, and answer nothing more."""
        with self._lock:
            self._stopped.set()
            process = self._process
        if process is not None:
            _kill(process)

    def copy_index(self) -> None:
        """Work on a copy of the index from now on: git brings it up to date whenever it compares files.

        Raises:
            GitTrouble: It cannot be copied.
        """
        path = os.fsdecode(self.ask("rev-parse", "--git-path", "index").rstrip(b"\n"))
        try:
            self._index = tempfile.mkdtemp(prefix=".git-index-", dir=self.scratch)
            # A program may end before this is done; `TemporaryDirectory` would warn the user of that.
            self._take_away = weakref.finalize(self, shutil.rmtree, self._index, ignore_errors=True)
            # With its time: by that git knows which files may have changed since without showing it.
            shutil.copy2(os.path.join(self.folder, path), os.path.join(self._index, "index"))
        except FileNotFoundError:  # nothing was ever added
            pass
        except OSError as error:
            raise GitTrouble(f"the index cannot be copied ({error.strerror})") from None

    def close(self) -> None:
        """Take the copy away."""
        self._take_away()

    def disarm(self) -> None:
        """Find the programs that the configuration names for filtering files, and take them away for all that follows."""
        pattern = r"^filter\..*\.(clean|smudge|process|required)$"
        found = self.ask("config", "-z", "--name-only", "--get-regexp", pattern, codes=(0, 1))
        options: list[str] = []
        for name in {name for name in found.decode("utf-8", "surrogateescape").split("\0") if name}:
            if "=" in name:  # no option can name it
                raise GitTrouble(f"a filter of the repository has a strange name ({name[:50]!r})")
            options += ["-c", f"{name}={'false' if name.endswith('.required') else ''}"]
        self.filters = tuple(options)

    def changes(self) -> list[Change]:
        """Answer the tracked files that differ from the last commit, staged or not."""
        listed = self.ask(
            "diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=dirty", "--no-ext-diff",
            "--no-textconv", "HEAD", "--",
        ).split(b"\0")  # fmt: skip
        found = []
        for head, path in zip(listed[::2], listed[1::2], strict=False):
            old_mode, new_mode, old_id, _, status = head.decode("ascii", "replace").lstrip(":").split(" ")
            found.append(Change(path, status[:1], old_mode, new_mode, old_id))
        return found

    def sizes(self, ids: Sequence[str]) -> dict[str, int]:
        """Answer the sizes of blobs, in bytes; of those that are at hand."""
        if not ids:
            return {}
        answer = self.ask(
            "cat-file", "--batch-check=%(objectname) %(objectsize)", given="\n".join(ids).encode() + b"\n"
        )
        found = {}
        for line in answer.decode("ascii", "replace").splitlines():
            name, _, size = line.partition(" ")
            if size.isdigit():
                found[name] = int(size)
        return found

    def diff(self, left_out: Sequence[bytes], most_bytes: int) -> bytes:
        """Answer the difference from the last commit, such that `git apply` makes it again to the bit.

        Args:
            left_out: Paths that are not in it.
            most_bytes: How long it may be.
        """
        excluded = [f":(top,exclude,literal){os.fsdecode(path)}" for path in left_out]
        return self.ask(
            "-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "diff.suppressBlankEmpty=false",
            "-c", "diff.interHunkContext=0", "diff", "--binary", "--full-index", "--find-renames", "--unified=3",
            "--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--src-prefix=a/",
            "--dst-prefix=b/", "HEAD", "--", ":/", *excluded, most_bytes=most_bytes,
        )  # fmt: skip

    def filtered(self, paths: Sequence[bytes]) -> set[bytes]:
        """Answer those files whose content in the repository is another program's work (large file storage, encryption)."""
        if not paths:
            return set()
        answer = self.ask("check-attr", "-z", "--stdin", "filter", given=b"\0".join(paths) + b"\0").split(b"\0")
        return {
            path
            for path, value in zip(answer[::3], answer[2::3], strict=False)
            if value not in (b"unspecified", b"unset", b"")
        }

    def others(self, ignored: Sequence[str], most_bytes: int, *, with_known: bool = False) -> list[bytes]:
        """Answer the files that git neither tracks nor ignores.

        Args:
            ignored: More patterns of files to leave out.
            most_bytes: Of all names together; `TooMuch` beyond.
            with_known: Also those it tracks.
        """
        options = [f"--exclude={pattern}" for pattern in ignored]
        known = ["--cached"] if with_known else []
        answer = self.ask("ls-files", "-z", "--others", "--exclude-standard", *known, *options, most_bytes=most_bytes)
        return [path for path in dict.fromkeys(answer.split(b"\0")) if path and not path.endswith(b"/")]

    def _start(
        self, command: Sequence[str], environment: dict[str, str], source: IO[bytes], errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        if self._stopped.is_set():
            raise GitTrouble("git was stopped")
        try:
            # A group of its own: what it starts ends with it, and Ctrl+C at the terminal is not meant for it.
            process = subprocess.Popen(
                command, stdin=source, stdout=subprocess.PIPE, stderr=errors, env=environment,
                start_new_session=sys.platform != "win32",
            )  # fmt: skip
        except FileNotFoundError:
            raise GitTrouble("git is not installed") from None
        except OSError as error:
            raise GitTrouble(f"git cannot be started ({error.strerror})") from None
        # Starting it may take as long as a process that is forked meanwhile lives: nobody waits for that by our lock.
        with self._lock:
            self._process = process
            if self._stopped.is_set():
                _kill(process)
        return process


def _pieces(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Read what it prints, until it has ended.

    Not until its pipe has: a process that the program forks while git is started, one that loads data for instance,
    has the other end too, and may live for as long as the training.
    """
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    if os.name == "nt":  # which cannot wait for pipes, and forks nothing
        yield from iter(lambda: os.read(pipe, _PIECE_BYTES), b"")
        return
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            is_over = process.poll() is not None  # asked first: what it said last is in the pipe by then
            if selector.select(0 if is_over else _LOOK_SECONDS):
                piece = os.read(pipe, _PIECE_BYTES)
                if not piece:
                    return
                yield piece
            elif is_over:
                return


def _environment() -> dict[str, str]:
    for _ in range(100):
        try:
            return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}
        except RuntimeError:  # the program sets a variable just now
            continue
    raise GitTrouble("the environment does not hold still")


def _scratch(folder: str | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise GitTrouble(f"no temporary file can be made ({error.strerror})") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        process.wait(0.5)  # one that a file system holds is not waited for
    except subprocess.TimeoutExpired:
        pass
