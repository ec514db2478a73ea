"""The bytes of a snapshot while it waits for its encoding: in memory, on their way from a device, or on disk."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..limits import MAX_SPILL_BYTES, SPILL_FILE_BYTES


class Held:
    """Bytes that a snapshot holds.

    Args:
        data: Anything with the buffer protocol, that nobody else writes to; or a function that answers it.
        size: How many bytes they are.
        is_here: Whether a function answers at once, from memory; else it waits for a device.
    """

    def __init__(self, data: Any, size: int | None = None, is_here: bool = True) -> None:
        self._data = data
        self._is_here = is_here
        self.size = len(memoryview(data).cast("B")) if size is None else size

    @property
    def in_memory(self) -> int:
        """Bytes of memory that spilling would give back."""
        return 0 if isinstance(self._data, Slot) or not self._is_here else self.size

    def read(self) -> memoryview:
        """Answer the bytes, waiting for them where they are not here yet."""
        data = self._data  # once: another thread may spill them meanwhile
        if isinstance(data, Slot):
            return memoryview(data.read())
        return memoryview(data() if callable(data) else data).cast("B")

    def spill(self, spill: Spill) -> None:
        """Move the bytes to disk, unless they are there, or not here yet.

        Raises:
            OSError: The disk does not take them.
        """
        if self.in_memory:
            self._data = spill.put(self.read())


class Slot:
    """A place in a spill file. The file goes when the last slot in it has gone.

    Args:
        file: Where the bytes are.
        offset: Of the first one.
        size: How many.
    """

    def __init__(self, file: _SpillFile, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size

    def read(self) -> bytearray:
        """Answer the bytes."""
        data = bytearray(self._size)
        self._file.read_into(memoryview(data), self._offset)
        return data


class Spill:
    """Files for what does not fit in memory. They have no names: however the process ends, nothing is left of them.

    Args:
        folder: Answers a folder on the disk that is to be used.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._files: weakref.WeakSet[_SpillFile] = weakref.WeakSet()
        self._open: Callable[[], _SpillFile | None] = lambda: None

    def put(self, data: memoryview) -> Slot:
        """Write bytes.

        Raises:
            OSError: The disk does not take them, or too much is there already.
        """
        if sum(file.size for file in self._files) + len(data) > MAX_SPILL_BYTES:
            raise OSError(f"{MAX_SPILL_BYTES >> 30} GiB wait on disk already")
        file = self._open()
        if file is None or file.size >= SPILL_FILE_BYTES:
            file = _SpillFile(self._folder())
            self._files.add(file)
            self._open = weakref.ref(file)
        return Slot(file, file.append(data), len(data))


class _SpillFile:
    def __init__(self, folder: Path) -> None:
        import tempfile  # slow to load, and rarely needed

        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by __del__
        self._lock = threading.Lock()  # it has one place for reading and writing
        self.size = 0

    def append(self, data: memoryview) -> int:
        with self._lock:
            offset = self.size
            self._file.seek(offset)
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            self.size = offset + len(data)
            return offset

    def read_into(self, target: memoryview, offset: int) -> None:
        with self._lock:
            self._file.seek(offset)
            done = 0
            while done < len(target):
                count = self._file.readinto(target[done:])
                if not count:
                    raise OSError("a spill file is shorter than it was")
                done += count

    def __del__(self) -> None:
        file = getattr(self, "_file", None)  # none where it could not be made
        if file is not None:
            file.close()
