"""The task around `Playout`: it sleeps until the next frame is due, and hands it on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .playout import Due, Playout

T = TypeVar("T")


class Player(Generic[T]):
    """`on_frame(due, now)` is called with every frame that leaves, `on_underrun()` each time the queue runs dry."""

    def __init__(
        self, playout: Playout[T], *, on_frame: Callable[[Due[T], float], None], on_underrun: Callable[[], None]
    ) -> None:
        self.playout = playout
        self._on_frame = on_frame
        self._on_underrun = on_underrun
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="playout")

    def wake(self) -> None:
        """The queue, or whether it plays, has changed."""
        self._changed.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            due = self.playout.due()
            if due is None:
                await self._changed.wait()
            elif due > now:
                timer = asyncio.get_running_loop().call_later(due - now, self._changed.set)
                await self._changed.wait()
                timer.cancel()
            else:
                self._tick(now)

    def _tick(self, now: float) -> None:
        underruns = self.playout.underruns
        shown = self.playout.tick(now)
        if shown is not None:
            self._on_frame(shown, now)
        elif self.playout.underruns > underruns:
            self._on_underrun()
