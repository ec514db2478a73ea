"""HTTP connections that do not wait for ever: a request's headers have ten seconds, and no address takes all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ..limits import HEADER_SECONDS, MAX_CONNECTIONS_PER_ADDRESS

_open: Counter[str] = Counter()


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with a limit on the time its headers take.

    h11 is chosen, not httptools: it refuses whatever two parsers might read differently.
    """

    _patience: asyncio.TimerHandle | None = None
    _address = ""

    def connection_made(self, transport: Any) -> None:
        """Begin; count the connections of the address."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        _open[self._address] += 1
        if _open[self._address] > MAX_CONNECTIONS_PER_ADDRESS:
            transport.close()
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        _open[self._address] -= 1
        if not _open[self._address]:
            del _open[self._address]
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time for headers runs from the first of them."""
        cycle = self.cycle
        if self._patience is None and (cycle is None or cycle.response_complete):
            self._wait_for_headers()
        super().data_received(data)
        if self.cycle is not cycle:
            self._stop_waiting()

    def _wait_for_headers(self) -> None:
        self._patience = self.loop.call_later(HEADER_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
