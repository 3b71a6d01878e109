"""Renders over HTTP: start one of a session's take, ask how far it is, fetch the video, cancel it."""

from __future__ import annotations

from farcast.protocol import RenderInfo, RenderRequest, parse_body
from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from stream.access.credentials import Access, token_of
from stream.config import ServerConfig
from stream.errors import Conflict, WrongMediaType
from stream.score.render_queue import Renders
from stream.session.manager import Manager

from .recordings import Ticket
from .requests import media_type, read
from .sessions import JSON, PROBLEMS

BODY = {
    "required": True,
    "content": {JSON: {"schema": {"$ref": "#/components/schemas/RenderRequest"}}},
}


def routes(manager: Manager, renders: Renders, config: ServerConfig, access: Access) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["renders"], responses=dict(PROBLEMS))

    @router.post(
        "/sessions/{session_id}/renders",
        status_code=202,
        response_model=RenderInfo,
        openapi_extra={"requestBody": BODY},
    )
    async def start(session_id: str, request: Request) -> Response:
        """Make the take so far again, at other steps or bit for bit at the live ones. `Location`: how far it is."""
        session = manager.get(session_id, token_of(request))
        body = await read(request, config.max_json)
        if body and media_type(request) != JSON:
            raise WrongMediaType(f"Send {JSON} here.")
        wanted = parse_body(RenderRequest, body or b"{}")
        document = session.score.document()
        frames = session.score.frames
        render = await renders.add(document, frames, wanted.steps, session.token, session.view_token)
        location = f"{config.root_path}/v1/renders/{render.id}"
        return Response(render.info().dump(), 202, media_type=JSON, headers={"Location": location})

    @router.get("/renders/{render_id}", response_model=RenderInfo)
    async def look(render_id: str, request: Request) -> Response:
        """How far it is, and where the video is once it is done."""
        return Response(renders.get(render_id, token_of(request)).info().dump(), media_type=JSON)

    @router.get("/renders/{render_id}/video.mp4", response_class=FileResponse)
    async def video(render_id: str, request: Request) -> Response:
        """The finished MP4."""
        render = renders.known(render_id) if access.admits(request) else renders.get(render_id, token_of(request))
        if render.state != "done":
            raise Conflict(f"The render is {render.state}. Ask for the video when it is done.", code=render.state)
        name = f"take-{'live' if render.steps is None else render.steps}-steps.mp4"
        return FileResponse(render.video, media_type="video/mp4", filename=name)

    @router.post("/renders/{render_id}/ticket", response_model=Ticket)
    async def ticket(render_id: str, request: Request) -> Ticket:
        """An address of the video that a browser can open by itself, good for five minutes."""
        renders.get(render_id, token_of(request))
        return Ticket(url=access.ticket(f"/v1/renders/{render_id}/video.mp4"))

    @router.delete("/renders/{render_id}", status_code=204)
    async def cancel(render_id: str, request: Request) -> Response:
        """Stop it, or throw its video away."""
        renders.cancel(renders.get(render_id, token_of(request), steer=True))
        return Response(status_code=204)

    return router
