"""What a unit of work costs on this device, learnt from what it did cost.

Running quantiles over short windows, one for each kind and key (a key says size, number of sessions, ...) and one for
each kind as a whole. A hiccup moves neither the median nor the 90 % quantile. A lasting change shows as a run of
observations beyond nearly all that came before: then the older ones are forgotten at once. Steps are the most frequent
unit, and what slows a step down (a neighbour, heat) slows the rest too, so every other kind is remembered in units of a
step at its moment: a decode that is seen once in a chunk follows a change as fast as the steps do.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Hashable
from statistics import median

UNIT = "step"
SIZES = {UNIT: 64}  # observations remembered: a handful of chunks
SIZE = 24  # of what happens once a chunk
RUN = 6  # so many in a row beyond what was known are a change, not a hiccup
BEYOND = 0.9  # ... beyond this share of it
LEAST_S, MOST_S = 1e-6, 1e4  # beyond these a clock is broken
MAX_KEYS = 256  # keys come from sizes and counts; a bound all the same


class Window:
    """The last observations of one thing, kept sorted too, with a detector of lasting change."""

    def __init__(self, size: int = SIZE, run: int = RUN) -> None:
        assert run < size
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

    def latest(self, count: int) -> float:
        """Median of the last `count` observations."""
        return median(self.recent[-i] for i in range(1, min(count, len(self.recent)) + 1))

    def scale(self, factor: float) -> None:
        """Everything remembered becomes `factor` times as much."""
        self.recent = deque(value * factor for value in self.recent)
        self.ordered = [value * factor for value in self.ordered]

    def _changed(self) -> bool:
        """True when the last `run` observations all lie beyond nearly all older ones, on one side."""
        older = len(self.recent) - self.run
        if older < 2 * self.run:
            return False
        latest = [self.recent[-i] for i in range(1, self.run + 1)]
        below = bisect_left(self.ordered, min(latest))
        above = len(self.ordered) - bisect_right(self.ordered, max(latest))
        return max(below, above) >= BEYOND * older

    def _forget(self, count: int) -> None:
        for _ in range(count):
            del self.ordered[bisect_left(self.ordered, self.recent.popleft())]


class CostModel:
    """Costs of every kind of unit on one device, shared by the governors of all sessions on it."""

    def __init__(self, *, run: int = RUN) -> None:
        self._run = run
        self._windows: dict[tuple[str, Hashable], Window] = {}
        self._pooled: dict[str, Window] = {}

    def observe(self, kind: str, seconds: float, key: Hashable = ()) -> None:
        """One unit of `kind` took `seconds` on the device. Nonsense (negative, NaN, infinite) is ignored."""
        if not math.isfinite(seconds) or seconds < 0.0:
            return
        seconds = min(max(seconds, LEAST_S), MOST_S)
        if kind == UNIT and UNIT not in self._pooled:  # so far in seconds, from now on in steps
            for window in (*self._windows.values(), *self._pooled.values()):
                window.scale(1.0 / seconds)
        value = seconds / self._unit(kind)
        self._pooled.setdefault(kind, self._window(kind)).add(value)
        if key == ():
            return
        if (kind, key) not in self._windows and len(self._windows) >= MAX_KEYS:
            self._windows.pop(next(iter(self._windows)))
        self._windows.setdefault((kind, key), self._window(kind)).add(value)

    def known(self, kind: str, key: Hashable = ()) -> bool:
        """Whether a unit of this kind and key was ever measured."""
        return (kind, key) in self._windows if key != () else kind in self._pooled

    def quantile(self, kind: str, q: float, key: Hashable = ()) -> float | None:
        """Seconds; falls back from (kind, key) to the kind as a whole; None when the kind was never seen."""
        window = self._find(kind, key)
        return window.quantile(q) * self._unit(kind) if window else None

    def estimate(self, kind: str, q: float, key: Hashable = ()) -> float:
        """As `quantile`, and 0 for what was never seen: a unit that never ran cannot be planned for."""
        return self.quantile(kind, q, key) or 0.0

    def latest(self, kind: str, count: int = 3, key: Hashable = ()) -> float:
        """Median of the last few observations in seconds, 0 when there is none: what it costs at this moment."""
        window = self._find(kind, key)
        return window.latest(count) * self._unit(kind) if window else 0.0

    def _unit(self, kind: str) -> float:
        """Seconds of what `kind` is remembered in: a step of this moment; steps themselves in seconds."""
        steps = self._pooled.get(UNIT)
        return steps.quantile(0.5) if steps and kind != UNIT else 1.0

    def _find(self, kind: str, key: Hashable) -> Window | None:
        return self._windows.get((kind, key)) or self._pooled.get(kind)

    def _window(self, kind: str) -> Window:
        return Window(SIZES.get(kind, SIZE), self._run)
