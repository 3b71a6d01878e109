"""A server without a model, for the page's tests: the real wire, drawn frames, and switches to break things.

A prompt is "understood" by the first colour words in it. The faults are POSTs to /fake/...: `cut` closes every socket
and peer, `forget` also drops the sessions (as a restart does), `full` refuses new ones, `deny` refuses images.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from farcast.protocol import (
    Chunk,
    Dial,
    DialApplied,
    ImageApplied,
    ModelInfo,
    Pong,
    PromptApplied,
    PromptPending,
    PromptRejected,
    ProtocolError,
    SessionUrls,
    parse_client,
    parse_request,
    refusal,
)
from farcast.protocol import Session as SessionMessage
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image, ImageDraw, UnidentifiedImageError

from stream.aiortc_hooks import IceAddresses, offer_addresses

PAGE = Path(__file__).parents[2] / "client" / "web"
SIDE, FPS, CHUNK = 128, 16, 12
EXAMPLES = [
    "a big red circle bouncing on a navy background",
    "a small yellow star spinning on a black background",
    "a green square drifting on a white background",
    "a blue triangle orbiting on a gray background",
]
COLOURS = {
    "red": (226, 52, 48), "blue": (44, 92, 222), "green": (52, 168, 83), "yellow": (248, 208, 56),
    "white": (245, 245, 245), "black": (16, 16, 16), "navy": (18, 28, 78), "gray": (128, 128, 128),
}  # fmt: skip


def problem(status: int, code: str, detail: str, **headers: str) -> JSONResponse:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status, media_type="application/problem+json", headers=headers)


def draw(prompt: str, t: float, start: Image.Image | None) -> Image.Image:
    """A frame that shows the prompt at time t (s), over the picture the shot began with."""
    words = prompt.lower().replace(",", " ").split()
    found = [COLOURS[w] for w in words if w in COLOURS]
    shape = found[0] if found else (200, 200, 200)
    ground = found[1] if len(found) > 1 else COLOURS["navy"]
    frame = start.copy() if start else Image.new("RGB", (SIDE, SIDE), ground)
    x, y = SIDE / 2 + 34 * math.sin(1.3 * t), SIDE / 2 + 26 * math.sin(2.1 * t)
    r = 14 if "small" in words else 34 if "big" in words else 24
    ImageDraw.Draw(frame).ellipse((x - r, y - r, x + r, y + r), fill=shape)
    return frame


class FakeSession:
    def __init__(self, number: int, prompt: str, dial: Dial, seed: int, image: Image.Image | None) -> None:
        self.id, self.token, self.view_token = f"s{number}", f"token{number}", f"view{number}"
        self.prompt, self.dial, self.seed, self.image = prompt, dial, seed, image
        self.shown = prompt
        self.state: Any = "live"
        self.frame = self.chunk = 0
        self.sockets: set[WebSocket] = set()
        self.peers: set[RTCPeerConnection] = set()
        self.next_image: tuple[str, Image.Image] | None = None
        self.waiting: list[tuple[str, str, float]] = []  # re, text, since
        self.task = asyncio.create_task(self.run())

    def message(self, re: str | None = None) -> SessionMessage:
        return SessionMessage(
            re=re, id=self.id, state=self.state, width=SIDE, height=SIDE, fps=FPS, model="fake", prompt=self.prompt,
            seed=self.seed, dial=self.dial, chunk=self.chunk, frame=self.frame, viewers=len(self.peers),
        )  # fmt: skip

    async def tell(self, message: Any) -> None:
        for socket in list(self.sockets):
            with contextlib.suppress(Exception):
                await socket.send_text(message.dump())

    @property
    def steps(self) -> int:
        """As a governor might: the more time, the more steps."""
        wanted = self.dial.steps or round(self.dial.latency_ms / 375)
        return max(self.dial.floor, min(self.dial.ceiling, wanted))

    async def run(self) -> None:
        while self.state != "stopped":
            frames = 1 if self.chunk == 0 else CHUNK
            while self.state == "paused":
                await asyncio.sleep(0.05)
            began = self.frame
            if self.waiting:
                await self.apply_prompts()
            if self.next_image:
                re, self.image = self.next_image
                self.next_image = None
                await self.tell(ImageApplied(re=re, chunk=self.chunk, frame=self.frame))
            took = 60 + 55 * self.steps + 20 * math.sin(self.chunk)
            await self.tell(
                Chunk(
                    index=self.chunk, frame=began, frames=frames, steps=self.steps, took_ms=took, deadline_ms=750,
                    lead_ms=750 + 90 * math.cos(self.chunk / 3), fps=FPS, realtime_factor=750 / took, prompt=self.shown,
                )
            )  # fmt: skip
            await asyncio.sleep(frames / FPS)
            self.frame = began + frames
            self.chunk += 1

    async def apply_prompts(self) -> None:
        *old, (re, text, since) = self.waiting
        self.waiting = []
        for gone, words, _ in old:
            await self.tell(PromptRejected(re=gone, text=words, code="superseded", message="A newer prompt came."))
        self.prompt = self.shown = text
        latency = (time.monotonic() - since) * 1000 + 50
        await self.tell(
            PromptApplied(
                re=re, text=text, chunk=self.chunk, frame=self.frame, pts=self.frame / FPS, latency_ms=latency
            )
        )

    async def obey(self, raw: str) -> None:
        try:
            message = parse_client(raw)
        except ProtocolError as error:
            return await self.tell(refusal(error))
        if message.type == "ping":
            return await self.tell(Pong(re=message.id, t=message.t))
        if message.type == "prompt":
            self.waiting.append((message.id, message.text, time.monotonic()))
            return await self.tell(PromptPending(re=message.id, text=message.text))
        if message.type == "dial":
            self.dial = message.merged(self.dial)
            applied = DialApplied(re=message.id, dial=self.dial, chunk=self.chunk, frame=self.frame)
            return await self.tell(applied)
        if message.type == "rewind":
            self.chunk = message.chunk - 1  # the chunk under way closes as the one before
            self.frame = max(0, 1 + CHUNK * (message.chunk - 1)) if message.chunk else 0
        else:
            self.state = {"pause": "paused", "resume": "live", "stop": "stopped"}[message.type]
        return await self.tell(self.message(message.id))

    async def cut(self) -> None:
        for socket in list(self.sockets):
            with contextlib.suppress(Exception):
                await socket.close(1012)
        for peer in list(self.peers):
            await peer.close()
        self.peers.clear()


class Picture(VideoStreamTrack):
    """Frames by the clock; stands still while the session does."""

    def __init__(self, session: FakeSession) -> None:
        super().__init__()
        self.session, self.count, self.t = session, 0, 0.0
        self.began = time.monotonic()

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(max(0.0, self.began + self.count / FPS - time.monotonic()))
        while self.session.state == "paused":
            await asyncio.sleep(0.05)
            self.began = time.monotonic() - self.count / FPS
        self.count += 1
        self.t += 1 / FPS
        frame = av.VideoFrame.from_ndarray(np.asarray(draw(self.session.shown, self.t, self.session.image)))
        frame.pts, frame.time_base = self.count * 90000 // FPS, Fraction(1, 90000)
        return frame


def numbers() -> Iterator[int]:
    n = 0
    while True:
        n += 1
        yield n


def make_app() -> FastAPI:
    app = FastAPI()
    sessions: dict[str, FakeSession] = {}
    faults = {"full": False, "deny": False}
    count = numbers()

    def facts(session: FakeSession) -> dict[str, Any]:
        base = f"/v1/sessions/{session.id}"
        parts = {name: f"{base}/{name}" for name in ("control", "whep", "image", "score")}
        urls = SessionUrls(session=base, **parts)
        body = session.message().model_dump(exclude={"type", "re", "reason", "viewers", "chunk", "frame"})
        return {**body, "urls": urls.model_dump(exclude_none=True)}

    def find(session_id: str, request: Request) -> FakeSession | None:
        session = sessions.get(session_id)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        watching = request.method == "GET" or request.url.path.endswith("/whep")
        allowed = {session.token, *([session.view_token] if watching else [])} if session else set()
        return session if token in allowed else None

    gone = lambda: problem(404, "unknown_session", "There is no such session; it may have ended.")  # noqa: E731

    def read_image(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE))

    @app.get("/v1/model")
    async def model() -> Response:
        info = ModelInfo(name="fake", width=SIDE, height=SIDE, fps=FPS, examples=EXAMPLES)
        return JSONResponse(info.model_dump())

    @app.post("/v1/sessions")
    async def create(request: Request) -> Response:
        if faults["full"]:
            return problem(503, "full", "All places on this server are taken.", **{"Retry-After": "5"})
        image = None
        if "multipart" in request.headers["content-type"]:
            form = await request.form()
            wanted = parse_request(str(form["request"]))
            if "image" in form:
                image = read_image(await form["image"].read())  # type: ignore[union-attr]
        else:
            wanted = parse_request(await request.body())
        session = FakeSession(next(count), wanted.prompt, wanted.dial, wanted.seed or 0, image)
        sessions[session.id] = session
        headers = {"Location": f"/v1/sessions/{session.id}"}
        tokens = {"token": session.token, "view_token": session.view_token}
        return JSONResponse({**facts(session), **tokens}, 201, headers)

    @app.get("/v1/sessions/{session_id}")
    async def describe(session_id: str, request: Request) -> Response:
        session = find(session_id, request)
        if not session:
            return gone()
        steers = request.headers["Authorization"].endswith(session.token)
        return JSONResponse({**facts(session), "role": "steer" if steers else "watch"})

    @app.delete("/v1/sessions/{session_id}")
    async def delete(session_id: str, request: Request) -> Response:
        if session := find(session_id, request):
            session.state = "stopped"
            await session.cut()
            del sessions[session_id]
        return Response(status_code=200)

    @app.post("/v1/sessions/{session_id}/image")
    async def image(session_id: str, request: Request) -> Response:
        session = find(session_id, request)
        if not session:
            return gone()
        form = await request.form()
        try:
            if faults["deny"]:
                raise UnidentifiedImageError
            session.next_image = ("i1", read_image(await form["image"].read()))  # type: ignore[union-attr]
        except UnidentifiedImageError:
            return problem(422, "media", "This file is not an image that can be read. Send a PNG, JPEG or WebP.")
        return JSONResponse({"re": "i1"}, 202)

    @app.get("/v1/sessions/{session_id}/score")
    async def score(session_id: str, request: Request) -> Response:
        session = find(session_id, request)
        return Response(json.dumps({"version": 1, "seed": session.seed})) if session else gone()

    @app.post("/v1/sessions/{session_id}/whep")
    async def whep(session_id: str, request: Request) -> Response:
        session = find(session_id, request)
        if not session:
            return gone()
        peer = RTCPeerConnection()
        session.peers.add(peer)
        peer.addTrack(Picture(session))
        await peer.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        offer_addresses(peer, IceAddresses(("127.0.0.1",)))
        await peer.setLocalDescription(await peer.createAnswer())
        await session.tell(session.message())
        headers = {"Location": f"/v1/sessions/{session_id}/whep/1", "ETag": '"1"'}
        return Response(peer.localDescription.sdp, 201, headers, "application/sdp")

    @app.api_route("/v1/sessions/{session_id}/whep/{peer}", methods=["PATCH", "DELETE"])
    async def resource() -> Response:
        return Response(status_code=204)

    @app.websocket("/v1/sessions/{session_id}/control")
    async def control(socket: WebSocket, session_id: str, token: str = "") -> None:
        session = sessions.get(session_id)
        if not session or token not in (session.token, session.view_token):
            return await socket.close(4404)
        await socket.accept()
        session.sockets.add(socket)
        try:
            await socket.send_text(session.message().dump())
            while True:
                await session.obey(await socket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            session.sockets.discard(socket)

    @app.post("/fake/{fault}")
    async def break_things(fault: str) -> Response:
        if fault in ("cut", "forget"):
            for session in list(sessions.values()):
                if fault == "forget":
                    session.state = "stopped"
                await session.cut()
            if fault == "forget":
                sessions.clear()
        else:
            faults[fault.removeprefix("un")] = not fault.startswith("un")
        return Response()

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(make_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
