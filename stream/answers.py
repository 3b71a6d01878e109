"""Every change a user makes is answered exactly once: applied, replaced by a newer one, or refused with a reason.

Changes carry a serial number that rises; what the engine and the screen report is up to which serial they have come.
Bounded: a flood of changes answers the oldest as replaced right away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from farcast.protocol import ServerMessage

LIMIT = 64


class Client(Protocol):
    """One control connection."""

    def send(self, message: ServerMessage) -> None: ...


T = TypeVar("T")


@dataclass(frozen=True)
class Waiting(Generic[T]):
    """A change on its way. `re`: the client's id of it; `at`: when it came (monotonic seconds)."""

    serial: int
    re: str
    value: T
    at: float
    client: Client | None = None


class Ledger(Generic[T]):
    """Changes of one kind that wait for an answer, oldest first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[int, Waiting[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def newest(self) -> Waiting[T] | None:
        return next(reversed(self._waiting.values()), None)

    def add(self, change: Waiting[T]) -> list[Waiting[T]]:
        """Returns those that have to be answered as replaced, for want of room."""
        self._waiting[change.serial] = change
        gone = list(self._waiting)[: max(0, len(self._waiting) - self._limit)]
        return [self._waiting.pop(serial) for serial in gone]

    def peek(self, serial: int) -> Waiting[T] | None:
        return self._waiting.get(serial)

    def take(self, serial: int) -> Waiting[T] | None:
        """This one, if it still waits."""
        return self._waiting.pop(serial, None)

    def up_to(self, serial: int) -> list[Waiting[T]]:
        """All up to and including `serial`, oldest first."""
        return [self._waiting.pop(s) for s in list(self._waiting) if s <= serial]

    def all(self) -> list[Waiting[T]]:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting
