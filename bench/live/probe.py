"""One session of a real server, watched over WebRTC: when each frame came, how much it differs from the one before, and
what the server said about its chunks."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from dataclasses import dataclass, field

import farcast
import numpy as np
from farcast.events import Chunk, Underrun
from numpy.typing import NDArray

SETTLE_S = 2.0  # after the first frame, in which a session may find its feet
EVERY = 2  # of the picture's rows and columns are compared


@dataclass
class Watched:
    """Times are monotonic seconds. changes: mean absolute difference of a frame to the one before, 0..255."""

    name: str
    fps: float = 16.0
    times: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    chunks: list[tuple[float, Chunk]] = field(default_factory=list)
    underruns: list[float] = field(default_factory=list)
    picture: NDArray[np.int16] | None = None  # the newest, coarse

    @property
    def settled(self) -> float:
        """From when on it is judged."""
        return self.times[0] + SETTLE_S if self.times else math.inf

    @property
    def late_underruns(self) -> int:
        return sum(at > self.settled for at in self.underruns)

    def frame(self, image: NDArray[np.uint8], at: float) -> None:
        """One frame came."""
        coarse = image[::EVERY, ::EVERY].astype(np.int16)
        if self.picture is not None:
            self.times.append(at)
            self.changes.append(distance(coarse, self.picture))
        self.picture = coarse

    def delivered(self) -> float | None:
        """Frames that came to frames that the clock asks for meanwhile; 1 = none is missing."""
        times = [at for at in self.times if at >= self.settled]
        if len(times) < 2:
            return None
        return (len(times) - 1) / max(1, math.floor((times[-1] - times[0]) * self.fps))

    def worst_change(self) -> float | None:
        """The largest difference of a frame to the one before, once settled."""
        return max((c for at, c in zip(self.times, self.changes, strict=True) if at > self.settled), default=None)

    def within(self, start: float, end: float) -> list[Chunk]:
        """Full chunks made in that time."""
        return [chunk for at, chunk in self.chunks if start <= at < end and chunk.index >= 1]

    def factor(self, start: float, end: float) -> float | None:
        """Video made to the time it took to make, waiting for room in the queue not counted."""
        chunks = self.within(max(start, self.settled), end)
        seconds = [chunk.frames / self.fps for chunk in chunks]
        spent = [s / chunk.realtime_factor for s, chunk in zip(seconds, chunks, strict=True)]
        return sum(seconds) / sum(spent) if spent else None

    def steps(self, start: float, end: float) -> float | None:
        chunks = self.within(start, end)
        return statistics.fmean(chunk.steps for chunk in chunks) if chunks else None


def distance(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """Mean absolute difference of two pictures."""
    return float(np.abs(one - other).mean())


async def watch(take: farcast.Live, seen: Watched) -> None:
    """Until the session ends or this is cancelled."""
    seen.fps = take.info.fps
    listening = asyncio.create_task(_listen(take, seen))
    try:
        async for frame in take.frames():
            seen.frame(frame.image, frame.received)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(take: farcast.Live, seen: Watched) -> None:
    async for event in take.events():
        now = time.monotonic()
        if isinstance(event, Chunk):
            seen.chunks.append((now, event))
        elif isinstance(event, Underrun):
            seen.underruns.append(now)
