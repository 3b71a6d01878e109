"""All sessions of a server: admission, access by token, lifetime, and the engine's events to the session they name."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from farcast.protocol import SessionRequest

from stream.config import ServerConfig
from stream.engine.process import EngineProcess
from stream.engine.protocol import EngineOptions, Event, Measured, ModelFacts
from stream.errors import Busy, EngineFailed, Unauthorised
from stream.governor import CostModel, admits
from stream.metrics import Metrics
from stream.recording import Recordings
from stream.types import Pixels

from .context import ServerContext
from .persistence import Resumed
from .restore import RestoredSessions
from .session import Session

log = logging.getLogger("farcast.manager")

CRASHES = 2  # of the engine over one session, then it has to go
SWEEP_EVERY = 60.0  # seconds between two looks at what the state store holds
FLUSH = 0.2  # seconds in which messages that a restart is coming leave for the clients
TICK = 1.0  # seconds between two looks at who is idle
ENDED = 32  # sessions that are over and still known, at most; the one that ended first is forgotten


class Manager:
    """Owns the engine handle and the threads that encode."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config = config
        self.metrics = metrics
        self.costs = CostModel()  # a copy of what the engine measures, for admission
        self.sessions: dict[str, Session] = {}
        self._reserved: list[SessionRequest] = []  # of sessions whose uploads are being decoded
        self.executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="encode")
        self.recordings = Recordings(config, metrics)
        options = EngineOptions(
            config.engine,
            config.model,
            config.device,
            config.engine_threads,
            config.execution,
            config.max_lead,
            decoder=config.decoder,
            lora=config.lora,
        )
        self.engine = EngineProcess(
            options, on_event=self._on_event, on_restart=self._engine_restarted, on_lost=self._engine_lost
        )
        self.restored = RestoredSessions(config)
        self.draining = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.engine.start()
        self._tasks.append(asyncio.create_task(self._resume()))
        self._tasks.append(asyncio.create_task(self._reap()))

    async def drain(self) -> None:
        """Take no session any more, write down those that run, and tell their clients. Idempotent."""
        if self.draining:
            return
        self.draining = True
        for session in self.running:
            if self.restored.writer is None:
                session.end("The server is shutting down.")
            else:
                session.suspend()
        if self.running:
            await asyncio.sleep(FLUSH)

    async def close(self) -> None:
        """`drain`, and end everything."""
        for task in self._tasks:
            task.cancel()
        await self.drain()
        await asyncio.gather(*(session.closed_down() for session in self.sessions.values()))
        await self.restored.close()
        await self.recordings.close()
        await self.engine.close()
        self.executor.shutdown(wait=False, cancel_futures=True)

    @property
    def running(self) -> list[Session]:
        return [s for s in self.sessions.values() if not s.over]

    async def facts(self) -> ModelFacts:
        """The model's facts, waiting a while for a model that is loading. Raises Busy or EngineFailed."""
        if self.draining:
            raise Busy("The server is shutting down. Try again in a moment.", code="draining", retry_after=5)
        try:
            return await self.engine.ready(self.config.start_timeout)
        except TimeoutError:
            raise Busy("The model is still loading. Try again in a moment.", code="loading", retry_after=5) from None

    async def create(
        self,
        request: SessionRequest,
        image: Pixels | None = None,
        clip: Pixels | None = None,
        clip_fps: float | None = None,
        *,
        place: SessionRequest | None = None,
    ) -> Session:
        """A new session, in its `place` where one is reserved. Raises Busy when there is no room for it."""
        facts = await self.facts()
        while (refusal := self._no_room(request, facts, self.running, place)) is not None:
            if not await self._end_unwatched():
                raise refusal
        session = Session(request, self._context(facts), image=image, clip=clip, clip_fps=clip_fps)
        self.sessions[session.id] = session
        log.info("session %s: %r (seed %d)", session.id, session.prompt, session.seed)
        return session

    def _context(self, facts: ModelFacts) -> ServerContext:
        return ServerContext(
            facts, self.config, self.engine, self.executor, self.metrics, self.recordings, self.restored.writer
        )

    async def _resume(self) -> None:
        """Continue the sessions of an earlier server process."""
        try:
            facts = await self.engine.ready()
        except EngineFailed:
            return  # said elsewhere; the records stay

        def go_on(resumed: Resumed) -> None:
            session = Session(resumed.request, self._context(facts), resumed=resumed)
            self.sessions[session.id] = session
            log.info("session %s goes on from chunk %d", session.id, resumed.saved.chunk)

        await self.restored.resume(facts, go_on)

    @contextmanager
    def reserve(self, request: SessionRequest, facts: ModelFacts) -> Iterator[SessionRequest]:
        """A place for a session whose upload is still to be decoded. Raises Busy.

        Unwatched sessions count as room, but none ends before the upload is known to be good: see `create`.
        """
        unwatched = self._unwatched()
        if (refusal := self._no_room(request, facts, [s for s in self.running if s not in unwatched])) is not None:
            raise refusal
        self._reserved.append(request)
        try:
            yield request
        finally:
            self._reserved = [other for other in self._reserved if other is not request]

    def _no_room(
        self, request: SessionRequest, facts: ModelFacts, running: list[Session], own: SessionRequest | None = None
    ) -> Busy | None:
        """Why this session cannot be taken beside `running` and the reserved places but its `own`; None when it can."""
        others = [other for other in self._reserved if other is not own]
        if len(running) + len(others) >= self.config.max_sessions:
            message = f"All {self.config.max_sessions} places are taken. Try again when a session has ended."
            return Busy(message, code="full", retry_after=10)
        # Sessions that are paused may come back at any time, so their place on the device is kept.
        dials = [s.dial for s in running] + [other.dial for other in (*others, request)]
        floors = [dial.steps or dial.floor for dial in dials]
        verdict = admits(self.costs, floors, chunk_seconds=facts.chunk_seconds)
        if verdict.ok:
            return None
        return Busy(f"No room on the device: {verdict.reason}.", code="full", retry_after=verdict.retry_after)

    async def _end_unwatched(self) -> bool:
        """End the session that was paused because nobody watches it, the longest ago; False when there is none.

        A closed tab must not keep the next visitor out of a small server until its idle lifetime is over.
        """
        unwatched = self._unwatched()
        if not unwatched:
            return False
        await min(unwatched, key=lambda s: s.idle_since).stop("Nobody was watching, and its place was needed.")
        return True

    def _unwatched(self) -> list[Session]:
        return [s for s in self.running if s.state == "paused" and not s.paused_by_user and not s.viewers]

    def get(self, session_id: str, token: str | None, *, watch: bool = False) -> Session:
        """The session, for one who may steer it; with `watch` also for one who may only watch.

        Raises NotFound, Unauthorised, and Busy for one that an earlier server process had and this one is to continue.
        """
        session = self.sessions.get(session_id)
        if session is None:
            raise self.restored.missing(session_id)
        if self.may_steer(session, token):
            return session
        if token is not None and hmac.compare_digest(token.encode(), session.view_token.encode()):
            if watch:
                return session
            raise Unauthorised("This token only lets you watch the session, not change it.", code="watch_only")
        raise Unauthorised("This session needs its token: send `Authorization: Bearer TOKEN` or `?token=TOKEN`.")

    def score(self, session_id: str, token: str | None) -> dict[str, Any]:
        """The score's document, also of a session that ended with an earlier server process."""
        if session_id in self.sessions:
            return self.get(session_id, token).score.document()
        return self.restored.score(session_id, token)

    @staticmethod
    def may_steer(session: Session, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), session.token.encode())

    # --- engine

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Measured):
            self.costs.observe(event.kind, event.seconds)
            self.metrics.unit.labels(event.kind).observe(event.seconds)
            return
        session = self.sessions.get(getattr(event, "session", ""))
        if session is not None:
            session.on_event(event)

    def _engine_lost(self, culprit: str) -> None:
        """`culprit`: the session whose work was being done. The second time it is not given to an engine again."""
        failure: EngineFailed | None = self.engine.failure
        for session in self.running:
            if failure is not None:
                session.fail(failure.message, failure.code)
                continue
            session.crashes += session.id == culprit
            if session.crashes >= CRASHES:
                session.fail(
                    "The engine has fallen over this session again and again. Start a new one.", "engine_failed"
                )
            else:
                session.engine_lost()
        if failure is None:
            self.metrics.restarts.inc()

    def _engine_restarted(self) -> None:
        for session in self.running:
            session.engine_restarted()

    # --- lifetime

    async def _reap(self) -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.recordings.reap(now)
            if now - swept > SWEEP_EVERY:
                swept = now
                self.restored.sweep(frozenset(self.sessions))
            over = sorted((s for s in self.sessions.values() if s.closed), key=lambda s: s.ended_at or now)
            for session in over[:-ENDED]:
                del self.sessions[session.id]
            for session in list(self.sessions.values()):
                try:
                    await self._look_at(session, now)
                except Exception:  # one session's trouble must not stop the watch over the others
                    log.exception("session %s", session.id)

    async def _look_at(self, session: Session, now: float) -> None:
        if session.over:
            if not session.closed:
                await session.stop()
            if session.ended_at is not None and now - session.ended_at > self.config.tombstone:
                del self.sessions[session.id]
            return
        if session.viewers:
            return
        idle = now - session.idle_since
        if idle > self.config.idle_lifetime:
            await session.stop("Nobody was watching.")
        elif idle > self.config.viewer_grace and session.state == "live":
            session.pause(reason="Nobody is watching.", by_user=False)
