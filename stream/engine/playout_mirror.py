"""Frames that are made and not shown, as the engine can know them.

The queue itself is the server's. Its reports say how much was in it when it had heard so many of our messages; what was
sent since then is counted on top. So a report that crosses a cut on its way does no harm, and no error lasts longer
than one report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .protocol import PlayoutReport

CHUNKS = 64  # remembered; more than can ever wait


@dataclass(frozen=True)
class _Part:
    chunk: int
    frames: int


class PlayoutMirror:
    """One session's. Times are monotonic seconds, everything else is counted in frames."""

    def __init__(self, session: str, fps: float) -> None:
        self.report = PlayoutReport(session, 0, 0, 0.0, fps, playing=False)
        self.running = True  # False while the session is held and the picture stands
        self.told = 0  # messages that change the queue, so far
        self._news: deque[tuple[int, Callable[[float], float]]] = deque()  # those the server has not confirmed
        self._parts: deque[_Part] = deque(maxlen=CHUNKS)  # chunks in the order they are played, newest last

    def heard(self, report: PlayoutReport) -> None:
        """The server says where its queue stands."""
        self.report = report
        while self._news and self._news[0][0] <= report.heard:
            self._news.popleft()

    def made(self, chunk: int, frames: int, *, replaces: bool = False) -> None:
        """A chunk is sent; it `replaces` all that waits, or follows it."""
        if replaces:
            self._parts.clear()
        self._parts.append(_Part(chunk, frames))
        self._tell(lambda left: frames + (0.0 if replaces else left))

    def forget(self, chunk: int) -> None:
        """The server is told not to show anything from `chunk` on."""
        gone = 0
        while self._parts and self._parts[-1].chunk >= chunk:
            gone += self._parts.pop().frames
        self._tell(lambda left: max(0.0, left - gone))

    def clear(self) -> None:
        """The server throws its queue away."""
        self._parts.clear()
        self._tell(lambda left: 0.0)

    def frames(self, now: float) -> float:
        """How many wait to be shown. Between two reports they leave by the clock."""
        left = float(self.report.left)
        if self.report.playing and self.running:
            left = max(0.0, left - (now - self.report.at) * self.report.fps)
        for _, change in self._news:
            left = change(left)
        return left

    def rest(self, now: float) -> float:
        """How many of them belong to the chunk on screen."""
        left = self.frames(now)
        for part in reversed(self._parts):
            if left < part.frames:
                break
            left -= part.frames
        return left

    def keep(self, now: float, margin: int, earliest: int = 0) -> tuple[int, float] | None:
        """The last chunk that must be shown, and how many frames there are up to its end, if the rest were taken back.

        margin: frames that will have left before the server hears of it. earliest: no chunk up to this one may be taken
        back. None when no chunk in hand can be.
        """
        left = self.frames(now)
        waiting: list[_Part] = []  # chunks of which nothing is shown yet, newest first
        for part in reversed(self._parts):
            if left < part.frames:
                break
            left -= part.frames
            waiting.append(part)
        while waiting and (left < margin or waiting[-1].chunk <= earliest):
            left += waiting.pop().frames
        return (waiting[-1].chunk - 1, left) if waiting else None

    def _tell(self, change: Callable[[float], float]) -> None:
        self.told += 1
        self._news.append((self.told, change))
        if len(self._news) > CHUNKS:  # a server that confirms nothing for so long is gone
            self._news.popleft()
