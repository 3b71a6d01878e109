"""A server without a model, for the page's tests: the real wire, drawn frames, and switches to break things.

A prompt is "understood" by the first colour words in it. The faults are POSTs to /fake/...: `cut` closes every socket
and peer, `forget` also drops the sessions (as a restart does), `full` refuses new ones, `deny` refuses images.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection, RTCSessionDescription
from farcast.protocol import ModelInfo, RenderInfo, RenderRequest, SessionUrls, parse_body, parse_request
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image, UnidentifiedImageError

from stream.api.access import SUBPROTOCOL, token_of
from stream.webrtc.aiortc_hooks import IceAddresses, offer_addresses
from tests.e2e.fake_session import FPS, SIDE, FakeSession, Picture, film, last_frame

PAGE = Path(__file__).parents[2] / "client" / "web"
RENDER_S = 2.0  # what a render takes
EXAMPLES = [
    "a big red circle bouncing on a navy background",
    "a small yellow star spinning on a black background",
    "a green square drifting on a white background",
    "a blue triangle orbiting on a gray background",
]


def problem(status: int, code: str, detail: str, **headers: str) -> JSONResponse:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status, media_type="application/problem+json", headers=headers)


def numbers() -> Iterator[int]:
    n = 0
    while True:
        n += 1
        yield n


def make_app() -> FastAPI:
    app = FastAPI()
    sessions: dict[str, FakeSession] = {}
    faults = {"full": False, "deny": False}
    renders: dict[str, tuple[FakeSession, int | None, float]] = {}
    count = numbers()

    def facts(session: FakeSession) -> dict[str, Any]:
        base = f"/v1/sessions/{session.id}"
        parts = {name: f"{base}/{name}" for name in ("control", "whep", "image", "score", "renders")}
        urls = SessionUrls(session=base, recording=f"{base}/recording.mp4", **parts)
        body = session.message().model_dump(exclude={"type", "re", "reason", "viewers", "chunk", "frame"})
        return {**body, "urls": urls.model_dump(exclude_none=True)}

    def find(session_id: str, request: Request, *, watchers: bool = False) -> FakeSession | None:
        session = sessions.get(session_id)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        watching = watchers or request.method == "GET" or request.url.path.endswith("/whep")
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
            if "clip" in form:
                image = last_frame(await form["clip"].read())  # type: ignore[union-attr]
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

    @app.get("/v1/sessions/{session_id}/recording.mp4")
    async def recording(session_id: str, request: Request) -> Response:
        session = find(session_id, request)
        return Response(film(session.mix, 1.5), media_type="video/mp4") if session else gone()

    @app.post("/v1/sessions/{session_id}/renders")
    async def render(session_id: str, request: Request) -> Response:
        session = find(session_id, request, watchers=True)
        if not session:
            return gone()
        if faults["full"]:
            return problem(503, "full", "All places for renders are taken. Try again later.", **{"Retry-After": "20"})
        steps = parse_body(RenderRequest, await request.body()).steps
        rid = f"r{next(count)}"
        renders[rid] = (session, steps, time.monotonic())
        return JSONResponse(state_of(rid), 202, {"Location": f"/v1/renders/{rid}"})

    def state_of(rid: str) -> dict[str, Any]:
        _, steps, began = renders[rid]
        progress = min(1.0, (time.monotonic() - began) / RENDER_S)
        done = progress >= 1
        failed = steps == 50 and done  # so that there is one that fails
        state: Any = "failed" if failed else "done" if done else "running" if progress > 0.2 else "queued"
        return RenderInfo(
            id=rid, state=state, progress=progress, steps=steps, frames=48, exact=steps is None or None,
            url=f"/v1/renders/{rid}/video.mp4" if state == "done" else None,
            error="The device ran out of memory; render with fewer steps." if failed else None,
        ).model_dump()  # fmt: skip

    @app.get("/v1/renders/{rid}")
    async def follow(rid: str) -> Response:
        return JSONResponse(state_of(rid)) if rid in renders else gone()

    @app.delete("/v1/renders/{rid}")
    async def cancel(rid: str) -> Response:
        renders.pop(rid, None)
        return Response(status_code=204)

    @app.get("/v1/renders/{rid}/video.mp4")
    async def rendered(rid: str) -> Response:
        return Response(film(renders[rid][0].mix, 1.5), media_type="video/mp4")

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
    async def control(socket: WebSocket, session_id: str) -> None:
        token = token_of(socket) or ""
        session = sessions.get(session_id)
        if not session or token not in (session.token, session.view_token):
            return await socket.close(4404)
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
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
