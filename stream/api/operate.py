"""What the operator of a server can do over HTTP, with a key of the scope `operate`: list all sessions, end them."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from stream.access.credentials import Access, token_of
from stream.session.manager import Manager
from stream.session.session import Session

from .sessions import PROBLEMS


class SessionSummary(BaseModel):
    """One session, without its prompt and its tokens."""

    id: str
    state: str
    age_seconds: float
    viewers: int
    chunk: int
    reason: str | None


class SessionList(BaseModel):
    sessions: list[SessionSummary]


def summary(session: Session, now: float) -> SessionSummary:
    """`now`: monotonic seconds."""
    return SessionSummary(
        id=session.id,
        state=session.state,
        age_seconds=round(now - session.began_at, 1),
        viewers=session.viewers,
        chunk=session.chunk,
        reason=session.reason,
    )


def routes(manager: Manager, access: Access) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operating"], responses=dict(PROBLEMS))

    @router.get("/sessions", response_model=SessionList)
    async def look(request: Request) -> SessionList:
        """All sessions, those that ended lately too. Needs a key with the scope `operate`."""
        access.check(token_of(request), "operate")
        now = time.monotonic()
        return SessionList(sessions=[summary(session, now) for session in manager.sessions.values()])

    @router.delete("/sessions", status_code=204)
    async def end(request: Request) -> Response:
        """End all sessions. Needs a key with the scope `operate`; with it also `DELETE /v1/sessions/{id}` ends one."""
        access.check(token_of(request), "operate")
        await asyncio.gather(*(s.stop("The operator of the server ended it.") for s in manager.running))
        return Response(status_code=204)

    return router
