"""What the engine process is doing, in memory shared with the server: for the watchdog, and to say after a crash whose
work it was.

Without a lock: a process that is stopped must not stop its reader. The fields are written one after the other, so a
reader may see a mixture of two beats; the watchdog therefore looks several times before it acts.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Any

IDLE_S = 5.0  # the loop without work sleeps half a second at most
LOAD_S = 3600.0  # loading and warming up, a download included
FIRST_S = 120.0  # a unit of a shape that was never run may have to be compiled
HANG_FACTOR = 20.0  # times the 90 % quantile of a unit's cost ...
HANG_S = 5.0  # ... and at least so long


class Shared(ctypes.Structure):
    """Times are monotonic seconds."""

    _fields_ = (
        ("at", ctypes.c_double),
        ("limit", ctypes.c_double),
        ("session", ctypes.c_char * 64),
        ("doing", ctypes.c_char * 16),
    )


@dataclass(frozen=True)
class Beat:
    """`age`: seconds since the work began; `limit`: more of them count as hung. `session`: "" for none."""

    age: float
    limit: float
    session: str
    doing: str

    @property
    def overdue(self) -> bool:
        """The process should have gone on to something else by now."""
        return self.age > self.limit


class Heartbeat:
    """One engine process's. Made by the server, passed to the process when it starts."""

    def __init__(self, context: Any) -> None:
        self.shared = context.RawValue(Shared)
        self.beat("load", limit=LOAD_S)

    def beat(self, doing: str, session: str = "", *, limit: float = IDLE_S) -> None:
        """Called before every piece of work. limit: seconds it may take."""
        shared = self.shared
        shared.session, shared.doing, shared.limit = session.encode(), doing.encode(), limit
        shared.at = time.monotonic()

    def read(self) -> Beat:
        """As it stands now."""
        shared = self.shared
        age = max(0.0, time.monotonic() - shared.at)
        return Beat(age, shared.limit, shared.session.decode(errors="replace"), shared.doing.decode(errors="replace"))
