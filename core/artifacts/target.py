"""The folder that files are restored into: nothing is written, read or removed outside of it.

Paths come from manifests, and the folder may hold anything, links above all. So every folder on the way is opened by
name from the one before, and a link is not followed; where the system cannot do that (Windows), each is looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError, UsageError

_HAS_DIR_FD = os.open in os.supports_dir_fd
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _BINARY
_DRAFT = ".tracker-part-"
_REPARSE_POINT = 0x400  # a link or junction of Windows
# Names that Windows gives to devices, whatever follows the dot, and characters that it does not take.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"|?*]|[ .]$')


class Target:
    """A folder that is written below.

    Args:
        folder: Which; made where it is missing. It may be reached by links, what is below it may not.

    Raises:
        StorageError: It cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = os.urandom(4).hex()
        self._count = 0
        self._lock = threading.Lock()
        self._local = threading.local()
        self._opened: set[int] = set()
        try:
            self.was_there = folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            self._root = os.open(folder, _FOLDER & ~getattr(os, "O_NOFOLLOW", 0)) if _HAS_DIR_FD else None
        except OSError as error:
            raise _storage_error(f"the folder {folder} cannot be written", error) from error

    def close(self) -> None:
        """Let the folders go."""
        with self._lock:
            for fd in self._opened:
                os.close(fd)
            self._opened.clear()
            if self._root is not None:
                os.close(self._root)
                self._root = None

    def check(self, paths: Iterable[str]) -> None:
        """Look whether all these paths can be there side by side.

        Raises:
            UsageError: The system reserves one of the names, or two are the same to the file system.
        """
        seen: dict[str, str] = {}
        clash: tuple[str, str] | None = None
        for path in paths:
            if sys.platform == "win32":  # pragma: no cover - elsewhere such names are as good as others
                check_windows(path)
            for name in (path, *_parents(path)):
                other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
                if other != name:
                    clash = clash or (other, name)
        if clash is not None and self._is_case_blind():
            raise UsageError(
                f"{clash[0]!r} and {clash[1]!r} are one and the same to the file system of {self.folder}; restore to "
                "one that tells upper from lower case, or only some of the paths."
            )

    def look(self, path: str) -> os.stat_result | None:
        """Answer what is there, not following a link; None where nothing is."""
        with self._telling(path):
            try:
                fd, name = self._parent(path, is_made=False)
                return os.lstat(name) if fd is None else os.stat(name, dir_fd=fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            StorageError: It is none, or a link.
        """
        with self._telling(path):
            fd, name = self._parent(path, is_made=False)
            return os.fdopen(os.open(name, os.O_RDONLY | _BINARY, dir_fd=fd), "rb")

    def read_link(self, path: str) -> str:
        """Answer what a link says."""
        with self._telling(path):
            fd, name = self._parent(path, is_made=False)
            return os.readlink(name, dir_fd=fd)

    @contextlib.contextmanager
    def writing(self, path: str, *, is_executable: bool = False) -> Iterator[int]:
        """Write a file: it has its name when the block ends well, and is gone when it does not.

        Raises:
            StorageError: A folder on the way is a link or a file, a folder has the name, the disk is full.
        """
        with self._telling(path):
            fd, name = self._parent(path, is_made=True)
            draft = self._draft(name)
            mode = 0o777 if is_executable else 0o666
            file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, mode, dir_fd=fd)
            try:
                try:
                    yield file
                finally:
                    os.close(file)
                os.replace(draft, name, src_dir_fd=fd, dst_dir_fd=fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft, dir_fd=fd)
                raise

    def link(self, path: str, leads: str) -> None:
        """Make a symbolic link, in the place of a file or link that is there."""
        with self._telling(path):
            fd, name = self._parent(path, is_made=True)
            draft = self._draft(name)
            os.symlink(leads.replace("/", os.sep), draft, dir_fd=fd)
            try:
                os.replace(draft, name, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError:
                os.unlink(draft, dir_fd=fd)
                raise

    def make_executable(self, path: str, found: os.stat_result, is_executable: bool) -> None:
        """Have a file's mode say whether it may be executed."""
        wanted = found.st_mode | 0o111 & found.st_mode >> 2 if is_executable else found.st_mode & ~0o111
        if sys.platform != "win32" and wanted != found.st_mode:
            with self.open(path) as file, self._telling(path):
                os.fchmod(file.fileno(), stat.S_IMODE(wanted))

    def walk(self) -> Iterator[tuple[str, bool]]:
        """Walk all that is below: path, and whether it is a folder; a folder comes before what it holds."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for name, is_folder in self._listed(folder):
                path = f"{folder}/{name}" if folder else name
                yield path, is_folder
                if is_folder:
                    waiting.append(path)

    def remove(self, path: str, *, is_folder: bool = False) -> None:
        """Remove a file, a link, or an empty folder; one that is not empty stays."""
        with self._telling(path):
            self._forget()
            fd, name = self._parent(path, is_made=False)
            if not is_folder:
                os.unlink(name, dir_fd=fd)
                return
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    @staticmethod
    def is_draft(path: str) -> bool:
        """Answer whether this is what a process that was killed has left half written."""
        return path.rpartition("/")[2].startswith(_DRAFT)

    # --- inside -------------------------------------------------------------------------

    def _parent(self, path: str, *, is_made: bool) -> tuple[int | None, str]:
        """Answer the folder of a path, open, and the last name; or None and a whole path, where folders have no number."""
        folder, _, name = path.rpartition("/")
        if self._root is None:
            return None, self._looked_at(folder, name, is_made)
        if not folder:
            return self._root, name
        if getattr(self._local, "folder", None) != folder:
            self._forget()
            self._local.fd = self._walked(folder, is_made)
            self._local.folder = folder
        return self._local.fd, name

    def _walked(self, folder: str, is_made: bool) -> int:
        fd = self._root
        assert fd is not None
        for name in folder.split("/"):
            try:
                below = self._entered(fd, name, is_made)
            finally:
                if fd != self._root:
                    os.close(fd)
            fd = below
        with self._lock:
            self._opened.add(fd)
        return fd

    def _entered(self, fd: int, name: str, is_made: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=fd)
        except FileNotFoundError:
            if not is_made:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=fd)
        return os.open(name, _FOLDER, dir_fd=fd)

    def _looked_at(self, folder: str, name: str, is_made: bool) -> str:
        place = os.fspath(self.folder)
        for part in folder.split("/") if folder else ():
            place = os.path.join(place, part)
            try:
                found = os.lstat(place)
            except FileNotFoundError:
                if not is_made:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place)
                found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode) or getattr(found, "st_file_attributes", 0) & _REPARSE_POINT:
                raise OSError(errno.ELOOP, "a link is on the way")
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "a file is on the way")
        return os.path.join(place, name)

    def _listed(self, folder: str) -> list[tuple[str, bool]]:
        with self._telling(folder or "."):
            fd, place = self._parent(f"{folder}/." if folder else ".", is_made=False)
            with os.scandir(os.path.dirname(place) if fd is None else fd) as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]

    def _forget(self) -> None:
        if getattr(self._local, "folder", None) is not None:
            self._local.folder = None
            with self._lock:
                if self._local.fd in self._opened:
                    self._opened.discard(self._local.fd)
                    os.close(self._local.fd)

    def _draft(self, name: str) -> str:
        with self._lock:
            self._count += 1
            draft = f"{_DRAFT}{self._mark}-{self._count}"
        return os.path.join(os.path.dirname(name), draft)

    def _is_case_blind(self) -> bool:
        name = f"{_DRAFT}{self._mark}-case"
        with self.writing(name):
            pass
        try:
            return self.look(name.upper()) is not None
        finally:
            self.remove(name)

    @contextlib.contextmanager
    def _telling(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            where = self.folder / path
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise StorageError(
                    f"{where} is behind a symbolic link or a file, which is not followed or replaced; remove that, or "
                    "choose another folder."
                ) from error
            if error.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
                raise StorageError(f"{where} is a folder where a file should be; remove it first.") from error
            raise _storage_error(f"{where} cannot be written or read", error) from error


def check_windows(path: str) -> str:
    """Answer the path, or raise where Windows has no such file.

    Raises:
        UsageError: It reserves one of the names, or does not take a character.
    """
    for name in path.split("/"):
        if _RESERVED.fullmatch(name) or _REFUSED.search(name):
            raise UsageError(f"Windows has no file {path!r}, because of {name!r}; restore the other paths only.")
    return path


def _parents(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _storage_error(what: str, error: OSError) -> StorageError:
    found = StorageError(f"{what}: {error.strerror or error}.")
    found.errno = error.errno
    return found
