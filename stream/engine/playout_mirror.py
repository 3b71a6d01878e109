"""The server's playout queue as the engine process can know it: frames that are made and not shown.

The server's reports say how many frames waited after it had received so many of the engine's messages; messages sent
since then are applied on top. A report that crosses a `DropFrom` on its way is therefore counted right, and an error
lasts no longer than until the next report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .protocol import PlayoutReport

MAX_CHUNKS = 64  # remembered; more than can ever wait


@dataclass(frozen=True)
class _Part:
    chunk: int
    frames: int


class PlayoutMirror:
    """One session's. Times are monotonic seconds, everything else is counted in frames."""

    def __init__(self, session: str, fps: float) -> None:
        self.report = PlayoutReport(session, 0, 0, 0.0, fps, playing=False)
        self.running = True  # False while the session is paused and no frame leaves
        self.sent = 0  # messages that change the queue, so far
        self._unconfirmed: deque[tuple[int, Callable[[float], float]]] = deque()  # (number, effect on the frame count)
        self._parts: deque[_Part] = deque(maxlen=MAX_CHUNKS)  # chunks in the order they are played, newest last

    def on_report(self, report: PlayoutReport) -> None:
        """The server says where its queue stands."""
        self.report = report
        while self._unconfirmed and self._unconfirmed[0][0] <= report.received:
            self._unconfirmed.popleft()

    def on_sent(self, chunk: int, frames: int, *, replaces: bool = False) -> None:
        """A chunk is sent; it `replaces` all that waits, or follows it."""
        if replaces:
            self._parts.clear()
        self._parts.append(_Part(chunk, frames))
        self._apply(lambda left: frames + (0.0 if replaces else left))

    def drop_from(self, chunk: int) -> None:
        """The server is told not to show anything from `chunk` on."""
        gone = 0
        while self._parts and self._parts[-1].chunk >= chunk:
            gone += self._parts.pop().frames
        self._apply(lambda left: max(0.0, left - gone))

    def clear(self) -> None:
        """The server throws its queue away."""
        self._parts.clear()
        self._apply(lambda left: 0.0)

    def frames(self, now: float) -> float:
        """How many wait to be shown. Between two reports they leave by the clock."""
        left = float(self.report.left)
        if self.report.playing and self.running:
            left = max(0.0, left - (now - self.report.at) * self.report.fps)
        for _, change in self._unconfirmed:
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

        margin: frames that will have left before the server receives the order. earliest: no chunk up to this one may
        be taken back. None when no chunk that waits can be.
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

    def _apply(self, change: Callable[[float], float]) -> None:
        self.sent += 1
        self._unconfirmed.append((self.sent, change))
        if len(self._unconfirmed) > MAX_CHUNKS:  # a server that confirms nothing for so long is gone
            self._unconfirmed.popleft()
