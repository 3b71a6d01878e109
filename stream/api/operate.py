"""What the operator of a server can do over HTTP, with a key of the scope `operate`: list all sessions, end them; and
what a fleet asks of its workers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from stream.access.credentials import Access, token_of
from stream.session import adoption
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


class WorkerLoad(BaseModel):
    """See `stream.session.adoption.Load`."""

    model: str
    weights: str
    load: float
    session_load: float | None
    step_load: float
    sessions: dict[str, int]
    max_sessions: int
    draining: bool
    ready: bool
    state_healthy: bool
    pid: int


class Adopted(BaseModel):
    id: str
    epoch: int
    chunk: int


class Drained(BaseModel):
    """sessions: id -> epoch of those that were written down."""

    sessions: dict[str, int]


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


def fleet_routes(manager: Manager, access: Access) -> APIRouter:
    """What a fleet asks of a worker, whose state is shared: its load, a session to adopt, an end."""
    router = APIRouter(prefix="/v1", tags=["fleet"], responses=dict(PROBLEMS))

    @router.get("/load", response_model=WorkerLoad)
    async def load(request: Request) -> WorkerLoad:
        """What admission knows: shares of the device, sessions and their epochs."""
        access.check(token_of(request), "operate")
        facts = manager.engine.facts
        name, weights = ("", "") if facts is None else (facts.name, facts.weights)
        return WorkerLoad(model=name, weights=weights, **asdict(adoption.load(manager)))

    @router.post("/sessions/{session_id}/adopt", response_model=Adopted)
    async def adopt(
        session_id: str, request: Request, epoch: Annotated[int | None, Field(ge=0)] = None
    ) -> Adopted:
        """Continue a session of another server, which shares this one's state. `epoch`: what it has as far as known."""
        access.check(token_of(request), "operate")
        session = await asyncio.shield(adoption.adopt(manager, session_id, epoch))
        return Adopted(id=session.id, epoch=session.identity.epoch, chunk=session.chunk)

    @router.post("/drain", response_model=Drained)
    async def drain(request: Request) -> Drained:
        """Let no session in, write down those that run, tell their clients. The server then waits for its end."""
        access.check(token_of(request), "operate")
        return Drained(sessions=await adoption.drain(manager))

    return router
