"""References: what stays where it is, and how a change of it is noticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.artifacts import references
from tracker.core.artifacts.references import ChangedReference, refer
from tracker.core.errors import TransportError, UsageError


class Site:
    """A web server whose files a test changes."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.has_head = True
        self.cut = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, with_body: bool) -> None:
                found = site.files.get(self.path)
                if found is None:
                    self.send_error(404)
                    return
                data, headers = found
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(data[: len(data) - site.cut])

            def do_GET(self) -> None:
                self._answer(True)

            def do_HEAD(self) -> None:
                if site.has_head:
                    self._answer(False)
                else:
                    self.send_error(405)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="digits", settings={"silent": True}) as run:
        yield run


def logged(run: tracker.Run, uri: str, **more: Any) -> tracker.Artifact:
    artifact = tracker.Artifact("refs", type="dataset")
    artifact.add_reference(uri, **more)
    return run.log_artifact(artifact).wait(60)


def test_a_local_folder_is_referred_to_file_by_file(run: tracker.Run, tmp_path: Path) -> None:
    data = tmp_path / "da ta"
    (data / "deep").mkdir(parents=True)
    (data / "a.txt").write_text("a")
    (data / "deep" / "b.txt").write_text("b")
    artifact = logged(run, data.as_uri(), name="set")

    assert [(file.path, file.ref, file.size) for file in artifact.files()] == [
        ("set/a.txt", (data / "a.txt").as_uri(), 1),
        ("set/deep/b.txt", (data / "deep" / "b.txt").as_uri(), 1),
    ]
    assert (Path(artifact.download()) / "set" / "deep" / "b.txt").read_text() == "b"
    assert logged(run, data.as_uri(), name="set").version == "v0"
    (data / "a.txt").write_text("c")  # of the same length
    with pytest.raises(ChangedReference, match="has other bytes"):
        artifact.download("again")
    assert not (tmp_path / "again" / "set" / "a.txt").exists()
    (data / "a.txt").unlink()
    with pytest.raises(ChangedReference, match="is not there any more"):
        artifact.download("again")
    assert (Path(artifact.download("rest", allow_missing_references=True)) / "set" / "deep" / "b.txt").exists()
    assert logged(run, data.as_uri(), name="set").version == "v1"


def test_a_changed_page_is_noticed(run: tracker.Run, site: Site, tmp_path: Path) -> None:
    site.files["/data.bin"] = (b"12345", {"ETag": '"one"'})
    artifact = logged(run, f"{site.url}/data.bin")
    reference = artifact.manifest.entries["data.bin"].reference
    assert reference is not None
    assert (reference.etag, reference.size) == ('"one"', 5)
    assert (Path(artifact.download()) / "data.bin").read_bytes() == b"12345"
    assert logged(run, f"{site.url}/data.bin").version == "v0"

    site.files["/data.bin"] = (b"54321", {"ETag": '"two"'})
    with pytest.raises(ChangedReference, match='the ETag was "one", and is "two"'):
        artifact.download("again")
    with pytest.raises(ChangedReference, match="ETag"):
        references.check(artifact.manifest.entries["data.bin"])
    assert logged(run, f"{site.url}/data.bin").version == "v1"
    site.files.clear()
    with pytest.raises(ChangedReference, match="HTTP 404"):
        artifact.download("again")
    assert list(tmp_path.glob("again/*")) == []


def test_a_server_without_head_or_etag_serves_as_well(run: tracker.Run, site: Site) -> None:
    site.has_head = False
    site.files["/d"] = (b"1", {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
    artifact = logged(run, f"{site.url}/d", name="x/y")

    assert (Path(artifact.download()) / "x" / "y").read_bytes() == b"1"
    site.files["/d"] = (b"1", {"Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"})
    with pytest.raises(ChangedReference, match="the time was"):
        artifact.download("again")


def test_a_body_that_breaks_off_is_no_file(run: tracker.Run, site: Site, tmp_path: Path) -> None:
    site.files["/d"] = (b"12345678", {"ETag": "1"})
    artifact = logged(run, f"{site.url}/d")
    site.cut = 3

    with pytest.raises((TransportError, ChangedReference)):
        artifact.download("out")
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_checksum_the_address_alone_is_kept(run: tracker.Run) -> None:
    artifact = logged(run, "s3://no-such-bucket/key.bin", checksum=False)

    reference = artifact.manifest.entries["key.bin"].reference
    assert reference == references.RemoteObject("s3://no-such-bucket/key.bin")


def test_a_store_is_read_through_fsspec(run: tracker.Run, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in ("a", "deep/b"):
        memory.pipe(f"/bucket/set/{name}", name.encode())
    try:
        artifact = logged(run, "memory://bucket/set", name="here")
        assert [(file.path, file.ref, file.size) for file in artifact.files()] == [
            ("here/a", "memory://bucket/set/a", 1),
            ("here/deep/b", "memory://bucket/set/deep/b", 6),
        ]
        folder = Path(artifact.download())
        assert (folder / "here" / "deep" / "b").read_bytes() == b"deep/b"
        one = logged(run, "memory://bucket/set/a")
        memory.pipe("/bucket/set/a", b"A")
        with pytest.raises(ChangedReference, match="has changed since it was logged: the time was"):
            one.download("again")
        with pytest.raises(UsageError, match="holds more than 1 objects"):
            refer("memory://bucket/set", max_objects=1)
        with pytest.raises(UsageError, match="is not there"):
            refer("memory://bucket/missing")
    finally:
        memory.store.clear()


def test_marks_of_stores_are_recorded() -> None:
    """As s3fs and gcsfs tell of an object."""
    s3 = references._object("s3://b/k", {"ETag": '"e"', "size": 3, "VersionId": "v1", "LastModified": "t"})
    gs = references._object("gs://b/k", {"md5Hash": "m", "size": 3, "generation": "17", "mtime": "t"})
    unversioned = references._object("s3://b/k", {"ETag": '"e"', "size": 3, "VersionId": None})

    assert (s3.etag, s3.version, s3.size, s3.checksum) == ('"e"', "v1", 3, None)
    assert (gs.etag, gs.version) == ("m", "17")
    assert unversioned.version is None


@pytest.mark.parametrize("uri", ["data/x", "C:/x", "", "file:///no/such/file", "http://"])
def test_what_is_no_address_is_said(uri: str) -> None:
    with pytest.raises((UsageError, TransportError)):
        refer(uri)


def test_references_do_not_lead_out_of_the_target(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("1")
    artifact = logged(run, (tmp_path / "data").as_uri(), name="sub/file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "outside")

    with pytest.raises((UsageError, OSError)):
        artifact.download("out")
    assert list((tmp_path / "outside").iterdir()) == []
