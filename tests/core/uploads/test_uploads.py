"""Bytes and versions on their way to a server, and back: whatever happens on the way, they are the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import tracker
from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.fetching import FetchedBlobs
from tracker.core.artifacts.manifest import Entry, Manifest, Part
from tracker.core.artifacts.remote import MissingBlobs, RemoteCatalogue
from tracker.core.artifacts.version import Actor, Draft, Version
from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.blobs.remote import RemoteBlobs
from tracker.core.connection import Connection
from tracker.core.errors import DamagedBlob, StorageError, TransportError, UsageError
from tracker.core.paths import RunPath, artifacts_folder, blobs_folder, run_blobs
from tracker.core.sync import sync
from tracker.core.transport import HttpTransport
from tracker.core.uploading import Batch, Unsent, Uploading
from tracker.core.uploads import Uploads, has_left, left_blobs, left_versions

from .serving import Server

STALL_SECONDS = 60.0
QUIET = {"silent": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it alive."""
    with Server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


def until(claim: Callable[[], object]) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < limit
        time.sleep(0.01)


def some_bytes(length: int, seed: object) -> bytes:
    """Answer bytes that do not pack."""
    return random.Random(str(seed)).randbytes(length)


def uploads_of(root: Path, path: RunPath, url: str, said: list[str] | None = None) -> Uploads:
    sink = said if said is not None else []
    return Uploads(path, path.folder(root), root, Connection(url), say=sink.append, is_silent=True)


def claim(uploads: Uploads, version: Version) -> Future[Version]:
    return uploads.claim(version, version.token)


def make_version(root: Path, name: str, files: dict[str, bytes], run: str | None = None) -> Version:
    """Keep files as a version of the folder."""
    blobs = FolderBlobs(blobs_folder(root))
    entries = [
        Entry(path, len(data), digest_of(data), (Part(blobs.put(data), 0, len(data)),)) for path, data in files.items()
    ]
    manifest = Manifest(entries)
    draft = Draft(
        entity="local", project="up", name=name, type="dataset", digest=manifest.digest, size=manifest.size,
        manifest=blobs.put(manifest.dump()), files=len(files), run=run, metadata={"n": len(files), "odd": float("inf")},
    )  # fmt: skip
    return FolderCatalogue(artifacts_folder(root)).claim(draft, f"token-{name}-{manifest.digest[:20]}")


# --- a run's own bytes -------------------------------------------------------------------


def test_a_runs_bytes_arrive_while_it_goes_on(tmp_path: Path, server: Server) -> None:
    """Small, packed, and of several pieces; word of them is left on disk, and taken back at the end."""
    path = RunPath("local", "up", "a run/1".replace("/", "-"))
    own = FolderBlobs(run_blobs(path.folder(tmp_path)))
    datas = [b"", b"small", b"text " * 100_000, some_bytes(9_000_000, "large"), *(b"%d" % n for n in range(50))]
    uploads = uploads_of(tmp_path, path, server.url)
    for data in datas:
        uploads.blobs("run", [own.put(data)])
    names = "/".join(path).replace(" ", "%20")
    until(lambda: all(server.get(f"/runs/{names}/blobs/{digest_of(data)}").ok for data in datas))
    had_left = list(left_notes(own))
    unsent = uploads.finish(STALL_SECONDS)

    for data in datas:
        assert (
            server.get(f"/runs/{names}/blobs/{digest_of(data)}", headers={"accept-encoding": "identity"}).content
            == data
        )
    assert unsent == Unsent(0, 0, 0)
    assert len(had_left) == 1
    assert list(left_notes(own)) == []


def left_notes(own: FolderBlobs) -> list[Path]:
    return sorted((own.folder / ".unsent").glob("*"))


