"""The control WebSocket: every message is validated and answered, a flood is coalesced, a slow reader loses what is
stale."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque

from farcast.protocol import (
    Chunk,
    DeadlineMissed,
    Error,
    Pause,
    Ping,
    Pong,
    Prompt,
    PromptRejected,
    ProtocolError,
    Resume,
    Rewind,
    ServerMessage,
    SetDial,
    Stop,
    Underrun,
    limits,
    parse_client,
    refusal,
)
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stream.access.credentials import SUBPROTOCOL, token_of
from stream.access.limiter import Limiter, user_of
from stream.errors import StreamError, TooMany
from stream.metrics import Metrics
from stream.session.manager import Manager
from stream.session.session import Session
from stream.uploads.filters import FILTERED, Filters, Subject

from . import problems

log = logging.getLogger("farcast.control")

OUTBOX = 256  # messages that wait for a slow reader
TRY_AGAIN_LATER, POLICY_VIOLATION = 1013, 1008
AUTH_SECONDS = 5.0  # that a connection without a token has to send one
STATUS = (Chunk, DeadlineMissed, Underrun)  # news that a newer one replaces


class Connection:
    """One client. `send` never blocks; when the client does not read, stale news go first, then the connection."""

    def __init__(
        self,
        socket: WebSocket,
        session: Session,
        metrics: Metrics,
        limiter: Limiter,
        filters: Filters,
        *,
        user: str,
        steers: bool,
    ) -> None:
        self.socket = socket
        self.session = session
        self.metrics = metrics
        self.limiter, self.filters, self.user, self.steers = limiter, filters, user, steers
        self.dropped = 0
        self._outbox: deque[ServerMessage] = deque()
        self._work = asyncio.Event()
        self._overrun = False

    def send(self, message: ServerMessage) -> None:
        if len(self._outbox) >= OUTBOX:
            stale = next((i for i, m in enumerate(self._outbox) if isinstance(m, STATUS)), None)
            self.dropped += 1
            if stale is not None:
                del self._outbox[stale]
            elif isinstance(message, STATUS):
                return
            else:
                self._overrun = True  # answers must not be lost silently: better to let go of the connection
                self._work.set()
                return
        self._outbox.append(message)
        self._work.set()

    async def run(self) -> None:
        """Until the client leaves or the session is over."""
        self.session.replies.clients.add(self)
        self.send(self.session.status())
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.session.replies.clients.discard(self)
            for task in (writer, reader):
                task.cancel()
            for outcome in await asyncio.gather(writer, reader, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("control connection of session %s", self.session.id, exc_info=outcome)

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            while not self._overrun:
                while self._outbox and not self._overrun:
                    await self.socket.send_text(self._outbox.popleft().dump())
                if self.session.over:
                    break
                self._work.clear()
                await self._work.wait()
            await self.socket.close(TRY_AGAIN_LATER if self._overrun else 1000)

    async def _read(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await self.socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None:
                    text = message.get("bytes") or b""
                await self.on_message(text)
                await asyncio.sleep(0)  # a flood from one client leaves room for everybody else

    async def on_message(self, text: str | bytes) -> None:
        """One message; whatever is wrong with it is answered, and the connection stays."""
        try:
            if isinstance(text, bytes):
                raise ProtocolError("Send text, not binary.", code="bad_json")
            await self._obey(text)
        except ProtocolError as error:
            self.metrics.control.labels("invalid").inc()
            self.send(refusal(error))

    async def _obey(self, text: str) -> None:
        message = parse_client(text)
        self.metrics.control.labels(message.type).inc()
        session = self.session
        if not self.steers and not isinstance(message, Ping):
            text = "This token only lets you watch the session, not change it."
            return self.send(Error(re=message.id, code="watch_only", message=text))
        try:
            if not isinstance(message, Ping | Stop):
                self.limiter.hit("prompts", self.user)
            match message:
                case Prompt():
                    await self.filters.check(Subject("prompt", text=message.words))
                    session.set_prompt(message.id, message.words, message.transition, self, tuple(message.mix or ()))
                case SetDial():
                    session.set_dial(message.id, message, self)
                case Pause():
                    session.pause()
                    self.send(session.status(message.id))
                case Resume():
                    session.resume()
                    self.send(session.status(message.id))
                case Rewind():
                    session.rewind(message.id, message.chunk, self)
                case Stop():
                    session.end()
                    self.send(session.status(message.id))
                case Ping():
                    self.send(Pong(re=message.id, t=message.t))
        except StreamError as error:
            if isinstance(message, Prompt) and error.code == FILTERED:
                rejected = PromptRejected(re=message.id, text=message.words, code=error.code, message=error.message)
                return self.send(rejected)
            self.send(problems.message(error, message.id))


async def serve(
    socket: WebSocket, session_id: str, manager: Manager, metrics: Metrics, limiter: Limiter, filters: Filters
) -> None:
    """Accept the connection and keep it until either side ends it.

    Accepted before the token is checked: a page can read the reason of a closing, not that of a refused handshake.
    """
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
    try:
        manager.known(session_id)
        token = token_of(socket) or await _first_message(socket)
        session = manager.get(session_id, token, watch=True)
    except StreamError as error:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            later = error.retry_after is not None
            await socket.send_text(problems.message(error, fatal=not later).dump())
            await socket.close(TRY_AGAIN_LATER if later else POLICY_VIOLATION, error.code)
        return
    except (WebSocketDisconnect, RuntimeError):
        return  # gone before it said who it is
    user = user_of(socket)
    try:
        with limiter.socket(user):
            steers = manager.may_steer(session, token)
            await Connection(socket, session, metrics, limiter, filters, user=user, steers=steers).run()
    except TooMany as error:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            await socket.send_text(problems.message(error, fatal=True).dump())
            await socket.close(TRY_AGAIN_LATER, error.code)
    if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError):
            await socket.close()


async def _first_message(socket: WebSocket) -> str | None:
    """The token of `{"type": "auth", "token": ...}`; None for another message, or none within AUTH_SECONDS."""
    try:
        async with asyncio.timeout(AUTH_SECONDS):
            message = await socket.receive()
    except TimeoutError:
        return None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    try:
        data = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        return None
    token = data.get("token") if isinstance(data, dict) and data.get("type") == "auth" else None
    return token if isinstance(token, str) else None


MAX_MESSAGE = limits.MESSAGE_BYTES
