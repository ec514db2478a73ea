"""API keys: made once, shown once, kept only as hashes.

A key is `tk_`, 43 characters of 32 random bytes, and 6 of a checksum, so that a typing error and a key of another
program are told from a revoked one, and scanners for leaked secrets can find it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.errors import StorageError, UsageError

PREFIX = "tk_"
SESSION_SECONDS = 30 * 24 * 3600
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 43
_CHECK_CHARS = 6


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK_CHARS)


def make_key() -> str:
    """Make a key of 32 random bytes."""
    text = PREFIX + _base62(int.from_bytes(secrets.token_bytes(32), "big"), _RANDOM_CHARS)
    return text + _checksum(text)


def is_well_formed(key: str) -> bool:
    """Answer whether a text can be a key at all: its form and its checksum."""
    return (
        len(key) == len(PREFIX) + _RANDOM_CHARS + _CHECK_CHARS
        and key.startswith(PREFIX)
        and key.isascii()
        and hmac.compare_digest(_checksum(key[:-_CHECK_CHARS]), key[-_CHECK_CHARS:])
    )


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Args:
        id: Tells keys apart; not secret.
        name: Whose it is, for people.
        sha256: Of the key. A plain hash will do for 32 random bytes: there is nothing to guess.
        created_ns: When it was made.
    """

    id: str
    name: str
    sha256: str
    created_ns: int


class KeyFile:
    """The keys of one server, in a file that only its owner can read. Changes are seen at once, by all processes.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()

    def keys(self) -> tuple[Key, ...]:
        """Answer the keys, oldest first.

        Raises:
            StorageError: The file is there and cannot be read.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            self._stamp, self._keys = None, ()
            return ()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        with self._lock:
            if stamp != self._stamp:
                try:
                    records = json.loads(self.path.read_bytes())["keys"]
                    self._keys = tuple(
                        Key(str(r["id"]), str(r["name"]), str(r["sha256"]), int(r["created_ns"])) for r in records
                    )
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise StorageError(
                        f"the file of API keys {self.path} cannot be read ({type(error).__name__}). "
                        "Mend its rights, or remove it and make new keys with: tracker server key add"
                    ) from None
                self._stamp = stamp
            return self._keys

    def add(self, name: str) -> tuple[Key, str]:
        """Make a key; the text is shown to the user once and kept nowhere."""
        text = make_key()
        key = Key(secrets.token_hex(4), name, _digest(text), time.time_ns())
        self._write((*self.keys(), key))
        return key, text

    def remove(self, key_id: str) -> Key:
        """Revoke a key.

        Raises:
            UsageError: There is no such key.
        """
        keys = self.keys()
        gone = next((key for key in keys if key.id == key_id), None)
        if gone is None:
            raise UsageError(f"there is no key {key_id!r}; `tracker server key list` shows them.")
        self._write(tuple(key for key in keys if key.id != key_id))
        return gone

    def check(self, text: str) -> Key | None:
        """Answer the key this text is, or None. Takes as long for a near miss as for any other."""
        digest = _digest(text)
        found = None
        for key in self.keys():
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def session(self, key: Key) -> str:
        """Make what a browser's cookie holds: good for a month, and only as long as the key is."""
        until = int(time.time()) + SESSION_SECONDS
        return f"{key.id}.{until}.{_sign(key, until)}"

    def check_session(self, cookie: str) -> Key | None:
        """Answer the key whose session this is, or None."""
        key_id, _, rest = cookie.partition(".")
        until, _, signature = rest.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 20 and signature.isascii()):
            return None
        for key in self.keys():
            if key.id == key_id and hmac.compare_digest(_sign(key, int(until)), signature):
                return key if time.time() < int(until) else None
        return None

    def _write(self, keys: tuple[Key, ...]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")  # 0600 from the first
        try:
            with os.fdopen(fd, "w") as file:
                json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _sign(key: Key, until: int) -> str:
    return hmac.new(bytes.fromhex(key.sha256), f"{key.id}.{until}".encode(), hashlib.sha256).hexdigest()
