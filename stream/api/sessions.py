"""Sessions over HTTP: make one, look at it, give it a picture, read its score, end it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from farcast.protocol import (
    ImageAccepted,
    ModelInfo,
    Problem,
    Score,
    SessionCreated,
    SessionInfo,
    SessionUrls,
    Vocabulary,
    limits,
    parse_request,
)
from fastapi import APIRouter, Request
from starlette.responses import Response

from stream.access.credentials import Access, token_of
from stream.access.limiter import Limiter, user_of
from stream.config import ServerConfig
from stream.errors import InvalidRequest, WrongMediaType
from stream.ice import name_ice_servers
from stream.score.log import to_json
from stream.session.manager import Manager
from stream.session.session import Session
from stream.uploads.filters import Subject

from .requests import media_type, read
from .uploads import Uploads

JSON = "application/json"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The request makes no sense; `detail` says why.",
        401: "The token is missing or wrong.",
        404: "No such session.",
        409: "The session has ended.",
        403: "Not allowed with this key, or from this page.",
        413: "Too large.",
        415: "Wrong content type.",
        429: "Too many requests of one user; see Retry-After.",
        422: "The file cannot be decoded within the limits, or a content filter refuses it.",
        503: "No room, or the model is still loading; see Retry-After.",
        507: "The server's disk is full.",
    }.items()
}
CREATE_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/SessionRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["request"],
                "properties": {
                    "request": {"type": "string", "description": "The JSON of SessionRequest."},
                    "image": {"type": "string", "format": "binary", "description": "Start from this picture."},
                    "clip": {"type": "string", "format": "binary", "description": "Go on from the end of this clip."},
                },
            }
        },
    },
}
IMAGE_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        }
    },
}


def _lists(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {kind: list(of) for kind, of in words.items()}


def info(session: Session, config: ServerConfig) -> dict[str, object]:
    """What SessionInfo and SessionCreated share."""
    base = f"{config.root_path}/v1/sessions/{session.id}"
    return {
        "id": session.id,
        "state": session.state,
        "width": session.facts.width,
        "height": session.facts.height,
        "fps": session.facts.fps,
        "model": session.facts.name,
        "prompt": session.prompt,
        "seed": session.seed,
        "dial": session.dial,
        "urls": SessionUrls(
            session=base,
            control=f"{base}/control",
            whep=f"{base}/whep",
            image=f"{base}/image",
            score=f"{base}/score",
            renders=f"{base}/renders" if config.renders else None,
            recording=f"{base}/recording.mp4" if session.recording is not None else None,
        ),
    }


def routes(
    manager: Manager, config: ServerConfig, uploads: Uploads, access: Access, limiter: Limiter
) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["sessions"], responses=dict(PROBLEMS))

    def _count_upload(request: Request, user: str) -> None:
        """Raises TooMany. A body of unknown length counts as the largest there may be."""
        length = request.headers.get("content-length", "")
        size = min(int(length[:18]), config.max_upload) if length.isdigit() else config.max_upload
        limiter.hit("pictures", user)
        limiter.hit("kilobytes", user, cost=1 + size // 1024)

    @router.get("/model", response_model=ModelInfo)
    async def model() -> ModelInfo:
        """What is loaded and what it can do. Waits for a model that is loading."""
        facts = await manager.facts()
        known = facts.vocabulary
        return ModelInfo(
            name=facts.name,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            examples=list(facts.examples),
            chunk_frames=facts.chunk_frames,
            device=facts.device,
            guidance=facts.guidance,
            guidance_range=facts.guidance_range or limits.GUIDANCE,
            steps=facts.steps,
            vocabulary=None if known is None else Vocabulary(words=_lists(known.words), caption=known.caption),
        )

    @router.post(
        "/sessions", status_code=201, response_model=SessionCreated, openapi_extra={"requestBody": CREATE_BODY}
    )
    async def create(request: Request) -> Response:
        """Start a session from a prompt, and from a picture or a clip where one is sent."""
        user = user_of(request, access.check(token_of(request), "create"))
        limiter.hit("creations", user)
        limiter.session(user, sum(session.user == user for session in manager.running))
        if media_type(request) == JSON:
            start = parse_request(await read(request, config.max_json))
            await uploads.filters.check(Subject("prompt", text=start.prompt))
            session = await manager.create(start, user=user)
        elif media_type(request) == "multipart/form-data":
            _count_upload(request, user)
            session = await _from_upload(request, user)
        else:
            raise WrongMediaType("Send application/json, or multipart/form-data with `request` and `image` or `clip`.")
        created = SessionCreated.model_validate(
            {**info(session, config), "token": session.token, "view_token": session.view_token}
        )
        location = f"{config.root_path}/v1/sessions/{session.id}"
        response = Response(created.dump(), 201, media_type=JSON, headers={"Location": location})
        name_ice_servers(response, config.ice_servers, config.turn_secret)
        return response

    async def _from_upload(request: Request, user: str) -> Session:
        async with uploads.form(request) as form:
            start = uploads.creation(form)
            await uploads.filters.check(Subject("prompt", text=start.prompt))
            facts = await manager.facts()
            with manager.admission.reserve(start, facts) as place:  # refused before anything is decoded
                image, clip = await uploads.image(form, facts), await uploads.clip(form, facts)
                fps = None if clip is None else facts.fps
                return await manager.create(start, image, clip, fps, user=user, place=place)

    @router.get("/sessions/{session_id}", response_model=SessionInfo)
    async def look(session_id: str, request: Request, response: Response) -> SessionInfo:
        """The session as it is now."""
        token = token_of(request)
        session = manager.get(session_id, token, watch=True)
        name_ice_servers(response, config.ice_servers, config.turn_secret)
        role = "steer" if manager.may_steer(session, token) else "watch"
        return SessionInfo.model_validate({**info(session, config), "role": role})

    @router.delete("/sessions/{session_id}", status_code=204)
    async def end(session_id: str, request: Request) -> Response:
        """End the session. Doing it twice is no error."""
        token = token_of(request)
        if access.operates(token):
            await manager.known(session_id).stop("The operator of the server ended it.")
        else:
            await manager.get(session_id, token).stop()
        return Response(status_code=204)

    @router.post(
        "/sessions/{session_id}/image",
        status_code=202,
        response_model=ImageAccepted,
        openapi_extra={"requestBody": IMAGE_BODY},
    )
    async def image(session_id: str, request: Request) -> Response:
        """A new shot from this picture, at the next chunk; `image_applied` on the control socket says when."""
        session = manager.get(session_id, token_of(request))
        _count_upload(request, user_of(request))
        async with uploads.form(request) as form:
            session.refuse_if_over()
            pixels = await uploads.image(form, session.facts)
        if pixels is None:
            raise InvalidRequest("The form lacks the file `image`.")
        return Response(ImageAccepted(re=session.set_image(pixels)).dump(), 202, media_type=JSON)

    @router.get("/sessions/{session_id}/score", response_model=Score)
    async def score(session_id: str, request: Request) -> Response:
        """Everything that decided the session's pixels, by chunk index: `farcast render` makes the take again."""
        document = manager.score(session_id, token_of(request))
        return Response(await asyncio.to_thread(to_json, document), media_type=JSON)

    return router
