"""Manifests: what they say of a version, and what they refuse to believe."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tracker.core.artifacts.manifest import Diff, Entry, Manifest, Part, RemoteObject, check_link, check_path
from tracker.core.blobs import digest_of
from tracker.core.errors import FormatError, UsageError

ONE, TWO = digest_of(b"one"), digest_of(b"two")


def entry(path: str, content: bytes = b"x", **more: Any) -> Entry:
    digest = digest_of(content)
    return Entry(path, len(content), digest, (Part(digest, 0, len(content)),), **more)


def test_a_manifest_comes_back() -> None:
    """Files, executables, empty files, links and references survive their bytes, sorted by path."""
    entries = [
        entry("z/run.sh", is_executable=True),
        Entry("empty", 0, digest_of(b"")),
        Entry("big", 7, TWO, (Part(ONE, 5, 3), Part(TWO, 0, 3), Part(ONE, 0, 1))),
        Entry("z/link", link="../big"),
        Entry("far", 9, reference=RemoteObject("s3://bucket/key", etag="e", size=9)),
    ]
    manifest = Manifest(entries)
    loaded = Manifest.load(manifest.dump())

    assert list(loaded.entries.values()) == sorted(entries, key=lambda one: one.path)
    assert loaded.dump() == manifest.dump()
    assert (loaded.size, loaded.files, loaded.digest) == (17, 5, manifest.digest)
    assert loaded.blobs() == {ONE, TWO, digest_of(b"x")}


def test_the_digest_is_of_paths_and_contents() -> None:
    """How the bytes are kept changes nothing; another name or other bytes do."""
    kept = Entry("a", 3, ONE, (Part(ONE, 0, 3),))
    bundled = Entry("a", 3, ONE, (Part(TWO, 100, 3),))
    assert Manifest([kept]).digest == Manifest([bundled]).digest

    others = [
        Manifest([Entry("b", 3, ONE, (Part(ONE, 0, 3),))]),
        Manifest([Entry("a", 3, TWO, (Part(TWO, 0, 3),))]),
        Manifest([Entry("a", link="b")]),
        Manifest([Entry("a", 3, ONE, reference=RemoteObject("file:///a"))]),
        Manifest([]),
    ]
    assert len({one.digest for one in others} | {Manifest([kept]).digest}) == 6


def test_the_difference_of_two_versions() -> None:
    old = Manifest([entry("same"), entry("other", b"1"), entry("gone")])
    new = Manifest([entry("same"), entry("other", b"2"), entry("new")])

    assert old.diff(new) == Diff(["new"], ["other"], ["gone"])
    assert new.diff(old) == Diff(["gone"], ["other"], ["new"])
    assert old.diff(old) == Diff([], [], [])


def test_parts_of_a_version_are_found_by_folder_and_name() -> None:
    manifest = Manifest([entry(path) for path in ("a/b/c", "a/b2", "ab", "d")])

    def found(*paths: str) -> list[str]:
        return [one.path for one in manifest.below(paths)]

    assert found("a") == found("a/") == ["a/b/c", "a/b2"]
    assert found("a/b", "d") == ["a/b/c", "d"]
    assert found("") == [one.path for one in manifest.below(None)] == ["a/b/c", "a/b2", "ab", "d"]
    with pytest.raises(UsageError, match="'c'"):
        found("a", "c")


BAD_PATHS = [
    "", "/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "./a", "a//b", "a/", "C:/x", "c:x", "a\\b", "..\\x",
    "a\0b", "a\nb", "a\x7f", "x" * 256, "é" * 128, "/".join(["x" * 200] * 21), "\udc80",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_lead_out_or_cannot_be_are_refused(path: str) -> None:
    with pytest.raises(UsageError):
        check_path(path)
    with pytest.raises(UsageError):
        Manifest([entry(path)])


@pytest.mark.parametrize("path", ["a", "a/b.c", "..a", "a..", ".hidden/x", "Ünïcode/名", "at 10:30", "x" * 255, "a b"])
def test_common_paths_are_kept(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", ".."), ("a", "../x"), ("d/a", "../../x"), ("a", "/etc"), ("a", ""), ("a", "b/../.."), ("a", "b/../c"),
        ("d/e/a", "../b/.."), ("a", "C:/x"), ("a", "x\\y"), ("a", "x\0"), ("a", "."), ("a", "b/"),
    ],
)  # fmt: skip
def test_links_that_may_lead_out_are_refused(path: str, target: str) -> None:
    """Also `..` behind a name: the name may be a link itself."""
    with pytest.raises(UsageError, match="link"):
        check_link(path, target)


@pytest.mark.parametrize(("path", "target"), [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../x/y"), ("d/a", "..")])
def test_links_within_are_kept(path: str, target: str) -> None:
    assert check_link(path, target) == target


def test_a_file_below_a_file_is_refused() -> None:
    """A link as a parent would be written through."""
    for parent in (entry("a"), Entry("a", link="b"), Entry("a", reference=RemoteObject("file:///a"))):
        with pytest.raises(UsageError, match="below"):
            Manifest([parent, entry("a/b/c")])
    with pytest.raises(UsageError, match="twice"):
        Manifest([entry("a"), entry("a", b"other")])


def _body(**changes: Any) -> bytes:
    blob = bytes.fromhex(ONE)
    body = {"format": 1, "blobs": [blob], "entries": [[0, "a", 3, blob, [[0, 0, 3]]]]} | changes
    return msgspec.msgpack.encode(body)


def _row(*row: Any) -> bytes:
    return _body(entries=[list(row)])


D = bytes.fromhex(ONE)
HOSTILE = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "a list": msgspec.msgpack.encode([1, 2]),
    "cut": _body()[:-1],
    "trailing bytes": _body() + b"\0",
    "newer format": _body(format=2),
    "format of another type": _body(format="1"),
    "deep": b"\x91" * 100_000,
    "short blob digest": _body(blobs=[b"x"]),
    "blob digest as text": _body(blobs=["x" * 32]),
    "unknown kind": _row(9, "a", 3, D, []),
    "size below zero": _row(0, "a", -1, D, []),
    "size beyond 64 bits": _row(0, "a", 2**63, D, []),
    "size of another type": _row(0, "a", "3", D, [[0, 0, 3]]),
    "a float": _row(0, "a", 3.0, D, [[0, 0, 3]]),
    "no such blob": _row(0, "a", 3, D, [[1, 0, 3]]),
    "blob below zero": _row(0, "a", 3, D, [[-1, 0, 3]]),
    "offset below zero": _row(0, "a", 3, D, [[0, -1, 3]]),
    "offset far out": _row(0, "a", 3, D, [[0, 2**62, 3]]),
    "length far out": _row(0, "a", 2**40, D, [[0, 0, 2**40]]),
    "empty part": _row(0, "a", 3, D, [[0, 0, 3], [0, 0, 0]]),
    "parts too short": _row(0, "a", 4, D, [[0, 0, 3]]),
    "no parts": _row(0, "a", 3, D, []),
    "short digest": _row(0, "a", 3, D[:5], [[0, 0, 3]]),
    "short digest of a reference": _row(2, "a", 3, D[:5], ["s3://b/k"]),
    "path as bytes": _row(0, b"a", 3, D, [[0, 0, 3]]),
    "path that leads out": _row(0, "../a", 3, D, [[0, 0, 3]]),
    "link that leads out": _row(1, "a", "../../etc/passwd"),
    "file below a link": _body(entries=[[1, "a", "b"], [0, "a/c", 3, D, [[0, 0, 3]]]]),
    "the same path twice": _body(entries=[[1, "a", "b"], [0, "a", 3, D, [[0, 0, 3]]]]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifests_are_refused(name: str) -> None:
    """Whatever comes instead of a manifest is one error, and says that."""
    with pytest.raises(FormatError):
        Manifest.load(HOSTILE[name])


def test_the_hostile_ones_differ_from_a_good_one_by_what_they_say() -> None:
    assert Manifest.load(_body()).entries == {"a": Entry("a", 3, ONE, (Part(ONE, 0, 3),))}


def test_a_huge_manifest_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.core.artifacts.manifest.MAX_MANIFEST_BYTES", 10)
    with pytest.raises(FormatError, match="10"):
        Manifest.load(_body())
