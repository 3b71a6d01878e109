"""WHEP (draft-ietf-wish-whep): a viewer's offer in, our answer out, and one resource a viewer after that."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..config import ServerConfig
from ..errors import Busy, Conflict, InvalidRequest, NotFound, Unprocessable, WrongMediaType
from ..errors import NotAcceptable as Unacceptable
from ..manager import Manager
from ..metrics import Metrics
from ..viewer import Viewer
from .auth import token_of
from .bodies import media_type, read
from .sessions import PROBLEMS

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


def routes(manager: Manager, config: ServerConfig, metrics: Metrics, viewers: dict[str, Viewer]) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["watching"], responses=dict(PROBLEMS))
    offer_body = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}

    async def text(request: Request, kind: str) -> str:
        if media_type(request) != kind:
            raise WrongMediaType(f"Send {kind} here.")
        try:
            return (await read(request, config.max_sdp)).decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The body is not text in UTF-8.", code="bad_sdp") from None

    def find(session_id: str, viewer_id: str) -> Viewer:
        viewer = viewers.get(viewer_id)
        if viewer is None or viewer.session.id != session_id or viewer.closed.is_set():
            raise NotFound("There is no such viewer. It may have been closed; offer anew.", code="no_viewer")
        return viewer

    @router.options("/sessions/{session_id}/whep")
    async def options(session_id: str) -> Response:
        """What may be posted here."""
        return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "POST, OPTIONS"})

    @router.post("/sessions/{session_id}/whep", status_code=201, openapi_extra=offer_body)
    async def offer(session_id: str, request: Request) -> Response:
        """Watch: an SDP offer to receive video; the answer is SDP, `Location` is the viewer."""
        session = manager.get(session_id, token_of(request), watch=True)
        if session.over:
            raise Conflict(f"The session is {session.state}. Start a new one.", code=session.state)
        accept = request.headers.get("accept", "*/*")
        if not any(kind in accept for kind in (SDP, "*/*", "application/*")):
            raise Unacceptable(f"The answer is {SDP}; accept it.")
        sdp = await text(request, SDP)
        for gone in [v for v in viewers.values() if v.closed.is_set()]:
            del viewers[gone.id]
        if sum(v.session is session for v in viewers.values()) >= config.max_viewers:
            raise Busy(f"The session has {config.max_viewers} viewers, which is the most.", retry_after=10)
        viewer = Viewer(session, config)
        viewers[viewer.id] = viewer
        try:
            answer = await viewer.answer(sdp)
        except BaseException:
            viewers.pop(viewer.id, None)
            await viewer.close()
            raise
        headers = {
            "Location": f"/v1/sessions/{session.id}/whep/{viewer.id}",
            "ETag": viewer.etag,
            "Accept-Patch": FRAGMENT,
        }
        return Response(answer, 201, media_type=SDP, headers=headers)

    @router.patch("/sessions/{session_id}/whep/{viewer_id}", status_code=204)
    async def trickle(session_id: str, viewer_id: str, request: Request) -> Response:
        """ICE candidates of the viewer. An ICE restart is refused: offer anew, the session goes on."""
        viewer = find(session_id, viewer_id)
        if not await viewer.trickle(await text(request, FRAGMENT)):
            raise Unprocessable(
                "An ICE restart is not possible here. Offer anew; the session goes on.", code="ice_restart"
            )
        return Response(status_code=204)

    @router.delete("/sessions/{session_id}/whep/{viewer_id}")
    async def leave(session_id: str, viewer_id: str) -> Response:
        """Stop watching. The address itself is the secret."""
        await find(session_id, viewer_id).close()
        viewers.pop(viewer_id, None)
        return Response(status_code=200)

    return router
