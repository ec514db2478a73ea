"""The transport against a server of a few lines that answers whatever a test wants."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tracker.core.errors import TransportError, UsageError
from tracker.core.paths import RunPath
from tracker.core.transport import Batch, HttpTransport, MemoryTransport

PATH = RunPath("local", "digits & co", "a/b")
BATCH = Batch(PATH, "0123-1-abcd", 7, 9, b"frames", 3)
KEY = "tk_secret_of_mine"
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server(ThreadingHTTPServer):
    """Answers each POST with `answer`, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer: Answer = json(200, b'{"acked": 9}')
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                server.answer(self, body)

            def log_message(self, *_: object) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        return

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def json(status: int, body: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def failure(transport: HttpTransport) -> TransportError:
    with pytest.raises(TransportError) as caught:
        transport.send(BATCH)
    return caught.value


def test_a_batch_is_posted_with_its_names_escaped_and_answered_by_the_cursor(server: Server) -> None:
    """Path, cursor, body and key arrive; the key in a header."""
    transport = HttpTransport(server.url + "/", KEY)

    assert transport.send(BATCH) == 9
    path, headers, body = server.requests[0]
    assert path == "/api/v1/streams/local/digits%20%26%20co/a%2Fb/0123-1-abcd?after=7"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/x-tracker-frames"
    assert headers["content-length"] == "6"
    assert body == b"frames"


def test_one_connection_serves_many_batches(server: Server) -> None:
    """No connection is opened for each batch."""
    ports = set()

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        ports.add(handler.client_address[1])
        json(200, b'{"acked": 9}')(handler, body)

    server.answer = answer
    transport = HttpTransport(server.url)
    for _ in range(5):
        transport.send(BATCH)

    assert len(ports) == 1


def test_a_conflict_answers_the_servers_cursor(server: Server) -> None:
    """A 409 is no error: it tells where to go on."""
    server.answer = json(409, b'{"acked": 3}')

    assert HttpTransport(server.url).send(BATCH) == 3


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome to the hotel</html>", b"", b"[9]", b'{"acked": "9"}', b'{"acked": true}', b'{"acked": 9.0}',
     b'{"acked": -1}', b'{"acked": null}', b"[" * 60_000, b'{"acked": 9}' + b" " * 100_000],
)  # fmt: skip
def test_a_200_without_a_cursor_is_no_acknowledgement(server: Server, body: bytes) -> None:
    """A captive portal says 200 as well."""
    server.answer = json(200, body)

    assert "not as a tracker server" in str(failure(HttpTransport(server.url)))


@pytest.mark.parametrize(("status", "header", "wait"), [(429, "7", 7.0), (503, "1e9", 600.0), (503, "nonsense", None)])
def test_retry_after_is_told(server: Server, status: int, header: str, wait: float | None) -> None:
    """Seconds are taken, within reason."""
    server.answer = json(status, b'{"detail": "busy"}', Retry_After=header)
    error = failure(HttpTransport(server.url))

    assert (error.status, error.retry_after) == (status, wait)
    assert str(error) == f"{server.url} answers {status}: busy"


def test_a_redirect_is_not_followed(server: Server) -> None:
    """Neither body nor key goes to another host."""
    server.answer = json(307, b"", Location="http://elsewhere.example/api?token=x")
    error = failure(HttpTransport(server.url, KEY))

    assert len(server.requests) == 1
    assert "http://elsewhere.example," in str(error)