def test_a_run_that_logs_numbers_has_no_threads_for_bytes(tmp_path: Path, server: Server) -> None:
    with tracker.init(project="up", id="numbers", dir=tmp_path, settings={**QUIET, "base_url": server.url}) as run:
        run.log({"loss": 1.0})
        names = [thread.name for thread in threading.enumerate()]

    assert not [name for name in names if name.startswith("tracker-upload")]
    assert server.json("/runs/local/up/numbers")["summary"] == {"loss": 1.0}


def test_an_offline_run_sends_nothing(tmp_path: Path) -> None:
    with tracker.init(project="up", id="offline", dir=tmp_path, mode="offline", settings=QUIET) as run:
        assert run._uploads is None


def test_an_image_arrives_with_its_run(tmp_path: Path, server: Server) -> None:
    """What the row refers to can be read from the server when `finish` has returned."""
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    with tracker.init(project="up", id="image", dir=tmp_path, settings={**QUIET, "base_url": server.url}) as run:
        run.log({"image": tracker.Image(numpy.zeros((8, 8, 3), "uint8"))})
    (stored,) = FolderBlobs(run_blobs(run.folder)).walk()

    answer = server.get(f"/runs/local/up/image/blobs/{stored.digest}", params={"format": "png"})
    assert answer.content == stored.path.read_bytes()
    assert answer.headers["content-type"] == "image/png"


def test_a_fork_arrives_with_the_bytes_of_what_it_began_from(tmp_path: Path, server: Server) -> None:
    """Though the run that it was forked from was never sent."""
    numpy = pytest.importorskip("numpy")
    with tracker.init(project="up", id="root", dir=tmp_path, mode="offline", settings=QUIET) as run:
        run.log({"image": tracker.Image(numpy.zeros((8, 8, 3), "uint8")), "table": tracker.Table(["a"], [[1]])})
    settings = {**QUIET, "base_url": server.url}
    tracker.init(project="up", id="branch", dir=tmp_path, fork_from="root?_step=0", settings=settings).finish()

    with tracker.Api(base_url=server.url) as api:
        branch = api.run("up/branch")
        assert [image.read()[:4] for image in branch.media("image")] == [b"\x89PNG"]
        assert [table.read()[:4] for table in branch.media("table")] == [b"PAR1"]


def test_a_server_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    """`finish` is bounded and says what is left; the next process sends it, and takes the word back."""
    path = RunPath("local", "up", "away")
    own = FolderBlobs(run_blobs(path.folder(tmp_path)))
    said: list[str] = []
    server = Server(tmp_path / "store")  # nobody listens yet
    uploads = uploads_of(tmp_path, path, server.url, said)
    digests = [own.put(b"left %d" % number) for number in range(3)]
    version = make_version(tmp_path, "away", {"x": b"left, too"})
    uploads.blobs("run", digests)
    done = uploads.claim(version, version.token)
    unsent = uploads.finish(0.3)
    (path.folder(tmp_path) / "streams").mkdir()

    assert unsent.blobs >= 3
    assert unsent.versions == 1
    assert done.cancelled()
    pretend_dead(tmp_path)
    assert [left.path for left in left_blobs(tmp_path, server.url)] == [path]
    assert [left.draft.name for left in left_versions(tmp_path, server.url)] == ["away"]
    assert not list(left_blobs(tmp_path, "http://another:1"))
    with server:
        later = uploads_of(tmp_path, RunPath("local", "up", "later"), server.url, said)
        later.take_leftovers()
        until(lambda: not has_left(tmp_path))
        later.finish(STALL_SECONDS)

        for digest in digests:
            assert server.get(f"/runs/local/up/away/blobs/{digest}").ok
        assert server.json("/artifacts/local/up/away/latest")["digest"] == version.digest


