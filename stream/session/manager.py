"""All sessions of a server: admission, access by token, lifetime, and the engine's events to the session they name."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from farcast.protocol import SessionRequest

from stream.config import ServerConfig
from stream.engine.process import EngineProcess
from stream.engine.protocol import EngineOptions, Event, Measured, ModelFacts
from stream.errors import Busy, EngineFailed, NotFound, Unauthorised
from stream.governor import CostModel, admits
from stream.metrics import Metrics
from stream.recording import Recordings
from stream.types import Pixels

from .context import ServerContext
from .session import Session

log = logging.getLogger("farcast.manager")

CRASHES = 2  # of the engine over one session, then it has to go
TICK = 1.0  # seconds between two looks at who is idle


class Manager:
    """Owns the engine handle and the threads that encode."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config = config
        self.metrics = metrics
        self.costs = CostModel()  # a copy of what the engine measures, for admission
        self.sessions: dict[str, Session] = {}
        self.executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="encode")
        self.recordings = Recordings(config, metrics)
        options = EngineOptions(
            config.engine, config.model, config.device, config.engine_threads, config.execution, config.max_lead
        )
        self.engine = EngineProcess(
            options, on_event=self._on_event, on_restart=self._engine_restarted, on_lost=self._engine_lost
        )
        self._reaper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.engine.start()
        self._reaper = asyncio.create_task(self._reap())

    async def close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        await asyncio.gather(*(s.stop("The server is shutting down.") for s in self.sessions.values()))
        await self.recordings.close()
        await self.engine.close()
        self.executor.shutdown(wait=False, cancel_futures=True)

    @property
    def running(self) -> list[Session]:
        return [s for s in self.sessions.values() if not s.over]

    async def facts(self) -> ModelFacts:
        """The model's facts, waiting a while for a model that is loading. Raises Busy or EngineFailed."""
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
    ) -> Session:
        """A new session. Raises Busy when there is no room for it."""
        facts = await self.facts()
        while (refusal := self._no_room(request, facts)) is not None:
            if not await self._end_unwatched():
                raise refusal
        context = ServerContext(facts, self.config, self.engine, self.executor, self.metrics, self.recordings)
        session = Session(request, context, image=image, clip=clip, clip_fps=clip_fps)
        self.sessions[session.id] = session
        log.info("session %s: %r (seed %d)", session.id, session.prompt, session.seed)
        return session

    def _no_room(self, request: SessionRequest, facts: ModelFacts) -> Busy | None:
        """Why this session cannot be taken now; None when it can."""
        running = self.running
        if len(running) >= self.config.max_sessions:
            message = f"All {self.config.max_sessions} places are taken. Try again when a session has ended."
            return Busy(message, code="full", retry_after=10)
        # Sessions that are paused may come back at any time, so their place on the device is kept.
        floors = [s.dial.steps or s.dial.floor for s in running] + [request.dial.steps or request.dial.floor]
        verdict = admits(self.costs, floors, chunk_seconds=facts.chunk_seconds)
        if verdict.ok:
            return None
        return Busy(f"No room on the device: {verdict.reason}.", code="full", retry_after=verdict.retry_after)

    async def _end_unwatched(self) -> bool:
        """End the session that was paused because nobody watches it, the longest ago; False when there is none.

        A closed tab must not keep the next visitor out of a small server until its idle lifetime is over.
        """
        unwatched = [s for s in self.running if s.state == "paused" and not s.paused_by_user and not s.viewers]
        if not unwatched:
            return False
        await min(unwatched, key=lambda s: s.idle_since).stop("Nobody was watching, and its place was needed.")
        return True

    def get(self, session_id: str, token: str | None, *, watch: bool = False) -> Session:
        """The session, for one who may steer it; with `watch` also for one who may only watch.

        Raises NotFound, Unauthorised.
        """
        session = self.sessions.get(session_id)
        if session is None:
            raise NotFound("There is no such session. It may have ended; start a new one.", code="no_session")
        if self.may_steer(session, token):
            return session
        if token is not None and hmac.compare_digest(token.encode(), session.view_token.encode()):
            if watch:
                return session
            raise Unauthorised("This token only lets you watch the session, not change it.", code="watch_only")
        raise Unauthorised("This session needs its token: send `Authorization: Bearer TOKEN` or `?token=TOKEN`.")

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
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.recordings.reap(now)
            for session in list(self.sessions.values()):
                try:
                    await self._look_at(session, now)
                except Exception:  # one session's trouble must not stop the watch over the others
                    log.exception("session %s", session.id)

    async def _look_at(self, session: Session, now: float) -> None:
        if session.over:
            if session.ended_at is not None and now - session.ended_at > self.config.tombstone:
                await session.stop()
                del self.sessions[session.id]
            return
        if session.viewers:
            return
        idle = now - session.idle_since
        if idle > self.config.idle_lifetime:
            await session.stop("Nobody was watching.")
        elif idle > self.config.viewer_grace and session.state == "live":
            session.pause(reason="Nobody is watching.", by_user=False)
