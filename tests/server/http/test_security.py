"""The gate: who may ask, what may be sent, and what every answer bears (reliability classes S1 to S5)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tracker.core.paths import RunPath
from tracker.server.gate.security import HostList, RefusedError, body_rule, is_loopback

from .helpers import FRAMES, Server, start_server, until, write_run

RUN = "/api/v1/runs/local/demo/one"
LOOK_ALIKES = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:8765",
    "localhost.",
    "xlocalhost",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "127.0.0.1:80:80",
    "127.1",
    "0.0.0.0",
    "[::1].evil.example",
    "[::ffff:127.0.0.1%25x]",
    "localhost, evil.example",
    "local\u00e9host",
    "",
    " ",
]


@pytest.mark.parametrize("host", LOOK_ALIKES)
def test_a_host_that_only_looks_like_ours_is_refused(ui: Server, host: str) -> None:
    answer = ui.raw(b"GET /api/v1/runs HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")

    assert answer.split()[1] in (b"400", b"421")
    assert b"demo" not in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:1234", "[::1]", "[0:0:0:0:0:0:0:1]:80"])
def test_our_own_names_are_answered(ui: Server, host: str) -> None:
    assert ui.client.get("/api/v1/health", headers={"host": host}).status_code == 200


def test_two_hosts_or_none_are_refused(ui: Server) -> None:
    assert ui.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n").split()[1] == b"400"
    assert ui.raw(b"GET / HTTP/1.1\r\n\r\n").split()[1] == b"400"


def test_allowed_hosts_are_exact() -> None:
    hosts = HostList("0.0.0.0", ["Tracker.example.com"])
    for host in ("tracker.example.com:443", "10.1.2.3:8765", "[fe80::1]"):
        hosts.check(host)
    for host in ("x.tracker.example.com", "tracker.example.com.evil.example", "example.com"):
        with pytest.raises(RefusedError):
            hosts.check(host)


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "[::1]", "127.3.4.5")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "10.0.0.1", "localhost.evil.example", "2130706433")))


UNSAFE = [
    ("PATCH", RUN),
    ("DELETE", RUN),
    ("POST", RUN + "/restore"),
    ("POST", "/api/v1/series"),
    ("POST", "/api/v1/streams/local/demo/one/s?after=0"),
    ("PUT", RUN),
    ("PUT", f"{RUN}/blobs/{'a' * 64}?size=2"),
    ("PUT", f"/api/v1/blobs/{'a' * 64}?size=2"),
    ("POST", "/api/v1/blobs/missing"),
    ("POST", "/login"),
    ("POST", "/logout"),
]
FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"origin": "http://127.0.0.1.evil.example"},
    {"origin": "https://"},
    {"origin": "file://"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_another_origin_changes_nothing(ui: Server, method: str, path: str, headers: dict[str, str]) -> None:
    content_type = body_rule(method, path.partition("?")[0]).type
    answer = ui.client.request(method, path, content=b"{}", headers={"content-type": content_type, **headers})

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert ui.get("/runs/local/demo/one")["trashed"] is False


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/runs", "/api/v1/projects"])
def test_another_origin_reads_nothing(ui: Server, path: str, headers: dict[str, str]) -> None:
    assert ui.client.get(path, headers=headers).status_code == 403


def test_our_own_origin_is_let_in(ui: Server) -> None:
    own = {"origin": ui.url, "sec-fetch-site": "same-origin"}
    answer = ui.client.patch(RUN, json={}, headers=own)

    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "", "*/*"])
@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_what_a_form_can_send_is_refused(ui: Server, method: str, path: str, kind: str) -> None:
    assert ui.client.request(method, path, content=b"{}", headers={"content-type": kind}).status_code == 415


def test_a_preflight_allows_nothing(ui: Server) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "DELETE"}
    answer = ui.client.options(RUN, headers=asked)

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_websocket_is_refused(ui: Server) -> None:
    answer = ui.raw(
        b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Origin: http://evil.example\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    assert answer.split()[1] == b"403"


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/docs", "/api/v1/nothing", "/login", "/builtin/docs.js"])
def test_every_answer_bears_the_headers(ui: Server, path: str) -> None:
    headers = ui.client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


# Names that are paths somewhere. None may reach a file; on the way in each is decoded exactly once.
TRAVERSALS = [
    "..", "../..", "../../etc/passwd", "..\\..", "/etc/passwd", "//etc/passwd", "C:\\x", "C:", "\\\\host\\share",
    "%2e%2e", "%2e%2e%2f%2e%2e", "..%2f..", "..%5c..", "%252e%252e%252f", "..%252f", "%c0%ae%c0%ae/", "%u002e",
    "..;/", "..%00", "%00", "a%00.txt", ".%0a.", "~root", "....//", ".../", "..#", "..?", "a\x7fb", "%ff%fe",
    "con", "nul.txt", "x" * 300, ".trash", ".trash/x", "file:///etc/passwd", "\u2025", "\uff0e\uff0e/",
]  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_name_is_a_path(walled: tuple[Server, Path, set[str]], name: str) -> None:
    server, canary, before = walled
    for spelt in {name, quote(name, safe=""), quote(name, safe="/%")}:
        routes = [
            f"/api/v1/runs/{spelt}/demo/one",
            f"/api/v1/runs/local/{spelt}/one",
            f"/api/v1/runs/local/demo/{spelt}",
        ]
        requests = [("GET", route) for route in routes]
        requests += [("GET", f"{routes[2]}/history"), ("POST", f"{routes[2]}/restore")]
        requests += [(method, route) for method in ("PATCH", "DELETE") for route in routes]
        requests += [
            ("GET", f"/api/v1/projects/{spelt}/demo/metrics"),
            ("GET", f"/api/v1/streams/local/demo/one/{spelt}"),
            ("GET", f"/api/v1/blobs/{spelt}"),
            ("GET", f"{routes[2]}/blobs/{'a' * 64}"),
            ("GET", f"/api/v1/runs/local/demo/one/blobs/{spelt}"),
        ]
        requests += [("GET", f"/{spelt}"), ("GET", f"/assets/{spelt}"), ("GET", f"/builtin/{spelt}")]
        for method, route in requests:
            body = b'{"name": "x"}' if method == "PATCH" else b""
            raw = b"".join(bytes([byte]) if 32 < byte < 127 else b"%%%02X" % byte for byte in route.encode())
            answer = server.raw(
                method.encode() + b" " + raw + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
            )
            status = int(answer.split()[1])

            assert status < 500, (method, route, answer[:300])
            assert canary.read_text().encode() not in answer
            assert b"root:" not in answer
    assert {str(item) for item in canary.parent.rglob("*")} >= before
    assert canary.exists()


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, set[str]]]:
    """A server over a folder of runs that lies beside a file which nobody may read."""
    home = tmp_path_factory.mktemp("walled")
    canary = home / "canary.txt"
    canary.write_text("canary-7f3a")
    write_run(home / "runs")
    server = start_server(tmp_path_factory.mktemp("log") / "log", "ui", root=home / "runs")
    until(lambda: server.get("/runs")["total"])
    yield server, canary, {str(item) for item in home.rglob("*") if "streams" not in str(item)}
    server.stop()


SMUGGLED = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding\x0b: chunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 99999999999999999999999999\r\n",
]


@pytest.mark.parametrize("headers", SMUGGLED)
def test_a_body_of_two_lengths_is_refused(ui: Server, headers: bytes) -> None:
    answer = ui.raw(
        b"POST /api/v1/series HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + headers + b"\r\n"
        b"0\r\n\r\nGET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        seconds=2,
    )

    assert answer == b"" or 400 <= int(answer.split()[1]) < 502
    assert b'"runs"' not in answer


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [("/api/v1/series", "application/json", 1 << 20), ("/api/v1/streams/a/b/c/d?after=0", FRAMES, 64 << 20), ("/login", "application/json", 4096), ("/api/v1/blobs/missing", "application/json", 1 << 20)],
)  # fmt: skip
def test_bodies_are_limited_by_route(team: Server, path: str, kind: str, limit: int) -> None:
    def declared(size: int) -> int:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
        return int(team.raw(head.encode() + b"x").split()[1])

    def chunked() -> int:
        pieces = (bytes(1 << 16) for _ in range((limit >> 16) + 2))
        return team.client.post(path, content=pieces, headers={"content-type": kind}).status_code

    assert [declared(size) for size in (limit + 1, 100 << 20, 10 << 40)] == [413] * 3
    assert chunked() == 413


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"config": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"config": ' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}",
        b'{"config": {"a": ' + b"9" * 100_000 + b"}}",
        b'{"config": {"\\ud800": 1}}',
        b'{"config": {"a": "\\udfff"}}',
        b"\xff\xfe{}",
        b'{"config": {"a": 1}',
        b"",
        b"null",
        b'{"config": {' + b",".join(b'"k%d": 1' % n for n in range(60_000)) + b", }}",
    ],
    ids=range(11),
)
def test_hostile_json_is_a_clients_fault(ui: Server, body: bytes) -> None:
    answer = ui.client.patch(RUN, content=body, headers={"content-type": "application/json"})

    assert 400 <= answer.status_code < 500
    assert isinstance(answer.json()["detail"], str)
    assert len(answer.content) < 5000


def test_compressed_bodies_are_not_taken(team: Server) -> None:
    headers = {"content-type": FRAMES, "content-encoding": "gzip"}

    assert team.client.post("/api/v1/streams/a/b/c/d?after=0", content=b"x", headers=headers).status_code == 415


def test_long_addresses_and_headers_are_refused(ui: Server) -> None:
    assert ui.client.get("/api/v1/runs?filter=" + "x" * 40_000).status_code in (400, 414)
    assert ui.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n").split()[1] == b"400"


def test_slow_clients_do_not_hold_up_others(team: Server) -> None:
    """A hundred half requests are open; others are answered at once, and the half ones are let go in the end."""
    half = b"POST /api/v1/series HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", team.port))) for _ in range(100)]
        for index, connection in enumerate(slow):
            connection.sendall(half + (b"Content-Length: 100\r\n\r\n{" if index % 2 else b""))
        begun = time.monotonic()
        assert team.client.get("/api/v1/health").status_code == 200
        assert time.monotonic() - begun < 2
        slow[0].settimeout(15)
        assert slow[0].recv(100) == b""  # its headers did not come within ten seconds


def test_the_server_outlived_all_of_it(ui: Server, team: Server, shared_runs: tuple[Path, RunPath]) -> None:
    for server in (ui, team):
        assert server.get("/health")["status"] == "ok"
        assert server.process.poll() is None
        assert "Exception in ASGI" not in server.log.read_text()
