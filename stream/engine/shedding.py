"""What is given up when the device's memory runs out.

The order: first nobody is ended; the session in whose work it happened gives up its slot, and is opened again from its
last snapshot once the caches are empty. When memory runs out again within `AGAIN_S` seconds, a session is ended too:
the newest of those that are paused (by a user, or because nobody watches), and without one the newest of all. A session
that was never open is not let in. So the engine goes on for whoever is left, and every round frees memory.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from .protocol import Evicted, SessionLost

AGAIN_S = 30.0
CODE = "out_of_memory"
NOT_LET_IN = "The device has no memory for another session. Try again when one has ended."
ENDED = "The device ran out of memory, and this session was given up for the others. Start a new one later."
REOPENED = "The device ran out of memory; the session goes on from its last snapshot."


class Shedding:
    """Remembers the order in which sessions came, also while one is opened again."""

    def __init__(self) -> None:
        self._came: dict[str, int] = {}
        self._count = 0
        self._last = -math.inf

    def opened(self, session: str) -> None:
        """The session has a slot; a new one, or again."""
        if session not in self._came:
            self._came[session] = self._count
            self._count += 1

    def forget(self, session: str) -> None:
        """The session is over."""
        self._came.pop(session, None)

    def on_out_of_memory(
        self, now: float, session: str, opened: Sequence[str], paused: Collection[str]
    ) -> list[SessionLost | Evicted]:
        """It ran out in the work of `session`. Returns what becomes of which; `opened`: sessions with a slot."""
        if session not in self._came:
            return [SessionLost(session, CODE, NOT_LET_IN)]
        again, self._last = now - self._last < AGAIN_S, now
        if not again:
            return [Evicted(session, CODE, REOPENED)]
        candidates = {session, *opened}
        victims = [name for name in candidates if name in paused] or list(candidates)
        victim = max(victims, key=lambda name: self._came.get(name, -1))
        lost = SessionLost(victim, CODE, ENDED)
        return [lost] if victim == session else [lost, Evicted(session, CODE, REOPENED)]
