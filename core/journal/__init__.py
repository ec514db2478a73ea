"""The journal: frames in segments in streams. Nothing outside this folder knows the bytes.

Write with `Journal`; read with `StreamReader`; take rows in columns with `Block`.
"""

from .block import Block, Column
from .frame import Frame, encode_frame, scan
from .reader import Entry, StreamReader, entries
from .writer import Journal

__all__ = ["Block", "Column", "Entry", "Frame", "Journal", "StreamReader", "encode_frame", "entries", "scan"]
