"""The playout clock: which frame leaves when.

Pure: no threads, no sleeping, the clock comes in as an argument. Time is counted in ticks of 1/90000 s since the
first frame was due, so at 16 fps frames are exactly 5625 ticks apart and a frame's tick count is its RTP timestamp
and its place on the clock at once. Rules:

- At the nominal rate as long as the engine keeps up. When it does not, the rate follows what it manages, smoothly
  and not below `min_fps`, and recovers smoothly: slow motion instead of stop and go.
- When the queue runs dry the last frame stays on screen; that is one underrun, however long it lasts.
- After a stall (nobody called for a while) the clock is set anew: late frames are neither rushed nor forever late.
- The queue is bounded; when full, the oldest frame that has not left is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TICKS = 90_000  # a second
STALL = 2.0  # frame intervals of lateness after which the clock is set anew
SLEW = 0.015  # largest relative change of the rate from one frame to the next: 16 -> 8 fps in three seconds
MAX_CREDIT = 1.25  # times the nominal rate: more than that says nothing about how soon it will not be enough
EWMA_WEIGHT = 0.4  # weight of the newest chunk in the estimate of what the engine manages
HEADROOM = 0.97  # of that estimate, so that a queue can build up again
KEEPS_UP = 0.98  # of the nominal rate: an engine that manages this keeps up
FULL_RATE_LEAD_S = 0.5  # seconds in hand when a chunk comes, with which there is no need to slow down


@dataclass(frozen=True)
class Due(Generic[T]):
    """A frame that leaves now. `ticks`: its media time; `resumed`: the first one after the queue had run dry."""

    item: T
    ticks: int
    resumed: bool = False

    @property
    def seconds(self) -> float:
        return self.ticks / TICKS


class Playout(Generic[T]):
    """The queue of one session."""

    def __init__(self, fps: float, *, min_fps: float, capacity: int) -> None:
        assert 0 < min_fps <= fps
        assert capacity >= 1
        self.nominal = fps
        self.min_fps = min_fps
        self.capacity = capacity
        self.rate = fps
        self.engine_fps: float | None = None  # frames per second the engine has shown it can make
        self.consumed = 0  # frames that have left the queue, by being shown or dropped
        self.dropped = 0
        self.underruns = 0
        self.late = 0.0  # seconds from when the frame on screen was due to when it left
        self.dry = True  # nothing to show: before the first frame, or after an underrun
        self._queue: deque[T] = deque()
        self._origin: float | None = None  # clock time of tick 0
        self._next = 0  # tick at which the next frame is due
        self._last = -1  # tick of the frame on screen
        self._paused = False
        self._pushes = 0
        self._spare = 0.0  # seconds in hand when the newest chunk came

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def lead(self) -> float:
        """Seconds of video in the queue at the nominal rate."""
        return len(self._queue) / self.nominal

    # --- in

    def push(self, frames: Sequence[T], *, engine_fps: float | None = None) -> int:
        """A chunk from the engine; `engine_fps` = frames per second at which it could go on. Returns how many were
        dropped."""
        if engine_fps is not None:
            engine_fps = min(engine_fps, MAX_CREDIT * self.nominal)
            before = engine_fps if self.engine_fps is None else self.engine_fps
            self.engine_fps = (1 - EWMA_WEIGHT) * before + EWMA_WEIGHT * engine_fps
        self._spare = self.lead
        self._pushes += 1
        self._queue.extend(frames)
        over = max(0, len(self._queue) - self.capacity)
        for _ in range(over):
            self._queue.popleft()
        self.dropped += over
        self.consumed += over
        return over

    def clear(self, unwanted: Callable[[T], bool] | None = None) -> int:
        """Throw away what has not been shown (or only what is `unwanted`); the frame on screen stays. Returns how
        many."""
        kept = [] if unwanted is None else [item for item in self._queue if not unwanted(item)]
        gone = len(self._queue) - len(kept)
        self._queue = deque(kept)
        self.consumed += gone
        return gone

    # --- out

    def due(self) -> float | None:
        """Clock time of the next call of `tick` that does something; None = not before the next `push`."""
        if self._paused or self._origin is None or self.dry:
            return None if self._paused or not self._queue else float("-inf")
        return self._origin + self._next / TICKS

    def tick(self, now: float) -> Due[T] | None:
        """The frame that leaves at `now`, if one is due. Notes an underrun when one is due and there is none."""
        when = self.due()
        if when is None or now < when:
            return None
        if not self._queue:
            self.dry = True
            self.underruns += self._pushes > 1  # the very first chunk is one frame, shown at once: a still, no gap
            return None
        if self._origin is None:
            self._origin = now
        resumed = self.dry
        ticks = self._next
        late = now - self._origin - ticks / TICKS
        self.late = 0.0 if resumed else max(0.0, late)
        if resumed or late * self.rate > STALL:
            # Media time follows the wall clock across a gap, as a receiver expects of a capture clock.
            ticks = max(self._last + 1, round((now - self._origin) * TICKS))
        self.dry = False
        self._slew()
        self._last, self._next = ticks, ticks + round(TICKS / self.rate)
        self.consumed += 1
        return Due(self._queue.popleft(), ticks, resumed)

    def ticks_at(self, now: float) -> int:
        """A media time for `now`, after every frame that has left: for showing the last frame once more."""
        assert self._origin is not None, "nothing has been shown yet"
        self._last = max(self._last + 1, round((now - self._origin) * TICKS))
        self._next = max(self._next, self._last + 1)
        return self._last

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        """Goes on with the frames in the queue, the clock set anew; a pause is no underrun."""
        self._paused = False
        self.dry = True

    def _slew(self) -> None:
        target = self.nominal
        if self.engine_fps is not None and self.engine_fps < KEEPS_UP * self.nominal:
            # From a little below what the engine manages, when nothing is in hand, to the full rate, when much is.
            share = min(1.0, self._spare / FULL_RATE_LEAD_S)
            slow = max(self.min_fps, min(self.nominal, HEADROOM * self.engine_fps))
            target = slow + share * (self.nominal - slow)
        low, high = self.rate * (1 - SLEW), self.rate * (1 + SLEW)
        self.rate = min(max(target, low), high)
