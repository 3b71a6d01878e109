"""The recording of one session: packets in, on the event loop; a file, on a thread of its own.

The queue between them is bounded. When the disk is so slow that it fills up, what waits is dropped with everything up
to the next keyframe, and counted: the film has a hole there, the stream has not.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import av

from stream.metrics import Metrics
from stream.video.broadcast import Broadcast
from stream.video.encoder import VideoPacket

from .fmp4 import Mp4Writer
from .timeline import Timeline

log = logging.getLogger("farcast.recording")

CODEC = "H264"  # what every player takes in an MP4
QUEUE = 64  # packets that wait for the disk: four seconds
KEYFRAMES = 8.0  # seconds of film between two keyframes, for seeking
AGAIN = 4  # times that a picture which waits for the engine may be shown again; then the film waits too
LAST_FRAMES = 2.0  # seconds that the end waits for frames that are still being encoded


@dataclass(frozen=True)
class Limits:
    """Bounds of one recording."""

    seconds: float
    size: int  # bytes


@dataclass(frozen=True)
class _Sample:
    data: bytes
    at: int  # ticks
    keyframe: bool


class Recording:
    """`ended_at`: clock time, once nothing is added any more; `over_at`: once its session is over, too; `stopped`: why
    it ended before its session did. A subscriber of the broadcast that no network limits."""

    codec, encoding, rate = CODEC, "full", None

    def __init__(self, path: Path, broadcast: Broadcast, executor: Executor, metrics: Metrics, limits: Limits) -> None:
        self.path = path
        self.dropped = 0
        self.stopped: str | None = None
        self.ended_at: float | None = None
        self.over_at: float | None = None
        self.on_complete: Callable[[Recording], None] | None = None  # called once, when its session is over, too
        self._broadcast: Broadcast | None = broadcast  # until the file is complete
        self._executor, self._metrics, self._limits = executor, metrics, limits
        self._picture = (broadcast.width, broadcast.height, broadcast.fps)
        self._timeline = Timeline(broadcast.fps)
        self._queue: deque[_Sample] = deque()
        self._lock = threading.Lock()  # of the queue and of `_writing`
        self._writing = False
        self._written = 0  # bytes of the file once it is complete
        self._broken = False  # the file takes no more
        self._writer: Mp4Writer | None = None
        self._needs_keyframe = True
        self._keyframe_at = 0
        self._shown = -1  # media time of the newest frame that left for the encoder
        self._pause: int | None = None  # the picture stands from after this media time on, as somebody wants it
        self._again = 0  # how often the newest frame was shown again, for viewers
        self._task: asyncio.Task[None] | None = None
        self._coming: deque[int] = deque(maxlen=QUEUE)  # media times of frames that are being encoded
        self._closing: Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        broadcast.subscribe(self)

    @property
    def size(self) -> int:
        """Bytes that may be read now: whole fragments."""
        return self._written if self._writer is None else self._writer.size

    @property
    def frames(self) -> int:
        """Length of the film in frames, with those that still wait for the disk."""
        return self._timeline.frames

    # --- on the event loop

    def offer(self, packet: VideoPacket) -> None:
        """The next packet of the session's H.264 encoding; never blocks."""
        if self.ended_at is not None:
            return
        assert packet.pts is not None
        is_frame = self._arrived(packet.pts)
        if self._needs_keyframe and not packet.is_keyframe:
            return
        self._needs_keyframe = False
        paused = self._pause is not None and packet.pts > self._pause  # frames from before it may still be encoded
        at = self._timeline.place(packet.pts, paused=paused)
        self._again = 0 if is_frame else self._again + 1
        if paused and is_frame:
            self._pause, paused = None, False
        sample = _Sample(bytes(packet), at, bool(packet.is_keyframe))
        with self._lock:
            full = len(self._queue) >= QUEUE
            if full:
                self._drop(len(self._queue) + 1)
                self._queue.clear()
            else:
                self._queue.append(sample)
            idle, self._writing = not self._writing, True
        if idle:
            self._executor.submit(self._write)
        if full:  # what comes next is of use from a keyframe on
            self._needs_keyframe = True
            self._want_keyframe()
        elif sample.keyframe:
            self._keyframe_at = at
        elif at - self._keyframe_at >= KEYFRAMES * 90_000:
            self._keyframe_at = at
            self._want_keyframe()
        if self._timeline.held if paused else self._again >= AGAIN:
            self._needs_keyframe = True  # no more of this still, until the picture moves again
        if at >= self._limits.seconds * 90_000:
            self.stop("time")

    def paused(self) -> None:
        """The picture stands from now on, as somebody wants it."""
        self._pause = self._shown

    def showing(self, ticks: int) -> None:
        """The session is about to show a new frame at this media time."""
        self._shown = ticks
        self._coming.append(ticks)
        if self._needs_keyframe:
            self._want_keyframe()

    def _want_keyframe(self) -> None:
        if self._broadcast is not None:
            self._broadcast.keyframe_next(CODEC)

    def _arrived(self, ticks: int) -> bool:
        """Whether the packet of this media time is a new frame, and not one that is shown again."""
        while self._coming and self._coming[0] < ticks:
            self._coming.popleft()  # dropped before the encoder
        is_frame = bool(self._coming) and self._coming[0] == ticks
        if is_frame:
            self._coming.popleft()
        return is_frame

    def move(self, encoding: str) -> None:
        raise AssertionError("only viewers are moved")

    def stop(self, why: str = "over") -> None:
        """Record no more, though the session goes on."""
        if self.ended_at is None:
            self.stopped = why
            self._metrics.recordings_stopped.labels(why).inc()
            log.info("%s is complete before its session: %s", self.path.name, why)
            self._end()

    def end(self) -> asyncio.Task[None]:
        """The session is over: what is still being encoded gets in, then the file is finished. Idempotent."""
        if self._task is None:
            self.over_at = time.monotonic()
            self._task = asyncio.create_task(self._end_gracefully(), name="end of a recording")
        return self._task

    async def _end_gracefully(self) -> None:
        if self.ended_at is None and self._broadcast is not None:
            await self._broadcast.drained(CODEC, LAST_FRAMES)
            self._end()
        if self._closing is not None:
            await asyncio.wrap_future(self._closing)
        on_complete, self.on_complete = self.on_complete, None
        if on_complete is not None:
            on_complete(self)

    def _end(self) -> None:
        if self.ended_at is None:
            self.ended_at = time.monotonic()
            if self._broadcast is not None:
                self._broadcast.unsubscribe(self)
                self._broadcast = None
            self._closing = self._executor.submit(self._close)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._metrics.recording_dropped.inc(count)

    # --- on the recordings' thread

    def _write(self) -> None:
        """Everything that waits. One call at a time: whoever finds `_writing` unset submits the next."""
        while True:
            with self._lock:
                if not self._queue:
                    self._writing = False
                    return
                sample = self._queue.popleft()
            if self._broken:
                continue
            try:
                self._add(sample)
            except (OSError, av.FFmpegError) as error:
                log.error("%s cannot be written any more: %s", self.path, error)
                self._broken = True
                self._loop.call_soon_threadsafe(self.stop, "disk")

    def _add(self, sample: _Sample) -> None:
        if self._writer is None:
            self._writer = Mp4Writer(self.path, *self._picture)
        before = self._writer.size
        self._writer.write(sample.data, sample.at, keyframe=sample.keyframe)
        self._metrics.recorded_bytes.inc(self._writer.size - before)
        if self._writer.size >= self._limits.size:
            self._loop.call_soon_threadsafe(self.stop, "size")

    def _close(self) -> None:
        self._write()
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, av.FFmpegError) as error:
                log.error("%s cannot be finished: %s", self.path, error)
            self._written, self._writer = self._writer.size, None  # the muxer's buffers go with it
