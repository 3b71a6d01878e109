"""Encode once, give every viewer the same packets.

A frame is converted once and encoded once for each codec somebody watches with, on a thread of the shared pool; when
the pool is behind, the older frame is dropped before it is encoded. Keyframes are made when a viewer joins or has
lost the picture, one for all who ask at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from .encoders import VideoEncoder, VideoPacket, default_bitrate, picture
from .engine.messages import Pixels
from .metrics import Metrics

log = logging.getLogger("farcast.broadcast")

WAITING = 2  # frames that wait for the encoder; at 16 fps an eighth of a second
STANDSTILL = 0.5  # seconds after which a picture that stands is shown again
PACKETS = 48  # packets that wait for a viewer's socket; three seconds


@dataclass
class Counters:
    """What happened to frames and packets; read by the metrics."""

    frames: int = 0
    late_frames: int = 0
    keyframes: int = 0
    stale_packets: int = 0
    encode_seconds: float = 0.0


class ViewerTrack(MediaStreamTrack):
    """What one viewer's sender reads. Holds back until a keyframe; a viewer that does not read loses what is stale."""

    kind = "video"

    def __init__(self, codec: str, broadcast: Broadcast) -> None:
        super().__init__()
        self.codec = codec
        self.dropped = 0
        self.packets = 0
        self._broadcast = broadcast
        self._queue: deque[VideoPacket] = deque()
        self._arrived = asyncio.Event()
        self._reading = False
        self._needs_keyframe = True

    def offer(self, packet: VideoPacket) -> None:
        """A packet for this viewer; never blocks."""
        if not self._reading:
            return
        if self._needs_keyframe:
            if not packet.is_keyframe:
                return
            self._needs_keyframe = False
        if len(self._queue) >= PACKETS:  # the viewer does not read; what follows a gap is useless without a keyframe
            self.dropped += len(self._queue) + 1
            self._broadcast.stale(len(self._queue) + 1)
            self._queue.clear()
            self._needs_keyframe = not packet.is_keyframe
            if self._needs_keyframe:
                self.lost_picture()
                return
        self._queue.append(packet)
        self._arrived.set()

    def lost_picture(self) -> None:
        """The viewer needs a keyframe."""
        self._broadcast.request_keyframe(self.codec)

    async def recv(self) -> VideoPacket:
        """The next packet; the first one is a keyframe."""
        if not self._reading:
            self._reading = True
            self._broadcast.joined(self)
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._arrived.clear()
            await self._arrived.wait()
        self.packets += 1
        return self._queue.popleft()

    def stop(self) -> None:
        super().stop()
        self._broadcast.remove(self)
        self._arrived.set()


@dataclass
class _Frame:
    pixels: Pixels
    ticks: int


@dataclass
class Broadcast:
    """Encoders and viewers of one session. `repeat` gives a media time for showing the last frame once more."""

    width: int
    height: int
    fps: float
    executor: Executor
    repeat: Callable[[], int]
    on_packet: Callable[[str, VideoPacket], None] | None = None
    counters: Counters = field(default_factory=Counters)
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        self._tracks: set[ViewerTrack] = set()
        self._encoders: dict[str, VideoEncoder] = {}
        self._wanted: set[str] = set()  # codecs that owe a keyframe
        self._waiting: deque[_Frame] = deque()
        self._last: Pixels | None = None
        self._shown_at = 0.0
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._still: asyncio.TimerHandle | None = None

    @property
    def watching(self) -> int:
        """Viewers that have begun to read."""
        return len(self._tracks)

    def stale(self, count: int) -> None:
        """So many packets were dropped for a viewer that does not read."""
        self.counters.stale_packets += count
        if self.metrics is not None:
            self.metrics.stale_packets.inc(count)

    def track(self, codec: str) -> ViewerTrack:
        """A source for one more viewer."""
        return ViewerTrack(codec, self)

    def joined(self, track: ViewerTrack) -> None:
        self._tracks.add(track)
        self.request_keyframe(track.codec)

    def remove(self, track: ViewerTrack) -> None:
        self._tracks.discard(track)
        if not any(t.codec == track.codec for t in self._tracks):
            self._wanted.discard(track.codec)

    def request_keyframe(self, codec: str) -> None:
        """Coalesced: the next frame is a keyframe, and if none is under way the last one is shown again."""
        self._wanted.add(codec)
        if self._last is None or self._waiting:
            return
        if time.monotonic() - self._shown_at > 1.5 / self.fps:
            self.show(self._last, self.repeat())
        else:  # the next frame is due at any moment; should the picture stand just now, it is shown again all the same
            self._stand_still()

    def show(self, pixels: Pixels, ticks: int) -> None:
        """A frame leaves for the viewers. Never blocks; costs nothing while nobody watches."""
        self._last, self._shown_at = pixels, time.monotonic()
        if not self._tracks:
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.counters.late_frames += 1
            if self.metrics is not None:
                self.metrics.dropped_frames.labels("late").inc()
        self._waiting.append(_Frame(pixels, ticks))
        self._work.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
        if self._still is not None:
            self._still.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._work.clear()
                self._stand_still()
                await self._work.wait()
            frame = self._waiting.popleft()
            codecs = {track.codec for track in self._tracks}
            for gone in set(self._encoders) - codecs:
                del self._encoders[gone]
            keys = {codec for codec in codecs if codec in self._wanted or codec not in self._encoders}
            self._wanted -= keys
            try:
                packets = await loop.run_in_executor(self.executor, self._encode, frame, codecs, keys)
            except av.error.FFmpegError:
                log.exception("a frame could not be encoded")
                self._encoders.clear()
                continue
            for codec, packet in packets.items():
                for track in list(self._tracks):
                    if track.codec == codec:
                        track.offer(packet)
                if self.on_packet is not None:
                    self.on_packet(codec, packet)

    def _stand_still(self) -> None:
        """While the picture stands, it is shown again now and then: a receiver often gives out a frame only when the
        next one comes, and goes on reporting only while something does."""

        def again() -> None:
            if self._tracks and self._last is not None and time.monotonic() - self._shown_at > 0.9 * STANDSTILL:
                self.show(self._last, self.repeat())

        if self._still is not None:
            self._still.cancel()
        self._still = asyncio.get_running_loop().call_later(STANDSTILL, again)

    def _encode(self, frame: _Frame, codecs: set[str], keys: set[str]) -> dict[str, VideoPacket]:
        """On a thread of the pool; the only user of the encoders while it runs."""
        began = time.perf_counter()
        image = picture(frame.pixels)
        packets = {}
        for codec in codecs:
            if codec not in self._encoders:
                bitrate = default_bitrate(self.width, self.height, self.fps)
                self._encoders[codec] = VideoEncoder(codec, self.width, self.height, self.fps, bitrate)
            packet = self._encoders[codec].encode(image, frame.ticks, keyframe=codec in keys)
            if packet is not None:
                packets[codec] = packet
        self.counters.frames += 1
        self.counters.keyframes += len(keys)
        took = time.perf_counter() - began
        self.counters.encode_seconds += took
        if self.metrics is not None:
            self.metrics.encode.inc(took)
        return packets
