"""One encoding of a session's frames: its queue, its encoder, its task.

Every encoding has its own queue and task, so that a slow codec never holds up another. The colours of a frame are
converted once for all of them. When the queue is full, the oldest frame is dropped before it is encoded.
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

from stream.metrics import Metrics
from stream.types import Pixels

from . import bitrate
from .bitrate import Limits
from .encoder import VideoEncoder, VideoPacket, picture

log = logging.getLogger("farcast.broadcast")

LOST_PAUSE = 0.5  # seconds between two keyframes for viewers who lost the picture; each costs all the others bits
WAITING = 2  # frames that wait for the encoder while somebody watches; at 16 fps an eighth of a second
PATIENT = 32  # the same for a recording alone, which has time


@dataclass
class Counters:
    """What happened to frames and packets; read by the metrics. A frame counts once for each encoding."""

    frames: int = 0
    late_frames: int = 0
    keyframes: int = 0
    stale_packets: int = 0
    rebuilds: int = 0  # encoders made anew for another rate
    encode_seconds: float = 0.0


class SharedFrame:
    """A frame in the queues of one or more encodings."""

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


class Encoding:
    """`on_packet` is called with every packet, on the event loop; `on_idle` when nothing is left to encode.

    `rate`: bits per second it is meant to have; may be set at any time and takes effect with a coming frame.
    `background`: encodes what has time, for a recording that nobody watches along with.
    """

    def __init__(
        self,
        codec: str,
        make: Callable[[float, float], VideoEncoder],
        executor: Executor,
        background: Executor,
        counters: Counters,
        metrics: Metrics | None,
        *,
        name: str,
        fps: float,
        limits: Limits,
        on_packet: Callable[[VideoPacket], None],
        on_idle: Callable[[], None],
    ) -> None:
        self.codec, self.name = codec, name
        self.rate = limits.ceiling
        self.half_rate = False  # every second frame only
        self.encoder: VideoEncoder | None = None
        self.idle = asyncio.Event()  # nothing waits and nothing is being encoded
        self.idle.set()
        self._make, self._counters, self._metrics = make, counters, metrics
        self._executor, self._background, self._patient = executor, background, False
        self._fps, self._limits = fps, limits
        self._on_packet, self._on_idle = on_packet, on_idle
        self._wants_keyframe = True
        self._lost = False  # somebody lost the picture; a keyframe is due as soon as the last one is old enough
        self._keyframe_at = self._made_at = float("-inf")
        self._skip = False
        self._waiting: deque[SharedFrame] = deque()
        self._work = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"encode {codec} {name}")

    @property
    def waits(self) -> bool:
        """Whether frames wait for the encoder."""
        return bool(self._waiting)

    def want_keyframe(self, *, lost: bool = False) -> None:
        """The next frame is one; or, for one who `lost` the picture, a frame soon."""
        if lost:
            self._lost = True
        else:
            self._wants_keyframe = True

    def push(self, frame: SharedFrame, *, patient: bool = False) -> None:
        """Never blocks. `patient`: nobody watches."""
        self._patient = patient
        self.half_rate = self.name == "low" and bitrate.at_half_rate(self.rate, self._limits, self.half_rate)
        self._skip = self.half_rate and not self._skip
        if self._skip and not self._wants_keyframe:
            return
        while len(self._waiting) >= (PATIENT if patient else WAITING):
            self._waiting.popleft()
            self._counters.late_frames += 1
            if self._metrics is not None:
                self._metrics.dropped_frames.labels("late").inc()
        self._waiting.append(frame)
        self.idle.clear()
        self._work.set()

    def close(self) -> asyncio.Task[None]:
        """Encode no more; the task that ends."""
        self.idle.set()
        self._waiting.clear()
        self._task.cancel()
        self._task.add_done_callback(self._free)
        return self._task

    def _free(self, task: asyncio.Task[None]) -> None:
        self.encoder = None  # its buffers go now, not with the next collection of cycles

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._work.clear()
                self.idle.set()
                self._on_idle()
                await self._work.wait()
            frame = self._waiting.popleft()
            executor = self._background if self._patient else self._executor
            try:
                packet = await loop.run_in_executor(executor, self._encode, frame, self._keyframe_due())
            except av.error.FFmpegError:
                log.exception("a frame could not be encoded")
                self.encoder = None
                continue
            if packet is not None:
                self._on_packet(packet)

    def _keyframe_due(self) -> bool:
        now = time.monotonic()
        self._follow_rate(now)
        due = self._wants_keyframe or self.encoder is None
        due = due or (self._lost and now - self._keyframe_at >= LOST_PAUSE)
        if due:
            self._wants_keyframe = self._lost = False
            self._keyframe_at = now
        return due

    def _follow_rate(self, now: float) -> None:
        """Nothing runs on the encoder now. It goes on at the new rate, or it is given up where that takes a new one
        and the change is worth its keyframe."""
        encoder, fps = self.encoder, self._fps / 2 if self.half_rate else self._fps
        if encoder is None:
            return
        since = now - self._made_at
        if fps != encoder.fps:
            anew = since >= bitrate.DOWN_PAUSE
        elif abs(self.rate - encoder.bitrate) <= bitrate.TRIM * encoder.bitrate or encoder.set_bitrate(int(self.rate)):
            anew = False
        else:
            anew = bitrate.worth_rebuilding(encoder.bitrate, self.rate, since)
        if anew:
            self._rebuild()

    def _rebuild(self) -> None:
        self.encoder = None
        self._counters.rebuilds += 1
        if self._metrics is not None:
            self._metrics.encoder_rebuilds.inc()

    def _encode(self, frame: SharedFrame, keyframe: bool) -> VideoPacket | None:
        """On a thread of the pool; the only user of the encoder while it runs."""
        began = time.perf_counter()
        image = frame.picture()
        if self.encoder is None:
            self.encoder = self._make(self.rate, self._fps / 2 if self.half_rate else self._fps)
            self._made_at = time.monotonic()
        packet = self.encoder.encode(image, frame.ticks, keyframe=keyframe)
        took = time.perf_counter() - began
        self._counters.frames += 1
        self._counters.keyframes += keyframe
        self._counters.encode_seconds += took
        if self._metrics is not None:
            self._metrics.encoded(self.codec, self.name, took, packet.size if packet is not None else 0, keyframe)
        return packet
