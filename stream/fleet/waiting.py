"""Who waits for a place, fairly: users take turns, and of one user the first who came is first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Waiting:
    user: str
    turn: int  # how many of the same user wait before it
    arrival: int


class FairQueue:
    """At most `limit` wait, of one user at most `each`."""

    def __init__(self, limit: int = 64, each: int = 4) -> None:
        self.limit, self.each = limit, each
        self._waiting: list[Waiting] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, user: str) -> Waiting | None:
        """None where the queue is full, or has enough of this user."""
        turn = Counter(one.user for one in self._waiting)[user]
        if len(self._waiting) >= self.limit or turn >= self.each:
            return None
        self._arrivals += 1
        one = Waiting(user, turn, self._arrivals)
        self._waiting.append(one)
        return one

    def first(self) -> Waiting | None:
        """Whose turn it is."""
        return min(self._waiting, key=lambda one: (one.turn, one.arrival), default=None)

    def leave(self, one: Waiting) -> None:
        """Placed, or tired of waiting."""
        self._waiting.remove(one)
