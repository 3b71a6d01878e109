"""Who may start a session: places, what the device carries, and whose session makes room for another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from farcast.protocol import SessionRequest

from stream.config import ServerConfig
from stream.engine.protocol import ModelFacts
from stream.errors import Busy
from stream.governor import CostModel, admits

from .session import Session

MEMORY_S = 60.0  # after memory ran out, before another session is let in


class Admission:
    """`costs`: what the engine measures; `running`: the sessions that are not over."""

    def __init__(self, config: ServerConfig, costs: CostModel, running: Callable[[], list[Session]]) -> None:
        self._config, self._costs, self._running = config, costs, running
        self._memory_short_until = 0.0
        self._reserved: list[SessionRequest] = []  # sessions to be, whose uploads are still decoded

    def memory_ran_out(self) -> None:
        """For a while no session is let in beside those that run."""
        self._memory_short_until = time.monotonic() + MEMORY_S

    async def admit(self, request: SessionRequest, facts: ModelFacts, place: SessionRequest | None = None) -> None:
        """Make room for a session, or for the one whose `place` is reserved. Raises Busy when there is none."""
        while (refusal := self._no_room(request, facts, self._running(), place)) is not None:
            if not await self._make_room():
                raise refusal

    @contextmanager
    def reserve(self, request: SessionRequest, facts: ModelFacts) -> Iterator[SessionRequest]:
        """A place for a session whose upload is still to be decoded. Raises Busy.

        Unwatched sessions count as room, but none ends before the upload is known to be good: see `admit`.
        """
        unwatched = self._replaceable()
        if (refusal := self._no_room(request, facts, [s for s in self._running() if s not in unwatched])) is not None:
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
        if running and time.monotonic() < self._memory_short_until:
            message = "The device ran out of memory a moment ago. Try again later, or when a session has ended."
            return Busy(message, code="full", retry_after=MEMORY_S)
        others = [other for other in self._reserved if other is not own]
        if len(running) + len(others) >= self._config.max_sessions:
            message = f"All {self._config.max_sessions} places are taken. Try again when a session has ended."
            return Busy(message, code="full", retry_after=10)
        # Sessions that are paused may come back at any time, so their place on the device is kept.
        dials = [s.dial for s in running] + [other.dial for other in (*others, request)]
        floors = [dial.steps or dial.floor for dial in dials]
        verdict = admits(self._costs, floors, chunk_seconds=facts.chunk_seconds)
        if verdict.ok:
            return None
        return Busy(f"No room on the device: {verdict.reason}.", code="full", retry_after=verdict.retry_after)

    async def _make_room(self) -> bool:
        """End the session that was paused because nobody watches it, the longest ago, or else one that its user paused
        over `pause_grace` seconds ago; False when there is none.

        Neither a closed tab nor a pause may keep the next visitor out of a small server for long.
        """
        replaceable = self._replaceable()
        if not replaceable:
            return False
        unwatched = [s for s in replaceable if not s.paused_by_user]
        gone = min(unwatched or replaceable, key=lambda s: s.paused_at)
        why = "Nobody was watching" if unwatched else "It was paused"
        await gone.stop(f"{why}, and its place was needed.")
        return True

    def _replaceable(self) -> list[Session]:
        """Sessions that make room for a new one: paused for want of viewers, or long ago by their user."""
        since = time.monotonic() - self._config.pause_grace
        paused = [s for s in self._running() if s.state == "paused"]
        return [s for s in paused if (s.paused_at < since if s.paused_by_user else not s.viewers)]
