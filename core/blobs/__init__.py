"""Bytes kept under the digest of what they are: each once, found by it, checked by it."""

from __future__ import annotations

from .digests import check_digest, digest_of, is_digest, new_digest
from .folder import FolderBlobs, Stored

__all__ = ["FolderBlobs", "Stored", "check_digest", "digest_of", "is_digest", "new_digest"]
