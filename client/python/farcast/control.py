"""The control WebSocket: sends commands, matches answers to them, reconnects, and sends again what was not answered.

Commands are safe to repeat: prompts and dials are latest-wins, pause and resume say a state, and a rewind names
a chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from .api import Api
from .errors import (
    AnswerTimeout,
    CommandFailed,
    ConnectionFailed,
    FarcastError,
    PromptRejected,
    ProtocolError,
    SessionEnded,
)
from .events import Disconnected, Event, Reconnected
from .protocol import ClientMessage, ServerMessage, limits, parse_server, server

log = logging.getLogger(__name__)
_UNCLAIMED = 64  # answers kept for an upload whose HTTP response is still on its way
_PENDING = 1024  # commands waiting for an answer at one time
_STABLE_S = 5.0  # a connection that lived so long may be tried again at once; others back off
_PING_S = 5.0  # a dead connection is noticed after this and as much again
ANSWERS = (
    server.PromptApplied, server.PromptRejected, server.DialApplied, server.ImageApplied, server.Session, server.Pong,
    server.Error,
)  # fmt: skip


@dataclass
class Pending:
    message: str | None  # None: it went over HTTP
    answer: asyncio.Future[ServerMessage]


class Control:
    """One session's control socket. `emit` gets every event; `reconnect_timeout`: seconds to try to reconnect."""

    def __init__(self, url: str, api: Api, *, emit: Callable[[Event], None], reconnect_timeout: float = 30.0) -> None:
        self._url, self._api, self._emit, self._reconnect_timeout = url, api, emit, reconnect_timeout
        self._ids = (f"{secrets.token_hex(4)}-{n}" for n in itertools.count())
        self._pending: dict[str, Pending] = {}
        self._unclaimed: OrderedDict[str, ServerMessage] = OrderedDict()
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self.session: server.Session | None = None
        self.ended: asyncio.Future[FarcastError] = asyncio.get_running_loop().create_future()
        self.unread = 0  # messages of a newer server that this client does not know

    def new_id(self) -> str:
        return next(self._ids)

    async def start(self) -> None:
        """Connect for the first time and wait for the `session` message. Raises ConnectionFailed or SessionEnded."""
        self._task = asyncio.create_task(self._guarded(), name="farcast-control")
        opened = asyncio.ensure_future(self._opened.wait())
        waiting: set[asyncio.Future[Any]] = {opened, self.ended}
        try:
            await asyncio.wait(waiting, timeout=self._reconnect_timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        if self.ended.done():
            raise self.ended.result()
        if not self._opened.is_set():
            raise ConnectionFailed("The server accepted the control connection but sent nothing. Is it overloaded?")

    async def ask(self, message: ClientMessage, *, timeout: float) -> ServerMessage:
        """Send a command and wait for its answer; it survives a reconnect. Errors come back as exceptions."""
        text = message.dump()
        pending = self._register(message.id, text)
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):  # then it is sent again after the reconnect
                await self._socket.send(text)
        return await self._answer(message.id, pending, timeout)

    async def answer_to(self, re: str, *, timeout: float) -> ServerMessage:
        """Wait for the answer to something sent over HTTP."""
        pending = self._register(re, None)
        if re in self._unclaimed:
            self._settle(pending, self._unclaimed.pop(re))
        return await self._answer(re, pending, timeout)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(SessionEnded("The connection was closed."))

    def _register(self, re: str, text: str | None) -> Pending:
        if self.ended.done():
            raise self.ended.result()
        if len(self._pending) >= _PENDING:
            raise CommandFailed(f"{_PENDING} commands wait for an answer already. Wait for some of them first.")
        pending = Pending(text, asyncio.get_running_loop().create_future())
        self._pending[re] = pending
        return pending

    async def _answer(self, re: str, pending: Pending, timeout: float) -> ServerMessage:
        try:
            async with asyncio.timeout(timeout):
                return await pending.answer
        except TimeoutError:
            raise AnswerTimeout(f"The server did not answer within {timeout:g} s. It may be overloaded.") from None
        finally:
            self._pending.pop(re, None)

    async def _guarded(self) -> None:
        """A bug here must end the session with an error, not leave the caller waiting."""
        try:
            await self._run()
        except Exception as error:
            log.exception("control connection")
            self._end(FarcastError(f"internal error in the control connection: {error}"))

    async def _run(self) -> None:
        """Connect, read, and after a break connect again, until the session ends or `reconnect_timeout` has passed."""
        lost_at: float | None = None
        delay = 0.1
        while not self.ended.done():
            reason = "closed by the server"
            try:
                async with connect(
                    self._url, additional_headers=self._api.headers, ssl=self._api.tls,
                    max_size=limits.MESSAGE_BYTES * 4, open_timeout=10,
                    ping_interval=_PING_S, ping_timeout=_PING_S, close_timeout=1,
                ) as socket:  # fmt: skip
                    self._socket = socket
                    opened_at = time.monotonic()
                    if lost_at is not None:
                        self._emit(Reconnected("control", time.monotonic() - lost_at))
                    for pending in list(self._pending.values()):
                        if pending.message is not None:
                            await socket.send(pending.message)
                    lost_at = None
                    async for text in socket:
                        if not self.ended.done():  # after the end nothing is reported; the server closes the socket
                            self._read(text)
                        if time.monotonic() - opened_at > _STABLE_S:
                            delay = 0.1
            except InvalidStatus as error:
                status = error.response.status_code
                if status in (401, 403, 404, 410):
                    self._end(SessionEnded(f"The server does not know this session or token (HTTP {status})."))
                    return
                reason = f"HTTP {status}"
            except ConnectionClosed as error:
                reason = str(error)
            except (OSError, WebSocketException, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            finally:
                self._socket = None
            if self.ended.done():
                return
            if lost_at is None:
                lost_at = time.monotonic()
                self._emit(Disconnected("control", reason))
            if time.monotonic() - lost_at > self._reconnect_timeout:
                waited = f"{self._reconnect_timeout:g} s"
                self._end(ConnectionFailed(f"The server did not come back within {waited}: {reason}"))
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    def _read(self, text: str | bytes) -> None:
        try:
            message = parse_server(text)
        except ProtocolError as error:  # a newer server may say more than this client knows
            self.unread += 1
            log.debug("unread message: %s", error)
            return
        if isinstance(message, server.Session):
            self.session = message
            self._opened.set()
        re = getattr(message, "re", None)
        if re is not None and isinstance(message, ANSWERS):
            if re in self._pending:
                self._settle(self._pending[re], message)
            else:
                self._unclaimed[re] = message
                while len(self._unclaimed) > _UNCLAIMED:
                    self._unclaimed.popitem(last=False)
        self._emit(message)
        if isinstance(message, server.Error) and message.fatal:
            self._end(SessionEnded(message.message, code=message.code))
        elif isinstance(message, server.Session) and message.state in ("stopped", "failed"):
            self._end(SessionEnded(message.reason or f"The session is {message.state}.", code=message.state))

    def _settle(self, pending: Pending, message: ServerMessage) -> None:
        if pending.answer.done():
            return
        if isinstance(message, server.PromptRejected):
            pending.answer.set_exception(PromptRejected(message.message, code=message.code))
        elif isinstance(message, server.Error):
            pending.answer.set_exception(CommandFailed(message.message, code=message.code))
        else:
            pending.answer.set_result(message)

    def _end(self, error: FarcastError) -> None:
        if self.ended.done():
            return
        self.ended.set_result(error)
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(error)
