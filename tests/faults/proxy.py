"""A proxy that does to HTTP requests what bad networks and bad servers do.

It listens on a port of its own in front of a server. `fault` may be changed at any time, from any thread:

    ""                   pass on
    refuse               nobody listens
    blackhole            requests are held; those held are passed on when the fault is over, as TCP would
    vanish               requests are read and never answered
    reset_before         the connection is reset, the request never reaches the server
    reset_after          the server does its work, then the connection is reset
    duplicate            the server gets it twice, the client the second answer
    half_response        the server does its work, half of the answer comes back
    truncate_body        half of the body reaches the server, then the connection ends
    cut_body             half of the body reaches the server as if it were whole
    slow_response        the answer trickles, a byte at a time
    garbage              200 and a page of HTML, the server gets nothing
    garbage_after        the same, but the server did its work
    delay:SECONDS        later
    status:N[:SECONDS]   an answer of its own, with Retry-After; the server gets nothing
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

_GARBAGE = b"<html><body>Please accept the terms of our hotel.</body></html>"


class FaultProxy:
    """Use as a context manager.

    Args:
        port: Of the server behind it, on 127.0.0.1.
        seed: Of the dice that `probability` is thrown with.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self.upstream = port
        self.probability = 1.0
        self.trickle_seconds = 0.02  # between two bytes of a slow response
        self.rule: Callable[[bytes], int | None] | None = None  # a body to the status it is refused with
        self.counts: Counter[str] = Counter()
        self.times: list[float] = []
        self._fault = ""
        self._changed = threading.Condition()
        self._dice = random.Random(seed)
        self._listener: socket.socket | None = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._is_closed = False

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> str:
        """What is wrong now."""
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        with self._changed:
            before, self._fault = self._fault, fault
            if fault == "refuse" and self._listener is not None:
                # shutdown first: a thread that is inside accept() keeps the port open otherwise.
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            elif before == "refuse" and self._listener is None:
                self._start(self._listen(self.port))
            self._changed.notify_all()

    def __enter__(self) -> FaultProxy:
        assert self._listener is not None
        self._start(self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self.fault = "refuse"

    # --- the plumbing --------------------------------------------------------------------

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        return listener

    def _start(self, listener: socket.socket) -> None:
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # refusing
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                while (request := _read_message(client)) is not None and self._answer(client, request):
                    pass
            except OSError:
                return

    def _answer(self, client: socket.socket, request: tuple[bytes, bytes]) -> bool:
        """Answer one request; False where the connection ends."""
        head, body = request
        self.times.append(time.monotonic())
        self.counts["requests"] += 1
        fault = self._fault if self._dice.random() < self.probability else ""
        if fault == "refuse":
            return self._reset(client)
        if fault:
            self.counts[fault.partition(":")[0]] += 1
        kind, _, argument = fault.partition(":")
        if kind == "blackhole":
            self._until(lambda: self._fault != "blackhole")
        elif kind == "vanish":
            self._until(lambda: self._is_closed)
            return False
        elif kind == "reset_before":
            return self._reset(client)
        elif kind == "delay":
            time.sleep(float(argument))
        elif kind == "status":
            status, _, wait = argument.partition(":")
            client.sendall(_response(int(status), b'{"detail": "by the proxy"}', wait))
            return True
        elif kind == "garbage":
            client.sendall(_response(200, _GARBAGE))
            return True
        elif kind == "truncate_body":
            self._forward(head, body[: len(body) // 2], reads=False)
            return self._reset(client)
        elif kind == "cut_body":
            body = body[: len(body) // 2]
            head = re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % len(body), head)
        if self.rule is not None and body and (status := self.rule(body)):
            self.counts["rule"] += 1
            client.sendall(_response(status, b'{"detail": "by rule"}'))
            return True
        if kind == "duplicate":
            self._forward(head, body)
        answer = self._forward(head, body)
        if answer is None:
            return self._reset(client)
        return self._reply(client, kind, answer)

    def _reply(self, client: socket.socket, kind: str, answer: bytes) -> bool:
        if kind == "reset_after":
            return self._reset(client)
        if kind == "half_response":
            client.sendall(answer[: len(answer) - 6])
            return False
        if kind == "garbage_after":
            client.sendall(_response(200, _GARBAGE))
            return True
        if kind == "slow_response":
            for index in range(len(answer)):
                client.sendall(answer[index : index + 1])
                time.sleep(self.trickle_seconds if self._fault == "slow_response" else 0)
            return True
        client.sendall(answer)
        return True

    def _forward(self, head: bytes, body: bytes, *, reads: bool = True) -> bytes | None:
        """Pass a request on; answer the server's answer, or None where it gives none."""
        try:
            with socket.create_connection(("127.0.0.1", self.upstream), timeout=30) as server:
                server.sendall(head + body)
                if not reads:
                    return None
                answer = _read_message(server, has_body=not head.startswith(b"HEAD "))
        except OSError:
            return None
        if answer is not None:
            self.counts["delivered"] += 1
        return None if answer is None else answer[0] + answer[1]

    @staticmethod
    def _reset(client: socket.socket) -> bool:
        # No time to linger: closing sends RST instead of FIN.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def _until(self, claim: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: claim() or self._is_closed, timeout=600)


def _read_message(sock: socket.socket, *, has_body: bool = True) -> tuple[bytes, bytes] | None:
    """Read one message of a known length: its head with the empty line, and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    length = int(found[1]) if found and has_body else 0
    parts, size = [body], len(body)
    while size < length:
        piece = sock.recv(min(1 << 20, length - size))
        if not piece:
            return None
        parts.append(piece)
        size += len(piece)
    return head + b"\r\n\r\n", b"".join(parts)


def _response(status: int, body: bytes, retry_after: str = "") -> bytes:
    wait = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    return f"HTTP/1.1 {status} X\r\n{wait}Content-Length: {len(body)}\r\n\r\n".encode() + body
