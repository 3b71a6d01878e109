"""Changes on their way, each to be answered exactly once. Bounded: in a flood the oldest are given back to be
answered."""

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
class Asked:
    """Who asked. `serial` rises over all changes of a session; `re`: the client's id of it; `at`: monotonic seconds."""

    serial: int
    re: str
    at: float
    client: Client | None = None


@dataclass(frozen=True)
class Waiting(Asked, Generic[T]):
    """A change that waits for its answer."""

    value: T | None = None

    @property
    def wanted(self) -> T:
        assert self.value is not None
        return self.value


class Ledger(Generic[T]):
    """Changes of one kind, oldest first."""

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
