"""A session's frames on their way out: the playout clock, the encodings, the recording."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import ceil

from stream.engine.protocol import ChunkMade
from stream.video.broadcast import Broadcast
from stream.video.playout import Due, Playout
from stream.video.playout_loop import Player

from .chunk_frames import Frame, frames_of
from .context import ServerContext


class Output:
    """Paused when it is made. `on_frame(due, now)` is called when a frame is due and calls `show`; `on_underrun` when
    there is none. Everything runs on the event loop."""

    def __init__(
        self,
        context: ServerContext,
        session: str,
        tokens: tuple[str, ...],
        *,
        on_frame: Callable[[Due[Frame], float], None],
        on_underrun: Callable[[], None],
    ) -> None:
        facts, config = context.facts, context.config
        self._metrics = context.metrics
        capacity = ceil((config.max_lead + 2 * facts.chunk_seconds) * facts.fps)
        self.playout: Playout[Frame] = Playout(facts.fps, min_fps=min(config.min_fps, facts.fps), capacity=capacity)
        self.playout.pause()
        self._player = Player(self.playout, on_frame=on_frame, on_underrun=on_underrun)
        self.broadcast = Broadcast(
            facts.width,
            facts.height,
            facts.fps,
            context.executor,
            repeat=partial(_ticks_now, self.playout),
            metrics=context.metrics,
            background=context.recordings.encoding,
        )
        self.recording = context.recordings.begin(session, tokens, self.broadcast)

    def push(self, made: ChunkMade, *, after: int) -> bool:
        """Queue the frames of a chunk that come after frame index `after`, in place of the queue where
        `made.replaces_queue`. False when none is left."""
        if made.replaces_queue:
            self._metrics.dropped_frames.labels("prompt").inc(self.playout.clear())
        frames = frames_of(made, after=after)
        if not frames:
            return False
        engine_fps = len(made.frames) / max(made.cycle, 1e-3) if made.chunk else None
        dropped = self.playout.push(frames, engine_fps=engine_fps)
        self._metrics.chunk_made(steps=made.steps, seconds=made.took, late=made.late > 0, dropped=dropped)
        self._player.wake()
        return True

    def drop_from(self, chunk: int) -> None:
        """Frames from this chunk on are not to be shown."""
        gone = self.playout.clear(lambda frame: frame.chunk >= chunk)
        self._metrics.dropped_frames.labels("prompt").inc(gone)

    def show(self, due: Due[Frame]) -> None:
        """This frame leaves for the encoders."""
        if self.recording is not None:
            self.recording.showing(due.ticks)
        self.broadcast.show(due.item.pixels, due.ticks)
        self._metrics.frames.inc()
        self._metrics.frame_lateness.observe(self.playout.late)

    def pause(self, *, by_user: bool) -> None:
        """Show nothing new. `by_user`: the recording is silent about it; otherwise it waits for the next frame."""
        self.playout.pause()
        if by_user and self.recording is not None:
            self.recording.paused()

    def resume(self) -> None:
        self.playout.resume()
        self._player.wake()

    def finish(self) -> None:
        """Show nothing more; the recording is completed in the background."""
        self.playout.pause()
        self.playout.clear()
        if self.recording is not None:
            self.recording.end()

    async def close(self) -> None:
        """Wait until nothing runs any more and the recording is written."""
        await self._player.close()
        if self.recording is not None:
            await self.recording.end()
        await self.broadcast.close()


def _ticks_now(playout: Playout[Frame]) -> int:
    return playout.ticks_at(time.monotonic())
