"""What a server of a fleet says of its load, and how it takes a session over from another one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stream.engine.protocol import ModelFacts
from stream.governor.scheduling import floor_load

from .manager import Manager
from .persistence import Resumed
from .restore import stale
from .session import Session


@dataclass(frozen=True)
class Load:
    """load: share of the device that all sessions need at their floors; session_load, step_load: what one more session
    of one step would take, and each further step; None while nothing is measured. sessions: id -> epoch."""

    load: float
    session_load: float | None
    step_load: float
    sessions: dict[str, int]
    max_sessions: int
    draining: bool
    ready: bool
    state_healthy: bool
    pid: int


def load(manager: Manager) -> Load:
    """As admission sees it now."""
    facts, running, writer = manager.engine.facts, manager.running, manager.restored.writer
    one = two = None
    total = 0.0
    if facts is not None:
        one, two = (floor_load(manager.costs, steps, chunk_seconds=facts.chunk_seconds) for steps in (1, 2))
        floors = [session.dial.steps or session.dial.floor for session in running]
        total = sum(floor_load(manager.costs, floor, chunk_seconds=facts.chunk_seconds) or 0.0 for floor in floors)
    return Load(
        load=total,
        session_load=one,
        step_load=0.0 if one is None or two is None else two - one,
        sessions={session.id: session.identity.epoch for session in running},
        max_sessions=manager.config.max_sessions,
        draining=manager.draining,
        ready=facts is not None and manager.engine.alive,
        state_healthy=writer is not None and writer.healthy,
        pid=os.getpid(),
    )


async def adopt(manager: Manager, session_id: str, known_epoch: int | None) -> Session:
    """Continue another server's session here, from its last snapshot; idempotent.

    known_epoch: the epoch that whoever asks thinks it has. Raises Conflict (`stale_epoch`) when another server has
    claimed it since, NotFound, and Busy without room.
    """
    facts: ModelFacts = await manager.facts()
    here = manager.sessions.get(session_id)
    if here is not None and not here.over:
        return here
    record = await manager.restored.record(session_id, facts)
    epoch = await manager.restored.epoch(session_id, record)
    if known_epoch is not None and epoch - 1 > known_epoch:
        raise stale(session_id, known_epoch)
    with manager.admission.reserve(Resumed(record, b"").request, facts):
        resumed = await manager.restored.adopt(session_id, facts, epoch)
        if here is not None:  # it was here before, and elsewhere since
            await here.stop()
    return manager.go_on(resumed, facts)


async def drain(manager: Manager) -> dict[str, int]:
    """End no session and let none in: write all down for others to adopt. Returns id -> epoch of those written."""
    running = {session.id: session.identity.epoch for session in manager.running}
    await manager.drain()
    await manager.restored.flush()
    return running
