"""What to make of the deaths of engine processes: whether one session causes them, and whether to go on at all."""

from __future__ import annotations

import signal
from collections import deque
from typing import Literal

Cause = Literal["fault", "hung", "killed", "load"]

CULPRIT_FAULTS = 3  # in a row, all of them in one session's work
FORGET_S = 600.0  # an older fault says nothing any more
MAX_DEATHS = 5  # within DEATHS_S seconds, or in a row without a model that is ready between them
DEATHS_S = 60.0


def cause_of(code: int | None, *, hung: bool, load_failed: bool) -> Cause:
    """hung: the watchdog ended it. SIGKILL and SIGTERM otherwise come from outside (an operator, the OOM killer)."""
    if hung:
        return "hung"
    if load_failed:
        return "load"
    return "killed" if code in (-signal.SIGKILL, -signal.SIGTERM) else "fault"


class CrashLog:
    """Deaths so far. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._faults: deque[tuple[float, str]] = deque(maxlen=CULPRIT_FAULTS)
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._without_ready = 0

    @property
    def without_ready(self) -> int:
        """Deaths in a row before the model was ready."""
        return self._without_ready

    def ready(self) -> None:
        """A new process has its model loaded."""
        self._without_ready = 0

    def died(self, now: float, cause: Cause, session: str, *, was_ready: bool) -> str:
        """A process died in the work of `session` ("" for none). Returns the session to stop, or "".

        A session is stopped when the last few faults, none of them too long ago, all happened in its work. A process
        that was killed from outside says nothing about the session whose work it was.
        """
        self._deaths.append(now)
        self._without_ready = 0 if was_ready else self._without_ready + 1
        if cause not in ("fault", "hung"):
            return ""
        self._faults.append((now, session))
        recent = [whose for at, whose in self._faults if now - at < FORGET_S]
        if session and len(recent) == CULPRIT_FAULTS and set(recent) == {session}:
            self._faults.clear()
            return session
        return ""

    @property
    def hopeless(self) -> bool:
        """It dies again and again, whatever is done; somebody has to look."""
        quick = len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_S
        return quick or self._without_ready >= MAX_DEATHS
