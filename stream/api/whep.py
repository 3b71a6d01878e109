"""WHEP (draft-ietf-wish-whep-03): a viewer's offer in, our answer out, and one resource a viewer after that.

Where the draft leaves a choice: candidates may be trickled, an ICE restart is refused with 422 (offer anew, the
session goes on). So entity tags are optional: one is given, a wrong one is refused with 412, and a missing one is
taken, as players in the field send none. There are no counter-offers: a 406 from here is a problem document.
"""

from __future__ import annotations

import re
import time

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from stream.access.credentials import token_of
from stream.config import ServerConfig
from stream.errors import Busy, Conflict, InvalidRequest, NotFound, PreconditionFailed, Unprocessable, WrongMediaType
from stream.errors import NotAcceptable as Unacceptable
from stream.ice import name_ice_servers
from stream.metrics import Metrics
from stream.session.manager import Manager
from stream.webrtc.viewer import Viewer

from .requests import media_type, read
from .sessions import PROBLEMS

CONNECTS_WITHIN = 4.0  # seconds after which an offer that has not connected makes room where there is none
SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
ENDPOINT = {"Accept-Post": SDP, "Allow": "POST, GET, HEAD, OPTIONS"}
RESOURCE = {"Accept-Patch": FRAGMENT, "Allow": "PATCH, DELETE, GET, HEAD, OPTIONS"}


class Cors(CORSMiddleware):
    """A browser's preflight is an OPTIONS request like any other: its answer too says what may be posted."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.headers["Accept-Post"] = SDP
        return response


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
    async def options(session_id: str, request: Request) -> Response:
        """What may be posted here, and the ICE servers; TURN servers only for those with the session's token."""
        session = manager.sessions.get(session_id)
        token = token_of(request)
        if session is not None and token is not None:
            manager.get(session_id, token, watch=True)
        known = session is not None and token is not None
        response = Response(status_code=200, headers=ENDPOINT)
        name_ice_servers(response, config.ice_servers, config.turn_secret, relays=known)
        return response

    @router.options("/sessions/{session_id}/whep/{viewer_id}")
    async def viewer_options(session_id: str, viewer_id: str) -> Response:
        """What may be done with a viewer."""
        return Response(status_code=200, headers={**RESOURCE, "Accept-Post": SDP})

    @router.head("/sessions/{session_id}/whep", include_in_schema=False)
    @router.get("/sessions/{session_id}/whep")
    async def discover(session_id: str) -> Response:
        """Nothing, successfully: by this a player knows a WHEP endpoint."""
        if session_id not in manager.sessions:
            raise NotFound("There is no such session. It may have ended; start a new one.", code="no_session")
        return Response(status_code=200, media_type=SDP, headers=ENDPOINT)

    @router.head("/sessions/{session_id}/whep/{viewer_id}", include_in_schema=False)
    @router.get("/sessions/{session_id}/whep/{viewer_id}")
    async def exists(session_id: str, viewer_id: str) -> Response:
        """Nothing, successfully, while the viewer is there."""
        find(session_id, viewer_id)
        return Response(status_code=200, headers=RESOURCE)

    @router.post("/sessions/{session_id}/whep", status_code=201, openapi_extra=offer_body)
    async def offer(session_id: str, request: Request) -> Response:
        """Watch: an SDP offer to receive video; the answer is SDP, `Location` is the viewer."""
        session = manager.get(session_id, token_of(request), watch=True)
        if session.over:
            raise Conflict(f"The session is {session.state}. Start a new one.", code=session.state)
        if not accepts(request.headers.get("accept", "*/*"), SDP):
            raise Unacceptable(f"The answer is {SDP}; accept it.")
        sdp = await text(request, SDP)
        owner = manager.may_steer(session, token_of(request))
        own = [v for v in viewers.values() if v.session is session]
        if len(own) >= config.max_viewers:
            # Offers that do not connect must not keep others out, nor those of watchers the owner at any time.
            old = time.monotonic() - CONNECTS_WITHIN
            idle = [v for v in own if not v.connected and (v.began < old or (owner and not v.owner))]
            if not idle:
                raise Busy(f"The session has {config.max_viewers} viewers, which is the most.", retry_after=10)
            await min(idle, key=lambda v: (v.owner, v.began)).close("replaced")
        viewer = Viewer(session, config, metrics, owner=owner, on_closed=lambda gone: viewers.pop(gone.id, None))
        viewers[viewer.id] = viewer
        try:
            answer = await viewer.answer(sdp)
        except BaseException:
            await viewer.close("refused")
            raise
        headers = {
            "Location": f"{config.root_path}/v1/sessions/{session.id}/whep/{viewer.id}",
            "ETag": viewer.etag,
            "Accept-Patch": FRAGMENT,
            "Cache-Control": "no-store",
        }
        response = Response(answer, 201, media_type=SDP, headers=headers)
        name_ice_servers(response, config.ice_servers, config.turn_secret)
        return response

    @router.patch("/sessions/{session_id}/whep/{viewer_id}", status_code=204)
    async def trickle(session_id: str, viewer_id: str, request: Request) -> Response:
        """ICE candidates of the viewer. An ICE restart is refused: offer anew, the session goes on."""
        viewer = find(session_id, viewer_id)
        fragment = await text(request, FRAGMENT)
        condition = request.headers.get("if-match")
        if condition is not None and not {"*", viewer.etag} & {tag.strip() for tag in condition.split(",")}:
            raise PreconditionFailed("This is not the viewer's ICE session any more. Offer anew.", code="wrong_etag")
        if not await viewer.trickle(fragment):
            raise Unprocessable(
                "An ICE restart is not possible here. Offer anew; the session goes on.", code="ice_restart"
            )
        return Response(status_code=204)

    @router.delete("/sessions/{session_id}/whep/{viewer_id}")
    async def leave(session_id: str, viewer_id: str) -> Response:
        """Stop watching. The address itself is the secret."""
        await find(session_id, viewer_id).close()
        return Response(status_code=200)

    return router


def accepts(header: str, kind: str) -> bool:
    """Whether an Accept header takes `kind` (RFC 9110 section 12.5.1); the most exact range that names it decides."""
    best: tuple[int, bool] = (-1, not header.strip())
    for part in header.split(","):
        range_, *parameters = (piece.strip().lower() for piece in part.split(";"))
        exactness = (kind, kind.split("/")[0] + "/*", "*/*")
        if range_ in exactness:
            weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            refused = re.fullmatch(r"0(\.0*)?", weight) is not None
            best = max(best, (2 - exactness.index(range_), not refused))
    return best[1]