def pretend_dead(root: Path) -> None:
    """Rewrite the notes as if a process that is gone had left them."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for note in root.rglob(".unsent/*"):
        note.rename(note.with_name(note.name.replace(str(os.getpid()), str(process.pid))))
    for note in (blobs_folder(root) / ".outbox").glob("*"):
        note.write_text(json.dumps({**json.loads(note.read_text()), "pid": process.pid}))


def test_a_server_that_is_killed_in_a_blob_goes_on_where_it_was(tmp_path: Path) -> None:
    """What it had taken is not sent again: less than one piece more than the blob goes over the wire."""
    path = RunPath("local", "up", "killed")
    own = FolderBlobs(run_blobs(path.folder(tmp_path)))
    data = some_bytes(30_000_000, "killed")
    digest = own.put(data)
    with Server(tmp_path / "store") as server:
        sent: list[int] = []

        def told(count: int) -> None:
            sent.append(count)
            if len(sent) == 2:
                server.kill()

        remote = RemoteBlobs(Connection(server.url), path)
        with pytest.raises(TransportError):
            remote.send(own, digest, told=told)
        server.start()
        held = int(server.get(f"/runs/local/up/killed/blobs/{digest}").headers["tracker-held"])
        again = remote.send(own, digest, is_again=True)

        assert held >= sum(sent) > 0
        assert again == len(data) - held
        assert server.get(f"/runs/local/up/killed/blobs/{digest}").content == data


def test_bytes_that_are_damaged_here_are_said_and_let_go(tmp_path: Path, server: Server) -> None:
    """The others arrive; the damaged one is named once, and `finish` does not wait for it."""
    path = RunPath("local", "up", "damaged")
    own = FolderBlobs(run_blobs(path.folder(tmp_path)))
    said: list[str] = []
    good, bad, gone = own.put(b"good"), own.put(b"bad bytes"), own.put(b"gone")
    own.stored(bad)[0].write_bytes(b"others...")
    own.remove(gone)
    uploads = uploads_of(tmp_path, path, server.url, said)
    uploads.blobs("run", [bad])
    uploads.blobs("run", [gone])
    uploads.blobs("run", [good])
    unsent = uploads.finish(STALL_SECONDS)

    assert unsent == Unsent(0, 0, 0)
    assert server.get(f"/runs/local/up/damaged/blobs/{good}").ok
    assert not server.get(f"/runs/local/up/damaged/blobs/{bad}").ok
    assert len(said) == 2
    assert "2 files could not be sent" in said[1]


def test_a_forked_child_sends_by_itself(tmp_path: Path, server: Server) -> None:
    """Neither threads nor connection are its parent's."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    path = RunPath("local", "up", "forked")
    own = FolderBlobs(run_blobs(path.folder(tmp_path)))
    uploads = uploads_of(tmp_path, path, server.url)
    parents, childs = own.put(b"of the parent"), own.put(b"of the child")
    uploads.blobs("run", [parents])
    until(lambda: server.get(f"/runs/local/up/forked/blobs/{parents}").ok)
    child = os.fork()
    if not child:
        uploads.blobs("run", [childs])
        os._exit(int(uploads.finish(STALL_SECONDS).blobs))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert server.get(f"/runs/local/up/forked/blobs/{childs}").ok
    assert uploads.finish(STALL_SECONDS) == Unsent(0, 0, 0)
    assert left_notes(own) == []


# --- a server that answers what it likes -------------------------------------------------


