"""Sessions of an earlier server process: continued once the model is ready, or known as over."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import logging
from collections.abc import Callable
from typing import Any

from stream.config import ServerConfig
from stream.engine.protocol import ModelFacts
from stream.errors import Busy, Conflict, NotFound, Unauthorised
from stream.state.record import SessionRecord, StaleEpoch, StateError
from stream.state.store import StateStore
from stream.state.writer import StateWriter

from .persistence import Resumed

log = logging.getLogger("farcast.state")


def stale(session: str, epoch: int) -> Conflict:
    """The answer to whoever knows an epoch that is over."""
    return Conflict(f"Session {session} is past epoch {epoch}: another server has it.", code="stale_epoch")


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
        store = StateStore(
            config.state_dir, max_bytes=config.state_bytes, max_age=config.state_keep, shared=config.state_shared
        )
        store.lock()
        store.sweep(frozenset())
        self.writer = StateWriter(store)
        if config.state_shared:  # what is there may be another server's; `adopt` says which session is to go on here
            return
        for record in store.records():
            (self._waiting if record.ended is None else self._over)[record.id] = record

    async def resume(self, facts: ModelFacts, open_session: Callable[[Resumed], object]) -> None:
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

    async def record(self, session: str, facts: ModelFacts) -> SessionRecord:
        """The record of a session that is to be adopted. Raises NotFound, Conflict, Busy."""
        return (await self._adopting(session, facts, None)).record

    async def adopt(self, session: str, facts: ModelFacts, epoch: int) -> Resumed:
        """Claim `epoch` of the session, then read its newest state, which goes on under that epoch.

        Raises NotFound, Conflict when it is over, of another model or claimed by another server, and Busy when the
        store does not answer.
        """
        return await self._adopting(session, facts, epoch)

    async def _adopting(self, session: str, facts: ModelFacts, epoch: int | None) -> Resumed:
        writer = self.writer
        if writer is None or not writer.store.shared:
            raise Conflict("This server shares no state with others: start it with --state-shared.", code="not_shared")

        def read() -> Resumed:
            if epoch is not None:
                writer.store.claim(session, epoch)
            resumed = self._read(session, facts)
            if epoch is None:
                return resumed
            return Resumed(dataclasses.replace(resumed.record, epoch=epoch - 1), resumed.snapshot)

        try:
            resumed = await asyncio.to_thread(read)
        except StaleEpoch as error:
            raise Conflict(f"{error}.", code=error.code) from None
        except FileNotFoundError:
            raise NotFound("There is no such session in the state store.", code="no_session") from None
        except StateError as error:
            raise Conflict(f"The session cannot be continued here: {error}.", code="cannot_continue") from None
        except OSError as error:
            raise Busy(f"The state store does not answer: {error}.", code="no_store", retry_after=2) from None
        return resumed

    async def epoch(self, session: str, record: SessionRecord) -> int:
        """The epoch that the next server has to claim."""
        assert self.writer is not None
        return max(record.epoch, await asyncio.to_thread(self.writer.store.claimed, session)) + 1

    def _read(self, session: str, facts: ModelFacts) -> Resumed:
        assert self.writer is not None
        found = self.writer.store.read(session)
        if found is None:
            raise FileNotFoundError(f"there is no session {session}")
        record, snapshot = found
        if record.ended is not None:
            raise StateError(f"it is over ({record.ended})")
        if snapshot is None:
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

    async def flush(self) -> None:
        """Until what waits now is written, or has failed."""
        if self.writer is not None:
            await asyncio.wrap_future(self.writer.flush())

    async def close(self) -> None:
        """Write what waits."""
        if self.writer is not None:
            await asyncio.to_thread(self.writer.close)
