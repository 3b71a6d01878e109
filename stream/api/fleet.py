"""What the fleet's directory asks of a worker, with the operator's key: its load, a session to adopt, an end."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from stream.access.credentials import Access, token_of
from stream.session import adoption
from stream.session.manager import Manager

from .sessions import PROBLEMS


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


def routes(manager: Manager, access: Access) -> APIRouter:
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
