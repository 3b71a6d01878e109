"""The real app over the fake backend, behind an ASGI layer that cuts, forgets, delays and refuses on command.

Requests and messages go through the whole server (stream.app); only what is asked for here goes wrong. The server has
a thread of its own, so that blocking tests may use it; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

from farcast import protocol

from stream.api.problems import problem
from stream.session.session import Session
from tests.support.running_server import Running, running

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]
SERVICE_RESTART = 1012  # the close code of a connection that is cut


class ControlWire:
    """One control connection, between the client and the app. `cut` breaks it for both."""

    def __init__(self, receive: Receive, send: Send, layer: FaultLayer) -> None:
        self._receive, self._send, self._layer = receive, send, layer
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.broken = False

    async def pump(self) -> None:
        """Carry what the client sends into the inbox, less what the layer takes away."""
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive" or self._layer.passes(message):
                self._inbox.put_nowait(message)
            if message["type"] == "websocket.disconnect":
                return

    async def receive(self) -> Message:
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        if not self.broken:
            await self._send(message)

    async def cut(self) -> None:
        self.broken = True
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": SERVICE_RESTART})
        with suppress(RuntimeError, OSError):  # it has closed meanwhile
            await self._send({"type": "websocket.close", "code": SERVICE_RESTART})


class FaultLayer:
    """ASGI middleware. Records what clients send; `ignore_commands`, `refuse_sockets` and `refusals` spoil it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.wires: set[ControlWire] = set()
        self.clear()

    def clear(self) -> None:
        self.received: list[protocol.ClientMessage] = []  # commands, in the order they came
        self.bodies: list[bytes] = []  # of multipart requests
        self.ignore_commands = False  # commands are recorded and answered by nobody
        self.refuse_sockets = False  # control connections are refused in the handshake (HTTP 403)
        self.refusals: dict[str, tuple[int, str, str, dict[str, str]]] = {}  # path pattern of a POST -> problem

    def passes(self, message: Message) -> bool:
        with suppress(protocol.ProtocolError):
            self.received.append(protocol.parse_client(message.get("text") or ""))
        return not self.ignore_commands

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._post(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        if self.refuse_sockets:
            await send({"type": "websocket.close", "code": 1008})
            return
        wire = ControlWire(receive, send, self)
        pump = asyncio.create_task(wire.pump())
        self.wires.add(wire)
        try:
            await self.app(scope, wire.receive, wire.send)
        finally:
            self.wires.discard(wire)
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _post(self, scope: Any, receive: Receive, send: Send) -> None:
        for pattern, refusal in self.refusals.items():
            if re.fullmatch(pattern, scope["path"]):
                await problem(*refusal)(scope, receive, send)
                return
        form = any(name == b"content-type" and value.startswith(b"multipart") for name, value in scope["headers"])
        body = bytearray()

        async def recorded() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self.app(scope, recorded if form else receive, send)
        if form:
            self.bodies.append(bytes(body))


class FaultyServer(Running):
    """A running server and the switches of its layer."""

    layer: FaultLayer

    # --- what is there

    @property
    def sessions(self) -> dict[str, Session]:
        """Those that are not over."""
        return {session.id: session for session in self.manager.running}

    def only(self) -> Session:
        return next(iter(self.sessions.values()))

    @property
    def renders(self) -> list[str]:
        """Ids of all renders that the server knows."""
        return list(self.app.state.renders._renders)

    # --- what goes wrong

    def cut_control(self) -> None:
        """Break every control connection, as a network would."""
        self._run(self._cut_control())

    def cut_media(self) -> None:
        """Close every viewer's peer connection."""
        self._run(self._cut_media())

    def cut(self) -> None:
        self.cut_control()
        self.cut_media()

    def forget(self) -> None:
        """As after a restart: every connection breaks and no session is known any more."""
        self._run(self._forget())

    def swallow_media(self) -> None:
        """Viewers of now get nothing more, and are not told: a firewall that closed."""
        for viewer in self.app.state.viewers.values():
            viewer._sender.transport._send_rtp = _swallow

    def say(self, text: str) -> None:
        """Send `text` to every control connection."""
        for wire in list(self.layer.wires):
            self._run(wire.send({"type": "websocket.send", "text": text}))

    def fill(self, retry_after: int = 2) -> None:
        """New sessions and renders are refused with 503."""
        headers = {"Retry-After": str(retry_after)}
        places = f"All places on this server are taken. Try again in {retry_after} s."
        self.layer.refusals["/v1/sessions"] = (503, "full", places, headers)
        renders = "All places for renders are taken. Try again later."
        self.layer.refusals["/v1/sessions/[^/]+/renders"] = (503, "full", renders, headers)

    def refuse_images(self) -> None:
        detail = "This file is not an image that can be read. Send a PNG, JPEG or WebP."
        self.layer.refusals["/v1/sessions/[^/]+/image"] = (422, "media", detail, {})

    def accept_all(self) -> None:
        """Take back `fill` and `refuse_images`."""
        self.layer.refusals.clear()

    def reset(self) -> None:
        """No session, no render, nothing recorded, no fault."""
        self._run(self._forget())
        self.layer.clear()

    # --- inside, on the server's loop

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _cut_control(self) -> None:
        for wire in list(self.layer.wires):
            await wire.cut()

    async def _cut_media(self) -> None:
        await asyncio.gather(*(viewer.close("failed") for viewer in list(self.app.state.viewers.values())))

    async def _forget(self) -> None:
        sessions = list(self.manager.sessions.values())
        self.manager.sessions.clear()
        await self._cut_control()
        await self._cut_media()
        await asyncio.gather(*(session.stop() for session in sessions))
        renders = self.app.state.renders
        for render in list(renders._renders.values()):
            renders.cancel(render)


async def _swallow(data: bytes) -> None:
    pass


@contextmanager
def faulty_server(model: str, **options: Any) -> Iterator[FaultyServer]:
    """A server that is ready, and gone after the block. `model`: of the fake backend; `options`: of ServerConfig."""
    layers: list[FaultLayer] = []

    def wrap(app: App) -> App:
        layers.append(FaultLayer(app))
        return layers[-1]

    with running(model, wrap=wrap, **options) as run:
        server = FaultyServer(run.url, run.app, run.loop)
        server.layer = layers[0]
        yield server
