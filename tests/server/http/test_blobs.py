"""Bytes by their digest: how they come in, go out, and are kept from harm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.blobs.packing import zstd
from tracker.core.paths import RunPath, blobs_folder, run_blobs

from .helpers import Server, frames_of, start_server, until, write_run

BYTES = {"content-type": "application/octet-stream"}
SHARED = "/api/v1/blobs"
OWN = "/api/v1/runs/local/demo/one/blobs"
PLACES = pytest.mark.parametrize("place", [SHARED, OWN])


def some_bytes(length: int, seed: int = 0) -> bytes:
    """Answer bytes that do not pack."""
    import random

    return random.Random(seed).randbytes(length)


def put(
    server: Server, place: str, data: bytes, offset: int = 0, end: int | None = None, **more: str
) -> tuple[int, object]:
    """Send a piece; answer status and JSON."""
    answer = server.client.put(
        f"{place}/{digest_of(data)}",
        params={"size": len(data), "offset": offset},
        content=data[offset:end],
        headers={**BYTES, **more},
    )
    return answer.status_code, answer.json()


@PLACES
def test_bytes_come_back_as_they_were_sent(tmp_path: Path, start: Callable[..., Server], place: str) -> None:
    """Whole, in one piece; empty ones as well, which a server that is shared may hold already."""
    server = start("server", folder=tmp_path / "store")
    for data in (b"", b"x", some_bytes(3_000_000, 1)):
        url = f"{place}/{digest_of(data)}"
        before = server.client.get(url).status_code
        asked = server.client.post(f"{place}/missing", json={"digests": [digest_of(data)]}).json()
        sent = put(server, place, data)
        again = server.client.post(f"{place}/missing", json={"digests": [digest_of(data)]}).json()
        answer = server.client.get(url)

        assert (before, asked) == (404, {"missing": [digest_of(data)]})
        assert sent == (200, {"held": len(data), "complete": True})
        assert again == {"missing": []}
        assert answer.content == data
        assert int(server.client.head(url).headers["content-length"]) == len(data)


@PLACES
def test_pieces_go_on_where_the_last_one_ended(team: Server, place: str) -> None:
    """A piece that begins elsewhere is answered with where to go on; a finished blob takes nothing more."""
    data = some_bytes(5_000, 2)
    url = f"{place}/{digest_of(data)}"

    assert put(team, place, data, 0, 2_000) == (200, {"held": 2_000, "complete": False})
    assert team.client.get(url).status_code == 404
    head = team.client.head(url)
    assert (head.status_code, head.headers["tracker-held"]) == (404, "2000")
    assert put(team, place, data, 0, 1_000) == (409, {"held": 2_000, "complete": False})
    assert put(team, place, data, 3_000) == (409, {"held": 2_000, "complete": False})
    assert put(team, place, data, 2_000) == (200, {"held": 5_000, "complete": True})
    assert put(team, place, data, 0, 100) == (200, {"held": 5_000, "complete": True})
    assert team.client.get(url).content == data


def test_what_came_before_a_cut_is_kept(team: Server) -> None:
    """The connection breaks in the middle of a piece: the bytes that came are held, and the rest is enough."""
    data = some_bytes(3_000_000, 3)
    path = f"{OWN}/{digest_of(data)}"
    head = (
        f"PUT {path}?size={len(data)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", team.port)) as connection:
        connection.sendall(head.encode() + data[:2_000_000])
    held = until(lambda: int(team.client.head(path).headers["tracker-held"]) == 2_000_000 and 2_000_000)

    assert put(team, OWN, data, held) == (200, {"held": len(data), "complete": True})
    assert team.client.get(path).content == data


@PLACES
def test_other_bytes_than_announced_are_never_named(team: Server, place: str) -> None:
    """The arrival is thrown away, and the right bytes are taken afterwards."""
    data = some_bytes(1_000, 4)
    url = f"{place}/{digest_of(data)}"
    wrong = team.client.put(url, params={"size": 1_000}, content=some_bytes(1_000, 5), headers=BYTES)
    longer = team.client.put(url, params={"size": 10}, content=data, headers=BYTES)

    assert (wrong.status_code, longer.status_code) == (422, 422)
    assert team.client.get(url).status_code == 404
    assert team.client.head(url).headers["tracker-held"] == "0"
    assert put(team, place, data) == (200, {"held": 1_000, "complete": True})


def test_packed_bytes_travel_as_they_are_stored(team: Server) -> None:
    """Sent packed, kept packed, and given packed to whoever takes that; plain to all others."""
    data = b"a line like all others\n" * 50_000
    packed = zstd.compress(data)
    url = f"{SHARED}/{digest_of(data)}"
    sent = team.client.put(
        url, params={"size": len(data)}, content=packed, headers={**BYTES, "content-encoding": "zstd"}
    )
    taken = team.client.get(url, headers={"accept-encoding": "gzip, zstd;q=0.5"})
    raw = team.raw(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: zstd\r\n\r\n".encode())

    assert sent.json() == {"held": len(data), "complete": True}
    assert taken.headers["content-encoding"] == "zstd"
    assert raw.partition(b"\r\n\r\n")[2] == packed
    for encodings in ("gzip", "zstd;q=0", "identity"):
        plain = team.client.get(url, headers={"accept-encoding": encodings})
        assert "content-encoding" not in plain.headers
        assert plain.content == data
        assert plain.headers["etag"] != taken.headers["etag"]


@pytest.mark.parametrize(
    "body",
    [
        b"no frame at all",
        zstd.compress(b"other bytes"),
        zstd.compress(b"x" * 1000)[:-3],
        zstd.compress(b"x" * 1000) * 2,
        zstd.compress(bytes(300 << 20)),
    ],
    ids=["no frame", "other bytes", "cut", "two frames", "bomb"],
)
def test_packed_bytes_that_lie_are_refused(team: Server, body: bytes) -> None:
    """Also a frame of 10 kB that unfolds to 300 MB."""
    data = b"x" * 1000
    answer = team.client.put(
        f"{OWN}/{digest_of(data)}",
        params={"size": 1000},
        content=body,
        headers={**BYTES, "content-encoding": "zstd"},
    )

    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert team.client.get(f"{OWN}/{digest_of(data)}").status_code == 404


def test_two_that_send_the_same_blob_do_not_harm_each_other(team: Server) -> None:
    """Piece by piece in turn, each goes on where the answer says; both end with the whole blob."""
    data = some_bytes(40_000, 6)
    at = [0, 0]
    done = [False, False]
    for _ in range(20):
        for one in range(2):
            if not done[one]:
                status, answer = put(team, SHARED, data, at[one], at[one] + 7_000)
                assert status in (200, 409)
                at[one], done[one] = answer["held"], answer["complete"]  # type: ignore[index]

    assert done == [True, True]
    assert team.client.get(f"{SHARED}/{digest_of(data)}").content == data


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=990-2000", 206, (990, 1000)),
        ("bytes=100-", 206, (100, 1000)),
        ("bytes=-7", 206, (993, 1000)),
        ("bytes=-5000", 206, (0, 1000)),
        ("bytes=1000-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 200, (0, 1000)),
        ("bytes=0-1,5-6", 200, (0, 1000)),
        ("bytes=-", 200, (0, 1000)),
        ("lines=1-2", 200, (0, 1000)),
        ("bytes=99999999999999999999999-", 200, (0, 1000)),
    ],
)
def test_ranges(team: Server, asked: str, status: int, expected: tuple[int, int] | None) -> None:
    """What players and resumed downloads ask for; of packed blobs as well."""
    for data in (some_bytes(1000, 7), b"0123456789" * 100):
        put(team, SHARED, data)
        if data[:1] == b"0":
            packed = zstd.compress(data)
            team.client.put(
                f"{OWN}/{digest_of(data)}",
                params={"size": 1000},
                content=packed,
                headers={**BYTES, "content-encoding": "zstd"},
            )
        for place in (SHARED, OWN) if data[:1] == b"0" else (SHARED,):
            answer = team.client.get(f"{place}/{digest_of(data)}", headers={"range": asked, "accept-encoding": "zstd"})
            assert answer.status_code == status
            if expected is None:
                assert answer.headers["content-range"] == "bytes */1000"
            else:
                is_packed = answer.headers.get("content-encoding") == "zstd"
                content = zstd.decompress(answer.content) if is_packed else answer.content
                assert content == data[slice(*expected)]
            if status == 206:
                assert answer.headers["content-range"] == f"bytes {expected[0]}-{expected[1] - 1}/1000"  # type: ignore[index]


def test_what_a_browser_has_it_need_not_get_again(team: Server) -> None:
    data = some_bytes(1000, 8)
    put(team, OWN, data)
    url = f"{OWN}/{digest_of(data)}"
    tag = team.client.get(url).headers["etag"]
    known = team.client.get(url, headers={"if-none-match": f'"other", {tag}'})
    other = team.client.get(url, headers={"range": "bytes=0-1", "if-range": '"other"'})

    assert (known.status_code, known.content) == (304, b"")
    assert "immutable" in known.headers["cache-control"]
    assert (other.status_code, len(other.content)) == (200, 1000)


@pytest.mark.parametrize(
    ("format", "kind"),
    [
        ("png", "image/png"),
        ("JPG", "image/jpeg"),
        ("wav", "audio/wav"),
        ("mp4", "video/mp4"),
        ("txt", "text/plain; charset=utf-8"),
        ("json", "application/json"),
    ],
)
def test_what_shows_and_plays_is_shown_inline(team: Server, format: str, kind: str) -> None:
    data = some_bytes(100, 9)
    put(team, OWN, data)
    headers = team.client.get(f"{OWN}/{digest_of(data)}", params={"format": format}).headers

    assert headers["content-type"] == kind
    assert headers["content-disposition"] == "inline"
    assert headers["x-content-type-options"] == "nosniff"
    assert "script-src" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize("format", ["html", "HTML", "svg"])
def test_what_may_hold_scripts_is_nobodys_origin(team: Server, format: str) -> None:
    """`sandbox` without `allow-same-origin`, nothing loaded from anywhere, and only our own page may frame it."""
    data = b"<script>parent.document.title = 'taken'</script>"
    put(team, OWN, data)
    headers = team.client.get(f"{OWN}/{digest_of(data)}", params={"format": format}).headers
    policies = headers.get_list("content-security-policy")
    policy = dict((part.strip() + " ").split(" ", 1) for part in policies[0].split(";") if part.strip())

    assert len(policies) == 1
    assert "allow-same-origin" not in policy["sandbox"]
    assert "allow-top-navigation" not in policy["sandbox"]
    assert policy["default-src"].strip() == policy["form-action"].strip() == "'none'"
    assert policy["frame-ancestors"].strip() == "'self'"
    assert "connect-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "format", [None, "", "exe", "js", "mjs", "css", "xml", "xhtml", "htm", "pdf", "swf", "text/html", "html;", "../x"]
)
def test_everything_else_is_a_file_to_be_saved(team: Server, format: str | None) -> None:
    data = b"<html><script>alert(1)</script>"
    for place in (SHARED, OWN):
        put(team, place, data)
        query = {} if format is None else {"format": format}
        headers = team.client.get(f"{place}/{digest_of(data)}", params=query).headers

        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"] == "attachment"
        assert headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize(
    "name", ["..", "../..", "%2e%2e%2fx", "a" * 63, "A" * 64, "g" * 64, "a" * 65, ".arriving", "%00"]
)
@PLACES
def test_what_is_no_digest_names_nothing(team: Server, place: str, name: str) -> None:
    for method in ("GET", "HEAD", "PUT"):
        raw = (
            f"{method} {place}/{name}?size=3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert 400 <= int(team.raw(raw.encode()).split()[1]) < 500
    asked = team.client.post(f"{place}/missing", json={"digests": [name]})
    assert asked.status_code == 422


def test_more_than_is_taken_is_refused(team: Server) -> None:
    """A piece beyond the limit, a blob beyond the limit, too many questions at once; and memory is not what it costs."""
    data = some_bytes(100, 10)
    url = f"{SHARED}/{digest_of(data)}"
    pieces = (bytes(1 << 20) for _ in range(18))

    assert team.client.put(url, params={"size": 64 << 20}, content=pieces, headers=BYTES).status_code == 413
    assert team.client.put(url, params={"size": 1 << 40}, content=data, headers=BYTES).status_code == 422
    many = {"digests": [f"{number:064x}" for number in range(10_001)]}
    assert team.client.post(f"{SHARED}/missing", json=many).status_code == 422
    assert team.client.post(f"{SHARED}/missing", json={"digests": many["digests"][:10_000]}).status_code == 200


def test_forms_cannot_send_bytes(team: Server) -> None:
    data = some_bytes(100, 11)
    for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "application/json", ""):
        answer = team.client.put(
            f"{SHARED}/{digest_of(data)}", params={"size": 100}, content=data, headers={"content-type": kind}
        )
        assert answer.status_code == 415
    gzip = team.client.put(
        f"{SHARED}/{digest_of(data)}", params={"size": 100}, content=data, headers={**BYTES, "content-encoding": "gzip"}
    )
    assert gzip.status_code == 415


def test_the_ui_gives_what_lies_in_the_folder_and_takes_nothing(start: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    path = write_run(root)
    own = FolderBlobs(run_blobs(path.folder(root))).put(b"of the run")
    shared = FolderBlobs(blobs_folder(root)).put(b"of all runs")
    server = start("ui", root=root)

    assert server.client.get(f"{OWN}/{own}", params={"format": "txt"}).text == "of the run"
    assert server.client.get(f"{SHARED}/{shared}").content == b"of all runs"
    assert server.client.get(f"{SHARED}/{own}").status_code == 404
    assert server.client.get(f"/api/v1/runs/local/demo/two/blobs/{own}").status_code == 404
    assert put(server, OWN, b"new")[0] == put(server, SHARED, b"new")[0] == 403


def test_damage_on_the_servers_disk_is_found_when_asked_for(start: Callable[..., Server], tmp_path: Path) -> None:
    """`check`: the damaged file is set aside, so that the blob is missing, and can be sent again."""
    server = start("server", folder=tmp_path / "store")
    data = some_bytes(1000, 12)
    put(server, SHARED, data)
    (file,) = (tmp_path / "store" / "blobs").rglob(digest_of(data))
    file.write_bytes(bytes(1000))
    unchecked = server.client.get(f"{SHARED}/{digest_of(data)}").content
    checked = server.client.get(f"{SHARED}/{digest_of(data)}", params={"check": True})

    assert unchecked == bytes(1000)
    assert checked.status_code == 404
    assert digest_of(data) in checked.json()["detail"]
    assert put(server, SHARED, data) == (200, {"held": 1000, "complete": True})
    assert server.client.get(f"{SHARED}/{digest_of(data)}", params={"check": True}).content == data


def test_a_server_that_is_killed_keeps_what_it_holds(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("server", folder=tmp_path / "store")
    data = some_bytes(2_000_000, 13)
    put(server, OWN, data, 0, 1_500_000)
    server.process.kill()
    server.process.wait()
    again = start("server", folder=tmp_path / "store")

    assert again.client.head(f"{OWN}/{digest_of(data)}").headers["tracker-held"] == "1500000"
    assert put(again, OWN, data, 1_500_000) == (200, {"held": len(data), "complete": True})


def test_the_blobs_of_a_run_go_with_it(tmp_path: Path) -> None:
    """The trash keeps them; what removes the run for good removes them, and nobody else's."""
    from tracker.server.index import Index
    from tracker.server.stores import open_stores

    stores = open_stores(tmp_path)
    one, two = RunPath("local", "demo", "one"), RunPath("local", "demo", "two")
    digest = stores.run_blobs.of(one).put(b"of one")
    stores.run_blobs.of(two).put(b"of one")
    Index(stores).forget(one)
    stores.close()

    assert not stores.run_blobs.of(one).has(digest)
    assert stores.run_blobs.of(two).has(digest)
    assert not [name for name in os.listdir(tmp_path / "runblobs" / "local" / "demo") if name == "one"]