def test_a_refused_key_is_read_anew(server: Server, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A key written into the settings file works without a restart; one for another server is not tried."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        is_good = handler.headers["Authorization"] == "Bearer tk_new"
        json(200 if is_good else 401, b'{"acked": 9}')(handler, body)

    server.answer = answer
    monkeypatch.setenv("TRACKER_API_KEY", KEY)
    transport = HttpTransport(server.url, KEY)
    first = failure(transport)
    (home / "config").mkdir(exist_ok=True)
    settings = home / "config" / "settings.toml"
    settings.write_text('base_url = "https://other.example"\napi_key = "tk_others"\n')
    second = failure(transport)
    settings.write_text(f'base_url = "{server.url}"\napi_key = "tk_new"\n')

    assert first.status == second.status == 401
    assert "TRACKER_API_KEY" in str(first)
    assert transport.send(BATCH) == 9
    assert {headers["authorization"] for _, headers, _ in server.requests} == {f"Bearer {KEY}", "Bearer tk_new"}


def test_a_key_may_be_a_function(server: Server) -> None:
    """It is asked for each batch."""
    keys = iter(["tk_1", "tk_2"])
    transport = HttpTransport(server.url, lambda: next(keys))
    transport.send(BATCH)
    transport.send(BATCH)

    assert [headers["authorization"] for _, headers, _ in server.requests] == ["Bearer tk_1", "Bearer tk_2"]


def test_netrc_does_not_replace_the_key(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` would take a password from ~/.netrc instead."""
    (home / ".netrc").write_text("machine localhost login me password mine\n")
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    HttpTransport(server.url, KEY).send(BATCH)

    assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"


def test_a_proxy_of_the_environment_is_passed_by_on_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters set HTTP_PROXY for all and NO_PROXY for none."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert HttpTransport(server.url).send(BATCH) == 9


def test_the_key_is_in_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the server refuses it, echoes nothing, or is not there; nor is a proxy's password."""
    texts = []
    for status in (400, 401, 403, 500, 200):
        server.answer = json(status, b"{}")
        texts.append(repr(failure(HttpTransport(server.url, KEY))))
    monkeypatch.setenv("HTTP_PROXY", "http://user:proxypass@127.0.0.1:9")
    with_user = HttpTransport("http://me:mypass@tracker.invalid:81/x", KEY)
    texts += [repr(failure(with_user)), repr(with_user), with_user.address]

    for text in texts:
        assert KEY not in text
        assert "pass" not in text
    assert with_user.address == "http://tracker.invalid:81/x"


def test_what_cannot_be_reached_is_said_in_a_few_words() -> None:
    """Refused, unknown, and no server at all."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        error = failure(HttpTransport(url))

    assert str(error) == f"{url} does not answer: connection refused"
    assert error.status is None


@pytest.mark.parametrize("part", ["status", "headers", "body", "nothing"])
def test_an_answer_that_trickles_is_bounded_as_a_whole(server: Server, part: str) -> None:
    """A byte now and then does not hold the sender."""
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        whole = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"acked": 9}'
        start = {"status": 0, "headers": 20, "body": len(whole) - 12, "nothing": 0}[part]
        handler.wfile.write(whole[:start])
        for byte in whole[start:] if part != "nothing" else b"":
            handler.wfile.write(bytes([byte]))
            if stop.wait(0.2):
                return
        stop.wait(10)

    server.answer = answer
    began = time.monotonic()
    error = failure(HttpTransport(server.url, read_seconds=0.8))
    stop.set()

    assert "timed out" in str(error)
    assert time.monotonic() - began < 3


def test_an_endless_answer_is_not_read(server: Server) -> None:
    """Memory stays bounded whatever a server sends."""

    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            handler.close_connection = True

    server.answer = answer

    assert "not as a tracker server" in str(failure(HttpTransport(server.url)))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls_is_verified_and_never_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown authority and a wrong name are refused with the reason, before anything is sent."""
    files = {name: str(tmp_path / name) for name in ("key.pem", "cert.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", files["key.pem"], "-out", files["cert.pem"]]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert.pem"], files["key.pem"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = server.server_address[1]
    unknown = failure(HttpTransport(f"https://localhost:{port}", KEY))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["cert.pem"])
    wrong_name = failure(HttpTransport(f"https://127.0.0.1:{port}", KEY))

    assert "its certificate is not accepted (self" in str(unknown)
    assert "its certificate is not accepted (IP address mismatch" in str(wrong_name)
    assert server.requests == []
    assert HttpTransport(f"https://localhost:{port}", KEY).send(BATCH) == 9


@pytest.mark.parametrize("url", ["tracker.example", "ftp://x", "http://", "", "http:///x"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """Where the user is, not in the thread."""
    with pytest.raises(UsageError):
        HttpTransport(url)


def test_the_memory_transport_keeps_the_servers_contract() -> None:
    """Faults come in order; a repeated batch changes nothing, one from too far on is answered by the cursor."""
    from tracker.core.journal import encode_frame
    from tracker.core.record import Kind
    from tracker.core.values import encode

    body = encode_frame(Kind.ROW, 1, encode((0, 1, {"loss": 0.5})))
    first = Batch(PATH, "s", 0, 1, body, 1)
    transport = MemoryTransport(faults=[503, OSError("gone"), "lost answer"])
    for kind in (TransportError, OSError, TransportError):
        with pytest.raises(kind):
            transport.send(first)

    assert transport.send(first) == 1
    assert transport.send(Batch(PATH, "s", 5, 6, b"", 0)) == 1
    assert transport.rows() == [{"_step": 0, "_time_ns": 1, "loss": 0.5}]