class Odd(ThreadingHTTPServer):
    """Answers blobs as a server would, but with what `fault` says first; counts the bytes that come."""

    daemon_threads = True

    def __init__(self, fault: Callable[[str, int], int | None]) -> None:
        self.blobs: dict[str, bytes] = {}
        self.lengths: list[int] = []
        self.fault = fault
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                odd.lengths.append(len(body))
                status = odd.fault("PUT", len(body))
                if status is not None:
                    self.answer(status, b"<html>")
                    return
                digest = self.path.partition("?")[0].rpartition("/")[2]
                held = odd.blobs.get(digest, b"") + body
                odd.blobs[digest] = held
                size = int(self.path.partition("size=")[2].partition("&")[0])
                text = json.dumps({"held": len(held), "complete": len(held) == size})
                self.answer(200, text.encode())

            def do_HEAD(self) -> None:
                self.send_response(404)
                self.send_header("Tracker-Held", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


def test_pieces_shrink_until_a_proxy_takes_them(tmp_path: Path) -> None:
    own = FolderBlobs(tmp_path)
    data = some_bytes(1_000_000, "proxy")
    with Odd(lambda _method, length: 413 if length > 300_000 else None) as odd:
        RemoteBlobs(Connection(odd.url)).send(own, own.put(data))
        odd.shutdown()

    assert odd.blobs[digest_of(data)] == data
    assert max(length for length in odd.lengths if length <= 300_000) > 100_000


@pytest.mark.parametrize("status", [200, 500, 503, 404, 400, 401, 302])
def test_what_is_no_answer_of_ours_is_no_acknowledgement(tmp_path: Path, status: int) -> None:
    """A captive portal's page, an error, a refusal: nothing counts as sent until a server says so."""
    path = RunPath("local", "up", "odd")
    own = FolderBlobs(tmp_path)
    faults = iter([status] * 3)
    with Odd(lambda *_: next(faults, None)) as odd:
        uploading = Uploading(Connection(odd.url), say=lambda _sentence: None, is_silent=True)
        uploading.hurry()
        uploading.add(Batch(own, path), [own.put(b"bytes")], are_new=True)
        unsent = uploading.finish(STALL_SECONDS)
        odd.shutdown()

    assert unsent == Unsent(0, 0, 0)
    assert odd.blobs == {digest_of(b"bytes"): b"bytes"}
    assert len(odd.lengths) == 4


# --- versions ----------------------------------------------------------------------------


def test_a_version_arrives_with_all_its_bytes_and_only_those_that_lack(tmp_path: Path, server: Server) -> None:
    """The second version shares most bytes with the first: those are not sent again."""
    files = {f"f{n}": some_bytes(100_000, ("shared", n)) for n in range(20)}
    first = make_version(tmp_path, "net", files, run="local/up/one")
    uploads = uploads_of(tmp_path, RunPath("local", "up", "one"), server.url)
    claimed = uploads.claim(first, first.token).result(60)
    sent_first = uploads._uploading.sent_bytes
    second = make_version(tmp_path, "net", {**files, "f3": some_bytes(100_000, "other")}, run="local/up/one")
    again = uploads.claim(second, second.token).result(60)
    sent_second = uploads._uploading.sent_bytes - sent_first

    assert uploads.finish(STALL_SECONDS) == Unsent(0, 0, 0)
    assert (claimed.path, again.path) == ("local/up/net:v0", "local/up/net:v1")
    assert claimed.metadata == {"n": 20, "odd": float("inf")}
    assert sent_first > 2_000_000
    assert 100_000 < sent_second < 110_000
    assert server.json("/artifacts/local/up/net/latest/uses")["made_by"] == ["local/up/one"]
    assert not list((blobs_folder(tmp_path) / ".outbox").glob("*"))
    for name, data in files.items():
        assert server.get(f"/artifacts/local/up/net/v0/file/{name}").content == data


def test_a_version_whose_bytes_are_damaged_fails_and_harms_no_other(tmp_path: Path, server: Server) -> None:
    blobs = FolderBlobs(blobs_folder(tmp_path))
    bad, good = make_version(tmp_path, "bad", {"x": b"bad bytes"}), make_version(tmp_path, "good", {"x": b"good"})
    blobs.stored(digest_of(b"bad bytes"))[0].write_bytes(b"123456789")
    said: list[str] = []
    uploads = uploads_of(tmp_path, RunPath("local", "up", "two"), server.url, said)
    failing, going = uploads.claim(bad, bad.token), uploads.claim(good, good.token)

    assert going.result(60).digest == good.digest
    with pytest.raises(UsageError, match="local/up/bad"):
        failing.result(60)
    uploads.finish(STALL_SECONDS)
    assert len(said) == 1
    assert not server.get("/artifacts/local/up/bad").ok


def test_what_the_server_refuses_for_what_it_is_fails_at_once(tmp_path: Path, server: Server) -> None:
    uploads = uploads_of(tmp_path, RunPath("local", "up", "three"), server.url)
    claim(uploads, make_version(tmp_path, "typed", {"x": b"1"})).result(60)
    other = make_version(tmp_path / "elsewhere", "typed", {"x": b"2"})
    FolderBlobs(blobs_folder(tmp_path)).put(b"2")
    manifest = FolderBlobs(blobs_folder(tmp_path / "elsewhere")).read(other.manifest)
    FolderBlobs(blobs_folder(tmp_path)).put(manifest)
    model = Version(**{**{name: getattr(other, name) for name in Version.__struct_fields__}, "type": "model"})

    with pytest.raises(UsageError, match="of type 'dataset', not 'model'"):
        uploads.claim(model, model.token).result(60)
    assert uploads.finish(STALL_SECONDS) == Unsent(0, 0, 0)


def test_after_the_end_nothing_is_begun(tmp_path: Path, server: Server) -> None:
    uploads = uploads_of(tmp_path, RunPath("local", "up", "ended"), server.url)
    uploads.finish(STALL_SECONDS)
    uploads.blobs("shared", [digest_of(b"never")])

    with pytest.raises(CancelledError):
        claim(uploads, make_version(tmp_path, "ended", {"x": b"1"})).result(1)


# --- the catalogue -----------------------------------------------------------------------


@pytest.fixture(params=["folder", "server"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> FolderCatalogue | RemoteCatalogue:
    """Both kinds; what they say must be the same."""
    if request.param == "folder":
        return FolderCatalogue(artifacts_folder(tmp_path))
    return RemoteCatalogue(Connection(server.url))


def draft_of(server: Server, name: str, data: bytes, **more: object) -> Draft:
    """Answer a draft whose bytes are on the server."""
    manifest = Manifest([Entry("x", len(data), digest_of(data), (Part(digest_of(data), 0, len(data)),))])
    connection = Connection(server.url)
    for blob in (data, manifest.dump()):
        query = f"?size={len(blob)}"
        connection.ask("PUT", f"/blobs/{digest_of(blob)}{query}", blob, {"Content-Type": "application/octet-stream"})
    return Draft(
        entity="local", project="both ways", name=name, type="t", digest=manifest.digest, size=len(data), files=1,
        manifest=digest_of(manifest.dump()), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_catalogue_says_the_same_here_and_there(catalogue: FolderCatalogue | RemoteCatalogue, server: Server) -> None:
    """Every method of it, in one story."""
    by = Actor("ann", "here")
    first = catalogue.claim(
        draft_of(
            server, "ü %", b"1", run="local/up/maker", aliases=("best",), metadata={"nan": float("nan"), "big": 2**70}
        ),
        "token-both-1",
        by,
    )
    assert catalogue.claim(draft_of(server, "ü %", b"1"), "token-both-1").version == 0
    second = catalogue.claim(draft_of(server, "ü %", b"2", tags=("t",)), "token-both-2", by)
    catalogue.alias(second, "best", by)
    catalogue.tag(first, "old", by)
    catalogue.untag(second, "t", by)
    catalogue.ttl(first, 3, by)
    catalogue.describe(first, description="text", metadata={"inf": float("inf")}, actor=by)
    catalogue.use(second, "local/up/reader", "data", by)
    found = catalogue.collection("local", "both ways", "ü %")
    assert found is not None
    catalogue.describe_collection(found, description="all", tags=["x"], actor=by)

    one, two = catalogue.versions("local", "both ways", "ü %")
    assert (one.aliases, one.tags, one.ttl_days, one.description) == ((), ("old",), 3.0, "text")
    assert one.metadata == {"inf": float("inf")}
    assert (two.aliases, two.tags) == (("best", "latest"), ())
    for which in ("v1", "best", "latest", two.digest, two.digest[:10]):
        assert catalogue.version("local", "both ways", "ü %", which) == two
    for which in ("v7", "nothing"):
        assert catalogue.version("local", "both ways", "ü %", which) is None
    assert catalogue.version("local", "both ways", "none") is None
    assert catalogue.collection("local", "both ways", "none") is None
    assert [each.name for each in catalogue.collections("local", "both ways")] == ["ü %"]
    assert catalogue.collections("local", "both ways", "other") == []
    now = catalogue.collection("local", "both ways", "ü %")
    assert now is not None
    assert (now.description, now.tags, now.aliases) == ("all", ("x",), {"best": 1, "latest": 1})
    assert catalogue.made_by(first) == ["local/up/maker"]
    assert [(use.run, use.use_as, use.user) for use in catalogue.uses(second)] == [("local/up/reader", "data", "ann")]
    assert [(edge.use, edge.artifact) for edge in catalogue.edges("local/up/maker")] == [
        ("output", "local/both ways/ü %:v0")
    ]
    moves = [event for event in catalogue.history("local", "both ways", "ü %") if event.name == "best"]
    assert [(move.version, move.previous, move.user) for move in moves] == [(0, None, "ann"), (1, 0, "ann")]
    with pytest.raises(UsageError, match="still called 'best'"):
        catalogue.delete(two)
    with pytest.raises(UsageError, match="looks like a version's number"):
        catalogue.alias(one, "v9")
    with pytest.raises(UsageError, match="cannot be taken away"):
        catalogue.unalias(two, "latest")
    catalogue.unalias(two, "best", by)
    catalogue.delete(two, actor=by)
    assert [each.version for each in catalogue.versions("local", "both ways", "ü %")] == [0]


def test_a_claim_without_its_bytes_names_them(server: Server) -> None:
    draft = Draft(
        entity="local", project="up", name="hollow", type="t", digest="0" * 64, manifest=digest_of(b"nowhere")
    )
    with pytest.raises(MissingBlobs) as caught:
        RemoteCatalogue(Connection(server.url)).claim(draft, "token-hollow")

    assert caught.value.digests == [digest_of(b"nowhere")]


def test_a_catalogue_that_is_away_is_asked_again_for_a_while(tmp_path: Path) -> None:
    waits: list[float] = []
    server = Server(tmp_path / "store")
    catalogue = RemoteCatalogue(Connection(server.url), stall_seconds=5, clock=lambda: sum(waits), sleep=waits.append)

    with pytest.raises(TransportError, match="does not answer"):
        catalogue.collections()
    assert 4 < sum(waits) <= 5


# --- and back ----------------------------------------------------------------------------


def test_bytes_come_back_on_another_machine(tmp_path: Path, server: Server) -> None:
    """Several at a time, whole and checked; what is there already is not fetched again."""
    here, there = FolderBlobs(tmp_path / "here"), FolderBlobs(tmp_path / "there")
    datas = [
        b"",
        b"text " * 50_000,
        *(some_bytes(size, ("back", size)) for size in (10, 1_000_000, 1_100_000, 5_000_000)),
    ]
    remote = RemoteBlobs(Connection(server.url))
    digests = [here.put(data) for data in datas]
    for digest in digests:
        remote.send(here, digest)
    there.arrive(digests[-1], 0, datas[-1][:1_500_000])  # of a fetch that broke off
    fetched = FetchedBlobs(there, Connection(server.url))
    fetched.fetch(digests)
    again = FetchedBlobs(there, Connection("http://127.0.0.1:1"))
    again.fetch(digests)

    for digest, data in zip(digests, datas, strict=True):
        assert again.read(digest) == data
    assert there.stored(digests[1])[1]  # still packed


def test_damage_here_is_mended_and_damage_there_is_named(tmp_path: Path) -> None:
    here = FolderBlobs(tmp_path / "here")
    with Server(tmp_path / "store") as server:
        remote = RemoteBlobs(Connection(server.url))
        one, two = here.put(some_bytes(1000, "one")), here.put(some_bytes(1000, "two"))
        for digest in (one, two):
            remote.send(here, digest)
            here.stored(digest)[0].write_bytes(bytes(1000))
        (tmp_path / "store" / "blobs" / two[:2] / two).write_bytes(b"damaged")
        fetched = FetchedBlobs(here, Connection(server.url))

        assert fetched.read(one) == some_bytes(1000, "one")
        with pytest.raises(DamagedBlob):
            here.read(two)
        with pytest.raises(StorageError, match=two):
            fetched.read(two)
        assert remote.missing([one, two]) == [two]
        again = FolderBlobs(tmp_path / "again")
        remote.send(again, again.put(some_bytes(1000, "two")))
        assert fetched.read(two) == some_bytes(1000, "two")


def test_bytes_that_are_nowhere_are_named(tmp_path: Path, server: Server) -> None:
    fetched = FetchedBlobs(FolderBlobs(tmp_path), Connection(server.url))
    nowhere = [digest_of(b"nowhere %d" % n) for n in range(5)]

    with pytest.raises(StorageError, match=f"5 blobs cannot be had .*{nowhere[0]}"):
        fetched.fetch(nowhere)


def test_a_server_that_is_away_is_given_up_in_the_end(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    fetched = FetchedBlobs(
        FolderBlobs(tmp_path),
        Connection(Server(tmp_path / "s").url),
        stall_seconds=10,
        clock=lambda: now[0],
        sleep=sleep,
    )
    with pytest.raises(TransportError, match="does not answer"):
        fetched.fetch([digest_of(b"x")])
    assert 8 < now[0] <= 10


# --- after the fact ----------------------------------------------------------------------


def test_sync_sends_what_offline_runs_have(tmp_path: Path, server: Server) -> None:
    """Rows, blobs of the run, versions, and who read them; the second time, nothing."""
    root = tmp_path / "runs"
    with tracker.init(project="up", id="synced", dir=root, mode="offline", settings=QUIET) as run:
        run.log({"loss": 1.0})
    own = FolderBlobs(run_blobs(run.folder))
    digests = [own.put(b"media %d" % number) for number in range(10)]
    made = make_version(root, "made", {"x": some_bytes(10_000, "made")}, run="local/up/synced")
    read = make_version(root, "read", {"x": some_bytes(10_000, "read")})
    FolderCatalogue(artifacts_folder(root)).use(read, "local/up/synced")
    transport = lambda: HttpTransport(server.url)  # noqa: E731 - a factory
    report = sync(root, transport, progress=False)
    again = sync(root, transport, progress=False)

    assert report.is_complete, report
    assert (report.sent_files, report.sent_versions, report.left_files) == (14, 2, 0)
    assert (again.sent_files, again.sent_file_bytes, again.sent_rows) == (0, 0, 0)
    for digest in digests:
        assert server.get(f"/runs/local/up/synced/blobs/{digest}").ok
    assert server.json("/artifacts/local/up/made/latest")["digest"] == made.digest
    edges = server.json("/edges", params={"run": "local/up/synced"})["edges"]
    assert sorted((edge["use"], edge["artifact"]) for edge in edges) == [
        ("input", "local/up/read:v0"),
        ("output", "local/up/made:v0"),
    ]


def test_sync_says_what_it_could_not_send(tmp_path: Path, server: Server) -> None:
    root = tmp_path / "runs"
    with tracker.init(project="up", id="hurt", dir=root, mode="offline", settings=QUIET) as run:
        run.log({"loss": 1.0})
    make_version(root, "hurt", {"x": b"hurt bytes"}, run="local/up/hurt")
    FolderBlobs(blobs_folder(root)).remove(digest_of(b"hurt bytes"))
    report = sync(root, lambda: HttpTransport(server.url), progress=False)

    assert not report.is_complete
    assert [name for name, _ in report.failed] == ["local/up/hurt"]
    assert server.json("/runs/local/up/hurt")["points"] == 1