@pytest.mark.fault
def test_a_full_disk_is_507_and_nothing_half_is_seen(tmp_path: Path) -> None:
    """On a file system of its own; skipped where none can be mounted. What was held is gone on with when there is room."""
    store = tmp_path / "store"
    store.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(store)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    server = None
    try:
        server = start_server(tmp_path / "log", "server", folder=store)
        data = some_bytes(5_000_000, 14)
        url = f"{SHARED}/{digest_of(data)}"
        assert put(server, SHARED, data, 0, 1 << 20)[0] == 200
        with suppress(OSError), (store / "ballast").open("wb") as ballast:
            while True:
                ballast.write(bytes(4096))
                ballast.flush()
        refused = put(server, SHARED, data, 1 << 20)
        text = b"".join(b"%d\n" % number for number in range(1_000_000))
        packed = server.client.put(
            f"{OWN}/{digest_of(text)}",
            params={"size": len(text)},
            content=zstd.compress(text),
            headers={**BYTES, "content-encoding": "zstd"},
        )
        seen = [server.client.get(address).status_code for address in (url, f"{OWN}/{digest_of(text)}")]
        held = int(server.client.head(url).headers["tracker-held"])
        (store / "ballast").unlink()
        accepted = put(server, SHARED, data, held)

        assert (refused[0], packed.status_code) == (507, 507)
        assert "full" in str(refused[1])
        assert seen == [404, 404]
        assert held >= 1 << 20
        assert accepted == (200, {"held": len(data), "complete": True})
        assert server.client.get(url).content == data
    finally:
        if server is not None:
            server.stop()
        subprocess.run(["umount", str(store)], check=False)


def test_the_trash_keeps_a_runs_bytes(team: Server, tmp_path: Path) -> None:
    path = write_run(tmp_path, "binned")
    stream, body, _ = frames_of(path.folder(tmp_path))
    team.send(path, stream, body)
    place = "/api/v1/runs/local/demo/binned"
    put(team, f"{place}/blobs", b"kept")
    team.client.delete(place)
    team.client.post(f"{place}/restore")

    assert team.client.get(f"{place}/blobs/{digest_of(b'kept')}").content == b"kept"
