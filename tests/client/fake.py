"""A server in a few lines that speaks the wire: enough to test the client against, and to make it misbehave.

It shows a plain colour that follows the prompt ("... blue ..." is blue). It runs in a thread of its own, as a real
server is in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame
from farcast import protocol, whep
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 30)}
TOKEN = "secret"
FPS = 16


def colour_of(text: str) -> tuple[int, int, int]:
    return next((rgb for name, rgb in COLOURS.items() if name in text), (128, 128, 128))


class Track(VideoStreamTrack):
    """Plain frames at 16 per second in the colour of the session's prompt."""

    def __init__(self, session: FakeSession) -> None:
        super().__init__()
        self.session, self.n, self.start = session, 0, time.monotonic()

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(max(0.0, self.start + self.n / FPS - time.monotonic()))
        while self.session.state == "paused" or self.session.frozen:
            await asyncio.sleep(0.02)
        image = np.empty((64, 96, 3), np.uint8)
        image[:] = colour_of(self.session.prompt)
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self.n * 90_000 // FPS, Fraction(1, 90_000)
        self.n += 1
        return frame


@dataclass
class FakeSession:
    id: str
    prompt: str
    seed: int
    dial: protocol.Dial
    state: protocol.SessionState = "live"
    chunk: int = 3
    frozen: bool = False  # says live, sends no frames: a firewall that closed
    sockets: list[WebSocket] = field(default_factory=list)
    peers: dict[str, RTCPeerConnection] = field(default_factory=dict)

    def message(self, re: str | None = None) -> protocol.Session:
        return protocol.Session(
            re=re, id=self.id, state=self.state, width=96, height=64, fps=FPS, model="fake", prompt=self.prompt,
            seed=self.seed, dial=self.dial, chunk=self.chunk, frame=self.chunk * 12, viewers=len(self.peers),
        )  # fmt: skip

    def info(self) -> dict[str, Any]:
        base = f"/v1/sessions/{self.id}"
        urls = {name: f"{base}/{name}" for name in ("control", "whep", "image", "score", "renders")} | {"session": base}
        urls["recording"] = f"{base}/recording.mp4"
        return {**json.loads(self.message().dump()), "urls": urls, "token": TOKEN}


