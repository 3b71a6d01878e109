"""Clients of the sessions under faults: what each of them was sent, and when its picture moved."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import farcast
from farcast.events import Chunk, DeadlineMissed, Disconnected, Error, Reconnected, Session, Underrun

RECONNECT_S = 120.0  # a client waits longer than a server takes to come back
PROMPTS = (
    "a red circle bouncing on a navy background",
    "a blue star spinning on a cream background",
    "a green square drifting on a white background",
)


@dataclass
class Seen:
    """Of one client since the round began. Times are monotonic seconds.

    chunks: (time, index) of every chunk event; told: what said that something is wrong; closed: reasons for which a
    socket broke.
    """

    chunks: list[tuple[float, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)

    @property
    def longest_still(self) -> float:
        """Seconds that the picture stood still at most; 0 for a client without frames."""
        return max((b - a for a, b in zip(self.frames, self.frames[1:], strict=False)), default=0.0)


class Client:
    """One session and its owner's client. It watches, as an unwatched session is paused; `show`: it reads the frames.

    lost: why the session is over, "" while it is not. newest: the index of the newest chunk it was told of.
    """

    def __init__(self, url: str, number: int, *, seed: int, steps: int, show: bool) -> None:
        self.url, self.number, self.seed, self.steps, self.show = url, number, seed, steps, show
        self.prompt = PROMPTS[number % len(PROMPTS)]
        self.seen, self.newest, self.lost, self.id, self.token = Seen(), -1, "", "", ""
        self.live: farcast.Live | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the session. Raises farcast.FarcastError."""
        dial = farcast.Dial(steps=self.steps)
        connection = farcast.connect(
            self.url, prompt=self.prompt, seed=self.seed, dial=dial, reconnect_timeout=RECONNECT_S
        )
        self.live = await self._stack.enter_async_context(connection)
        self.id, self.token = self.live.id, self.live.token or ""
        self._tasks.append(asyncio.create_task(self._events(self.live)))
        if self.show:
            self._tasks.append(asyncio.create_task(self._frames(self.live)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(farcast.FarcastError):
            await self._stack.aclose()

    def begin_round(self) -> None:
        last = self.seen.frames[-1:]
        self.seen = Seen(frames=last)

    async def moved(self, since: float, beyond: int, timeout: float) -> float | None:
        """Seconds from `since` until a chunk beyond this index came; None when none came in time."""
        while time.monotonic() - since < timeout and not self.lost:
            found = next((at for at, index in self.seen.chunks if index > beyond and at > since), None)
            if found is not None:
                return found - since
            await asyncio.sleep(0.02)
        return None

    async def shows(self, since: float, timeout: float) -> bool:
        """Whether a frame came after `since` (in time), for a client that reads frames; True for another one."""
        while self.show and not self.lost and not (self.seen.frames and self.seen.frames[-1] > since):
            if time.monotonic() - since > timeout:
                return False
            await asyncio.sleep(0.02)
        return True

    async def score(self) -> dict[str, Any]:
        """The session's score. Raises farcast.FarcastError."""
        assert self.live is not None
        return await self.live.score()

    async def _events(self, live: farcast.Live) -> None:
        try:
            async for event in live.events():
                self._on_event(event)
            self.lost = self.lost or "its events ended"
        except farcast.FarcastError as error:
            self.lost = self.lost or str(error) or type(error).__name__

    def _on_event(self, event: object) -> None:
        match event:
            case Chunk():
                self.seen.chunks.append((time.monotonic(), event.index))
                self.newest = max(self.newest, event.index)
            case Session(state="stopped" | "failed"):
                self.lost = event.reason or event.state
            case Session(state="recovering") | Session(state="paused"):
                self.seen.told.append(f"{event.state}: {event.reason}")
            case Underrun() | DeadlineMissed():
                self.seen.told.append(event.type)
            case Error(fatal=True):
                self.lost = event.message
            case Disconnected():
                self.seen.closed.append(f"{event.part}: {event.reason}")
            case Reconnected():
                pass

    async def _frames(self, live: farcast.Live) -> None:
        with contextlib.suppress(farcast.FarcastError):  # said by the events
            async for _ in live.frames():
                self.seen.frames.append(time.monotonic())
