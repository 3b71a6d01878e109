"""All sessions of a server: admission, access by token, lifetime, and the engine's events to the session they name."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from farcast.protocol import SessionRequest

from stream.config import ServerConfig
from stream.engine.host.crashes import Cause
from stream.engine.host.process import EngineProcess
from stream.engine.protocol import EngineOptions, Event, Measured, ModelFacts
from stream.errors import Busy, EngineFailed, InvalidRequest, Unauthorised
from stream.governor import CostModel
from stream.metrics import Metrics
from stream.recording import Recordings
from stream.types import Pixels

from .admission import Admission
from .context import ServerContext
from .persistence import Resumed
from .restore import RestoredSessions
from .session import Session

log = logging.getLogger("farcast.manager")

SWEEP_EVERY = 60.0  # seconds between two looks at what the state store holds
FLUSH = 0.2  # seconds in which messages that a restart is coming leave for the clients
TICK = 1.0  # seconds between two looks at who is idle
ENDED = 32  # sessions that are over and still known, at most; the one that ended first is forgotten


def check_guidance(guidance: float | None, facts: ModelFacts) -> None:
    """Raise InvalidRequest for a guidance scale outside the range that the model was measured in."""
    if guidance is None or facts.guidance_range is None:
        return
    low, high = facts.guidance_range
    if not low <= guidance <= high:
        raise InvalidRequest(
            f"`guidance` is {guidance:g}; {facts.name} takes {low:g} to {high:g}, beyond which its picture is damaged. "
            f"Leave it out for the model's own, {facts.guidance:g}.",
            code="guidance_out_of_range",
        )


class Manager:
    """Owns the engine handle and the threads that encode."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config = config
        self.metrics = metrics
        self.costs = CostModel()  # a copy of what the engine measures, for admission
        self.sessions: dict[str, Session] = {}
        self.admission = Admission(config, self.costs, lambda: self.running)
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
            options,
            on_event=self._on_event,
            on_restart=self._engine_restarted,
            on_lost=self._engine_lost,
            on_failed=self._engine_failed,
        )
        self.restored = RestoredSessions(config)
        self.draining = False
        self._swept_at = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        metrics.engine_heartbeat.set_function(lambda: self.engine.heartbeat_age)

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
        user: str = "",
        place: SessionRequest | None = None,
    ) -> Session:
        """A new session, in its `place` where one is reserved.

        Raises Busy when there is no room for it, InvalidRequest for guidance out of the model's range.
        """
        facts = await self.facts()
        check_guidance(request.guidance, facts)
        await self.admission.admit(request, facts, place)
        session = Session(request, self._context(facts), image=image, clip=clip, clip_fps=clip_fps, user=user)
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

        await self.restored.resume(facts, lambda resumed: self.go_on(resumed, facts))

    def go_on(self, resumed: Resumed, facts: ModelFacts) -> Session:
        """Continue a session of another server process."""
        session = Session(resumed.request, self._context(facts), resumed=resumed)
        self.sessions[session.id] = session
        log.info("session %s goes on from chunk %d", session.id, resumed.saved.chunk)
        return session

    def known(self, session_id: str) -> Session:
        """The session, whoever asks. Raises NotFound, and Busy for one that an earlier server process had and this one
        is to continue."""
        session = self.sessions.get(session_id)
        if session is None:
            raise self.restored.missing(session_id)
        return session

    def get(self, session_id: str, token: str | None, *, watch: bool = False) -> Session:
        """The session, for one who may steer it; with `watch` also for one who may only watch.

        Raises NotFound, Unauthorised, and Busy for one that an earlier server process had and this one is to continue.
        """
        session = self.known(session_id)
        if self.may_steer(session, token):
            return session
        if token is not None and hmac.compare_digest(token.encode(), session.view_token.encode()):
            if watch:
                return session
            raise Unauthorised("This token only lets you watch the session, not change it.", code="watch_only")
        raise Unauthorised("This session needs its token: send `Authorization: Bearer TOKEN`.")

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
        if getattr(event, "code", "") == "out_of_memory":
            self.admission.memory_ran_out()
        session = self.sessions.get(getattr(event, "session", ""))
        if session is not None:
            session.on_event(event)

    def _engine_lost(self, cause: Cause, culprit: str) -> None:
        """`culprit`: the session that makes it crash, "" for none; it is not given to an engine again."""
        for session in self.running:
            if session.id == culprit:
                message = "The engine crashed in this session's work again and again. Start a new one."
                session.fail(message, "engine_failed")
            else:
                session.engine_lost()
        self.metrics.restarts.labels(cause).inc()

    def _engine_failed(self, failure: EngineFailed) -> None:
        """No engine process can be kept running: all sessions end, and then the server (`stream.server`)."""
        for session in self.running:
            session.fail(str(failure), failure.code)

    def _engine_restarted(self) -> None:
        for session in self.running:
            session.engine_restarted()

    # --- lifetime

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self._look_at_all()  # its own frame, which holds no session while this one sleeps

    async def _look_at_all(self) -> None:
        now = time.monotonic()
        self.recordings.reap(now)
        if now - self._swept_at > SWEEP_EVERY:
            self._swept_at = now
            self.restored.sweep(frozenset(self.sessions))
        self._leave_to_others()
        ended = sorted((s for s in self.sessions.values() if s.closed), key=lambda s: s.ended_at or now)
        for session in ended[:-ENDED]:
            del self.sessions[session.id]
        for session in list(self.sessions.values()):
            try:
                await self._look_at(session, now)
            except Exception:  # one session's trouble must not stop the watch over the others
                log.exception("session %s", session.id)

    def _leave_to_others(self) -> None:
        """End sessions that another server of the fleet has claimed."""
        writer = self.restored.writer
        if writer is None or not writer.store.shared:
            return
        for lost in writer.lost():
            if lost in self.sessions:
                self.sessions[lost].supersede()
        writer.check({session.id: session.identity.epoch for session in self.running})

    async def _look_at(self, session: Session, now: float) -> None:
        if session.over:
            if not session.closed:
                await session.stop()
            if session.ended_at is not None and now - session.ended_at > self.config.tombstone:
                del self.sessions[session.id]
            return
        if 0 < self.config.lifetime < now - session.began_at:
            await session.stop(f"A session lasts up to {self.config.lifetime / 60:g} minutes on this server.")
        if session.over or session.viewers:
            return
        idle = now - session.idle_since
        if idle > self.config.idle_lifetime:
            await session.stop("Nobody was watching.")
        elif idle > self.config.viewer_grace and session.state == "live":
            session.pause(reason="Nobody is watching.", by_user=False)
