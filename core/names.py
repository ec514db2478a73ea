"""Ids and names: of runs, of streams, and of folders that hold them."""

from __future__ import annotations

import os
import re

from .errors import UsageError

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ADJECTIVES = (
    "amber ample azure bold brave bright brisk calm clear clever copper coral crisp dapper deep eager early earnest "
    "fair fleet fond gentle glad golden grand happy hazel honest humble ivory jade jolly keen kind light lively lucid "
    "lucky lunar mellow merry mild misty modest mossy neat noble olive opal patient pearl placid plain polar proud "
    "quick quiet rapid royal ruby rustic sandy serene sharp silent silver sleek snowy solar solid spry stable steady "
    "still sunny swift teal tidy true vivid warm wild wise witty young zesty"
).split()
_NOUNS = (
    "acorn alder aspen aurora badger basin bay beacon birch bison bloom breeze brook canyon cedar cliff cloud comet "
    "coast cove crane creek dawn delta dove dune eagle elm ember falcon fern field fjord forest fox glade glen grove "
    "gull harbor hare hawk heron hill hollow island ivy juniper kestrel lagoon lake lark leaf ledge lily lynx maple "
    "marsh meadow mesa moon moss oak orchid osprey otter owl palm peak pebble pine plain pond poplar prairie quail "
    "rain raven reed reef ridge river robin rose sage shore sparrow spring spruce star stone stream summit swan "
    "thicket thistle tide trail tundra valley violet wave willow wind wren yew"
).split()

# What stands unescaped in a folder's name; everything else becomes %XX, on every file system alike.
_SAFE = "_-.=+@, "
_PLAIN = re.compile(r"[\w\-=+@][\w\-.=+@, ]*(?<![. ])", re.ASCII)
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
MAX_NAME_CHARS = 128


def random_id(length: int = 8) -> str:
    """Make an id of lowercase letters and digits from the system's randomness.

    The system's, not `random`'s: users seed that one, and a forked child inherits its state.
    """
    return "".join(_ALPHABET[byte % 36] for byte in os.urandom(length))


def random_name(number: int | None = None) -> str:
    """Make a name for people, such as `quiet-heron-12`."""
    first, second = os.urandom(2)
    words = f"{_ADJECTIVES[first % len(_ADJECTIVES)]}-{_NOUNS[second % len(_NOUNS)]}"
    return words if number is None else f"{words}-{number}"


def stream_id(now_ns: int) -> str:
    """Make the id of a writing process; ids of one machine sort by their start."""
    return f"{now_ns // 1_000_000:012x}-{os.getpid()}-{os.urandom(2).hex()}"


def to_folder(name: str) -> str:
    """Answer the folder name for an entity, project or run id; `from_folder` gives the name back."""
    if _PLAIN.fullmatch(name) and not _RESERVED.match(name):
        return name
    from urllib.parse import quote  # an import that most names do not need

    folder = quote(name, safe=_SAFE)
    if folder.startswith(".") or _RESERVED.match(folder):
        folder = f"%{ord(folder[0]):02X}{folder[1:]}"
    if folder.endswith((".", " ")):  # Windows drops both
        folder = f"{folder[:-1]}%{ord(folder[-1]):02X}"
    return folder


def from_folder(folder: str) -> str:
    """Answer the name whose folder this is."""
    if "%" not in folder:
        return folder
    from urllib.parse import unquote

    return unquote(folder, errors="strict")


def check_name(name: str, what: str) -> str:
    """Answer the name, or raise where it cannot name an entity, a project or a run.

    Raises:
        UsageError: The name is no text, empty, a dot or two, too long, or holds a slash, a colon, `?`, `#` or a control character.
    """
    if not isinstance(name, str):
        raise UsageError(f"the {what} is {name!r}, of type {type(name).__name__}; give a text.")
    if name in (".", ".."):  # neither an address nor a folder can hold it
        raise UsageError(f"the {what} is {name!r}; give it at least one letter or digit.")
    if not name.strip():
        raise UsageError(f"the {what} is {name!r}; give it at least one visible character.")
    if len(name) > MAX_NAME_CHARS or len(to_folder(name).encode()) > 240:
        raise UsageError(f"the {what} {name[:40]!r}… has {len(name)} characters; at most {MAX_NAME_CHARS} can be kept.")
    bad = sorted({char for char in name if char in '/\\:?#"<>|*' or ord(char) < 32 or ord(char) == 127})
    if bad:
        raise UsageError(f"the {what} {name!r} holds {', '.join(map(repr, bad))}; leave that out, or use '-' instead.")
    return name
