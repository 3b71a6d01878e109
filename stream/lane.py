"""One encoding of a session's frames: what waits for it, its encoder, who hears of its packets.

Every encoding has a lane of its own, so that a slow codec never holds up another; the colours of a frame are
converted once for all of them. When the lane is behind, the older frame is dropped before it is encoded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from .encoders import VideoEncoder, VideoPacket, picture
from .engine.messages import Pixels
from .metrics import Metrics

log = logging.getLogger("farcast.broadcast")

WAITING = 2  # frames that wait for the encoder; at 16 fps an eighth of a second


@dataclass
class Counters:
    """What happened to frames and packets; read by the metrics. A frame counts once for each encoding."""

    frames: int = 0
    late_frames: int = 0
    keyframes: int = 0
    stale_packets: int = 0
    encode_seconds: float = 0.0


class Frame:
    """A frame on its way to one or more lanes."""

    def __init__(self, pixels: Pixels, ticks: int) -> None:
        self.ticks = ticks
        self._pixels = pixels
        self._planes: NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def picture(self) -> av.VideoFrame:
        """For one encoder; converted by whichever asks first. Its planes are shared, its time and type are not."""
        with self._lock:
            if self._planes is None:
                self._planes = np.ascontiguousarray(picture(self._pixels).to_ndarray())
        return av.VideoFrame.from_numpy_buffer(self._planes, "yuv420p")


class Lane:
    """`on_packet` hears of every packet, on the event loop; `on_idle` when nothing is left to encode."""

    def __init__(
        self,
        codec: str,
        make: Callable[[], VideoEncoder],
        executor: Executor,
        counters: Counters,
        metrics: Metrics | None,
        *,
        on_packet: Callable[[VideoPacket], None],
        on_idle: Callable[[], None],
    ) -> None:
        self.codec = codec
        self.wants_keyframe = True
        self.encoder: VideoEncoder | None = None
        self._make, self._executor, self._counters, self._metrics = make, executor, counters, metrics
        self._on_packet, self._on_idle = on_packet, on_idle
        self._waiting: deque[Frame] = deque()
        self._work = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"encode {codec}")

    @property
    def waits(self) -> bool:
        """Whether frames wait for the encoder."""
        return bool(self._waiting)

    def push(self, frame: Frame) -> None:
        """Never blocks."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._counters.late_frames += 1
            if self._metrics is not None:
                self._metrics.dropped_frames.labels("late").inc()
        self._waiting.append(frame)
        self._work.set()

    def close(self) -> asyncio.Task[None]:
        """Encode no more; the task that ends."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._work.clear()
                self._on_idle()
                await self._work.wait()
            frame = self._waiting.popleft()
            keyframe, self.wants_keyframe = self.wants_keyframe or self.encoder is None, False
            try:
                packet = await loop.run_in_executor(self._executor, self._encode, frame, keyframe)
            except av.error.FFmpegError:
                log.exception("a frame could not be encoded")
                self.encoder = None
                continue
            if packet is not None:
                self._on_packet(packet)

    def _encode(self, frame: Frame, keyframe: bool) -> VideoPacket | None:
        """On a thread of the pool; the only user of the encoder while it runs."""
        began = time.perf_counter()
        image = frame.picture()
        if self.encoder is None:
            self.encoder = self._make()
        packet = self.encoder.encode(image, frame.ticks, keyframe=keyframe)
        took = time.perf_counter() - began
        self._counters.frames += 1
        self._counters.keyframes += keyframe
        self._counters.encode_seconds += took
        if self._metrics is not None:
            self._metrics.encode.inc(took)
        return packet
