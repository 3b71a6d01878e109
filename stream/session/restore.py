"""Sessions of an earlier server process: continued once the model is ready, or known as over."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Any

from stream.config import ServerConfig
from stream.engine.protocol import ModelFacts
from stream.errors import Busy, NotFound, Unauthorised
from stream.state.record import SessionRecord, StateError
from stream.state.store import StateStore
from stream.state.writer import StateWriter

from .persistence import Resumed

log = logging.getLogger("farcast.state")


class RestoredSessions:
    """`writer`: where sessions are written down, None without a state store. Raises ConfigError when it cannot be used.

    Records are read when it is made, before the server answers; snapshots when the model is ready.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.writer: StateWriter | None = None
        self._waiting: dict[str, SessionRecord] = {}
        self._over: dict[str, SessionRecord] = {}
        if config.state_dir is None:
            return
        store = StateStore(config.state_dir, max_bytes=config.state_bytes, max_age=config.state_keep)
        store.lock()
        store.sweep(frozenset())
        self.writer = StateWriter(store)
        for record in store.records():
            (self._waiting if record.ended is None else self._over)[record.id] = record

    async def resume(self, facts: ModelFacts, open_session: Callable[[Resumed], None]) -> None:
        """Continue every session that was running; one that cannot be continued is written down as over."""
        for session, record in list(self._waiting.items()):
            try:
                resumed = await asyncio.to_thread(self._read, session, facts)
                open_session(resumed)
            except (StateError, OSError) as error:
                log.warning("session %s cannot be continued: %s", session, error)
                self._over[session] = record
            finally:
                del self._waiting[session]

    def _read(self, session: str, facts: ModelFacts) -> Resumed:
        assert self.writer is not None
        record, snapshot = self.writer.store.read(session) or (None, None)
        if record is None or snapshot is None:
            raise StateError("there is no snapshot of it")
        if (record.model, record.weights) != (facts.name, facts.weights):
            made, here = f"{record.model} {record.weights}", f"{facts.name} {facts.weights}"
            raise StateError(f"it was made by {made}, this is {here}")
        return Resumed(record, snapshot)

    def missing(self, session: str) -> Busy | NotFound:
        """Why a session is not running: it waits to be continued, or there is none."""
        if session in self._waiting:
            message = "The server was restarted and is about to continue this session. Ask again in a moment."
            return Busy(message, code="recovering", retry_after=1)
        return NotFound("There is no such session. It may have ended; start a new one.", code="no_session")

    def score(self, session: str, token: str | None) -> dict[str, Any]:
        """The score's document of a session that is over. Raises Busy, NotFound, Unauthorised."""
        record = self._over.get(session)
        if record is None:
            raise self.missing(session)
        if token is None or not hmac.compare_digest(token.encode(), record.token.encode()):
            raise Unauthorised("A score needs its session's token: `Authorization: Bearer TOKEN`.")
        return {name: value for name, value in record.score.items() if name != "ends"}

    def sweep(self, live: frozenset[str]) -> None:
        if self.writer is not None:
            self.writer.sweep(live | frozenset(self._waiting))

    async def close(self) -> None:
        """Write what waits."""
        if self.writer is not None:
            await asyncio.to_thread(self.writer.close)
