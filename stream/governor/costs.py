"""What a unit of work costs on this device, learnt from what it did cost.

Running quantiles over a short window, one window for each kind and key (a key says size, number of sessions, ...), and
one pooled window for each kind. A single hiccup moves neither the median nor the 90 % quantile; a lasting change is
noticed after a handful of observations, and then everything older is forgotten at once.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable

WINDOW = 64  # observations remembered: some 16 chunks of 4 steps
RUN = 6  # so many in a row beyond what was known are a change, not a hiccup
MAX_KEYS = 256  # keys come from sizes and counts; a bound all the same


class Window:
    """The last observations of one thing, kept sorted, with a detector of lasting change."""

    def __init__(self, size: int = WINDOW, run: int = RUN) -> None:
        self.size, self.run = size, run
        self.recent: deque[float] = deque()
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self.recent)

    def add(self, value: float) -> None:
        """Take in one observation; forget what came before a lasting change."""
        self.recent.append(value)
        insort(self.ordered, value)
        if len(self.recent) > self.size:
            self._forget(1)
        if self._changed():
            self._forget(len(self.recent) - self.run)

    def quantile(self, q: float) -> float:
        """Linear interpolation between order statistics; the window must not be empty."""
        at = q * (len(self.ordered) - 1)
        below = int(at)
        above = min(below + 1, len(self.ordered) - 1)
        return self.ordered[below] + (at - below) * (self.ordered[above] - self.ordered[below])

    def _changed(self) -> bool:
        """True when the last `run` observations all lie beyond nearly all older ones, on one side."""
        older = len(self.recent) - self.run
        if older < self.run:
            return False
        latest = [self.recent[-i] for i in range(1, self.run + 1)]
        # Positions among all; a new lasting level is above (below) 90 % of what came before it.
        if bisect_left(self.ordered, min(latest)) >= 0.9 * older:
            return True
        return len(self.ordered) - bisect_left(self.ordered, max(latest)) - 1 >= 0.9 * older

    def _forget(self, count: int) -> None:
        for _ in range(count):
            del self.ordered[bisect_left(self.ordered, self.recent.popleft())]


class CostModel:
    """Costs of every kind of unit on one device, shared by the governors of all sessions on it."""

    def __init__(self, *, window: int = WINDOW, run: int = RUN) -> None:
        self._size, self._run = window, run
        self._windows: dict[tuple[str, Hashable], Window] = {}
        self._pooled: dict[str, Window] = {}

    def observe(self, kind: str, seconds: float, key: Hashable = ()) -> None:
        """One unit of `kind` took `seconds` on the device. Nonsense (negative, NaN, infinite) is ignored."""
        if not math.isfinite(seconds) or seconds < 0.0:
            return
        self._pooled.setdefault(kind, Window(self._size, self._run)).add(seconds)
        if key == ():
            return
        if (kind, key) not in self._windows and len(self._windows) >= MAX_KEYS:
            self._windows.pop(next(iter(self._windows)))
        self._windows.setdefault((kind, key), Window(self._size, self._run)).add(seconds)

    def quantile(self, kind: str, q: float, key: Hashable = ()) -> float | None:
        """Seconds; falls back from (kind, key) to the kind as a whole; None when the kind was never seen."""
        window = self._windows.get((kind, key)) or self._pooled.get(kind)
        return window.quantile(q) if window else None

    def estimate(self, kind: str, q: float, key: Hashable = ()) -> float:
        """As `quantile`, and 0 for what was never seen: a unit that never ran cannot be planned for."""
        return self.quantile(kind, q, key) or 0.0
