"""Connections of slow and rude clients, on uvicorn's protocols.

uvicorn has no time limit for a request's head, counts connections only once they send a request, and answers every
WebSocket ping however many answers are unread. These subclasses add what is missing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_SECONDS = 10.0  # from a connection's begin, or its next request's first byte, to the end of the request's head
SEND_SECONDS = 10.0  # that what is sent may wait for a client to read what was sent before
UNREAD_BYTES = 256 * 1024  # answers that may wait for a WebSocket's client to read

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one. Returns it."""
    if resource is None:
        return 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return int(soft)
    return int(hard) if hard >= 0 else 2**20


def connection_limit(most: int, descriptors: int) -> int:
    """TCP connections at once: half of the descriptors; media sockets, files and pipes need the others."""
    return max(16, min(most, descriptors // 2))


def http_protocol(most: int, head_seconds: float = HEAD_SECONDS) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with at most `most` connections, more of which are closed at once, and a limit for heads."""

    class LimitedHTTP(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._unread_timer is None:
                self._unread_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            self._forget_unread()
            super().resume_writing()

        def _forget_unread(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            self._forget_unread()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_watching()
            super().handle_websocket_upgrade(event)

        def _watch_head(self) -> None:
            between = self.cycle is None or self.cycle.response_complete
            if not between or self.transport.get_protocol() is not self:
                self._stop_watching()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(head_seconds, self._too_slow)

        def _stop_watching(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_slow(self) -> None:
            self._head_timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

    return LimitedHTTP


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """Drops a client that does not read: neither what it is sent, nor the answers to its pings."""

    async def send(self, message: Any) -> None:
        if not self.writable.is_set():
            try:
                await asyncio.wait_for(self.writable.wait(), SEND_SECONDS)
            except TimeoutError:
                self.transport.abort()
                raise ClientDisconnected from None
        await super().send(message)

    def handle_ping(self) -> None:
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.conn.data_to_send()
            self.transport.abort()
        else:
            super().handle_ping()