class Fake:
    """The server's state, and switches for trouble."""

    def __init__(self) -> None:
        self.sessions: dict[str, FakeSession] = {}
        self.received: list[protocol.ClientMessage] = []
        self.bodies: list[bytes] = []
        self.render: protocol.RenderInfo | None = None
        self.full = False  # refuse new sessions
        self.deaf = False  # take commands, answer none
        self.answer_delay = 0.0
        self.url = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.app = self._app()

    def only(self) -> FakeSession:
        return next(iter(self.sessions.values()))

    def drop_sockets(self) -> None:
        """Break every control connection, as a network would."""
        for session in self.sessions.values():
            for ws in list(session.sockets):
                self.run(ws.close(1012))

    def drop_media(self) -> None:
        for session in self.sessions.values():
            for peer in list(session.peers.values()):
                self.run(peer.close())

    def say(self, text: str) -> None:
        """Send `text` to every control connection."""
        for session in self.sessions.values():
            for ws in list(session.sockets):
                self.run(ws.send_text(text))

    def run(self, work: Any) -> Any:
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(5)

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.exception_handler(protocol.ProtocolError)
        async def problem(request: Request, error: protocol.ProtocolError) -> Response:
            return refuse(422, error.code, error.message)

        @app.get("/v1/model")
        async def model() -> dict[str, Any]:
            return {"name": "fake", "width": 96, "height": 64, "fps": FPS, "examples": ["a red circle"]}

        @app.post("/v1/sessions")
        async def create(request: Request) -> Response:
            if self.full:
                return refuse(503, "full", "All places are taken. Try again in 7 s.", {"Retry-After": "7"})
            if request.headers["content-type"].startswith("multipart"):
                async with request.form() as form:
                    text = form["request"]
                    upload = form.get("image") or form.get("clip")
                    self.bodies.append(await upload.read())  # type: ignore[union-attr]
                    body = protocol.parse_request(text if isinstance(text, str) else await text.read())
            else:
                body = protocol.parse_request(await request.body())
            session = FakeSession(f"s{len(self.sessions)}", body.prompt, body.seed or 7, body.dial)
            self.sessions[session.id] = session
            return JSONResponse(session.info(), 201, {"Location": f"/v1/sessions/{session.id}"})

        @app.api_route("/v1/sessions/{sid}", methods=["GET", "DELETE"])
        async def one(sid: str, request: Request) -> Response:
            session = self.sessions.get(sid)
            if session is None:
                return refuse(404, "unknown_session", f"There is no session {sid}.")
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return refuse(401, "unauthorized", "This session needs its token.")
            if request.method == "DELETE":
                del self.sessions[sid]
                for peer in session.peers.values():
                    await peer.close()
                return Response(status_code=204)
            return JSONResponse(session.info())

        @app.post("/v1/sessions/{sid}/image")
        async def image(sid: str, request: Request) -> Response:
            async with request.form() as form:
                data = await form["image"].read()  # type: ignore[union-attr]
            self.bodies.append(data)
            if not data.startswith(b"\x89PNG"):
                return refuse(415, "not_an_image", "This is not an image.")
            applied = protocol.ImageApplied(re="img-1", chunk=4, frame=37)
            await self.broadcast(self.sessions[sid], applied)  # sooner than the HTTP answer, as can happen
            return JSONResponse({"re": "img-1"}, 202)

        @app.post("/v1/sessions/{sid}/renders", status_code=202)
        async def render(sid: str, request: Request) -> Response:
            wanted = protocol.parse_body(protocol.RenderRequest, await request.body())
            self.render = protocol.RenderInfo(id="r1", state="queued", progress=0.0, steps=wanted.steps, frames=37)
            return Response(self.render.dump(), 202, {"Location": "/v1/renders/r1"}, "application/json")

        @app.api_route("/v1/renders/r1", methods=["GET", "DELETE"])
        async def look(request: Request) -> Response:
            assert self.render is not None
            if request.method == "DELETE":
                self.render = None
                return Response(status_code=204)
            progress = min(1.0, self.render.progress + 0.5)
            state = "running" if progress < 1 else "failed" if self.render.steps == 13 else "done"
            change = {"url": "/v1/renders/r1/video.mp4"} if state == "done" else {"error": "No luck with 13."}
            change = {} if state == "running" else change
            self.render = self.render.model_copy(update={"progress": progress, "state": state, **change})
            return Response(self.render.dump(), media_type="application/json")

        @app.get("/v1/renders/r1/video.mp4")
        async def video() -> Response:
            return Response(b"an mp4", media_type="video/mp4")

        @app.get("/v1/sessions/{sid}/recording.mp4")
        async def recording(sid: str) -> Response:
            return Response(b"what was shown", media_type="video/mp4")

        @app.get("/v1/sessions/{sid}/score")
        async def score(sid: str) -> dict[str, Any]:
            return {"version": 1, "seed": self.sessions[sid].seed}

        @app.post("/v1/sessions/{sid}/whep")
        async def offer(sid: str, request: Request) -> Response:
            session = self.sessions.get(sid)
            if session is None:
                return refuse(404, "unknown_session", f"There is no session {sid}.")
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            key = f"v{len(session.peers)}"
            session.peers[key] = peer
            await peer.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
            peer.addTrack(Track(session))
            whep._offer_loopback(peer.getTransceivers()[0])
            await peer.setLocalDescription(await peer.createAnswer())
            location = {"Location": f"/v1/sessions/{sid}/whep/{key}"}
            return Response(peer.localDescription.sdp, 201, location, "application/sdp")

        @app.delete("/v1/sessions/{sid}/whep/{key}")
        async def leave(sid: str, key: str) -> Response:
            peer = self.sessions[sid].peers.pop(key, None) if sid in self.sessions else None
            if peer is not None:
                await peer.close()
            return Response()

        @app.websocket("/v1/sessions/{sid}/control")
        async def control(ws: WebSocket, sid: str) -> None:
            session = self.sessions.get(sid)
            if session is None or ws.headers.get("authorization") != f"Bearer {TOKEN}":
                await ws.close()
                return
            await ws.accept()
            session.sockets.append(ws)
            await ws.send_text(session.message().dump())
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                while True:
                    await self.answer(session, ws, await ws.receive_text())
            session.sockets.remove(ws)

        return app

    async def broadcast(self, session: FakeSession, message: protocol.ServerMessage) -> None:
        for ws in list(session.sockets):
            await ws.send_text(message.dump())

    async def answer(self, session: FakeSession, ws: WebSocket, text: str) -> None:
        try:
            message = protocol.parse_client(text)
        except protocol.ProtocolError as error:
            await ws.send_text(protocol.refusal(error).dump())
            return
        self.received.append(message)
        if self.deaf:
            return
        at = {"chunk": session.chunk, "frame": session.chunk * 12}
        match message:
            case protocol.Prompt(id=re):
                words = message.words
                await ws.send_text(protocol.PromptPending(re=re, text=words).dump())
                await asyncio.sleep(self.answer_delay)
                if "worse" in words:
                    rejected = protocol.PromptRejected(
                        re=re, text=words, code="superseded", message="A newer one came."
                    )
                    await ws.send_text(rejected.dump())
                    return
                session.prompt = words
                applied = protocol.PromptApplied(re=re, text=words, pts=1.0, latency_ms=250.0, **at)
                await self.broadcast(session, applied)
            case protocol.SetDial(id=re):
                session.dial = message.merged(session.dial)
                await ws.send_text(protocol.DialApplied(re=re, dial=session.dial, **at).dump())
            case protocol.Ping(id=re, t=t):
                await ws.send_text(protocol.Pong(re=re, t=t).dump())
            case protocol.Rewind(id=re, chunk=chunk):
                if chunk > session.chunk:
                    text = f"There is no chunk {chunk} yet."
                    await ws.send_text(protocol.Error(re=re, code="no_such_chunk", message=text).dump())
                    return
                session.chunk = chunk
                await self.broadcast(session, session.message(re))
            case protocol.Pause(id=re) | protocol.Resume(id=re) | protocol.Stop(id=re):
                session.state = {"pause": "paused", "resume": "live", "stop": "stopped"}[message.type]  # type: ignore
                await self.broadcast(session, session.message(re))


def refuse(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    problem = protocol.Problem(title=code, status=status, detail=detail, code=code)
    return JSONResponse(problem.model_dump(), status, headers, "application/problem+json")


@contextmanager
def serving() -> Iterator[Fake]:
    """A fake server on a free port of the loopback interface, while the block runs."""
    fake = Fake()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(fake.app, log_level="error", ws="websockets-sansio", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    async def main() -> None:
        fake.loop = asyncio.get_running_loop()
        await server.serve([listener])
        for session in fake.sessions.values():
            for peer in session.peers.values():
                await peer.close()
        await asyncio.sleep(0.05)  # transports close in the loop's next turns

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the fake server did not stop"
