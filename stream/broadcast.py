"""Encode once, give every viewer the same packets.

A frame is converted once and encoded once for each codec somebody watches with (see `lane`), on a thread of the
shared pool. Keyframes are made when a viewer joins or has lost the picture, one for all who ask at the same time.
The recording taps the encoding it wants: what viewers of that codec get, or one made for it when there are none.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from .encoders import VideoEncoder, VideoPacket, default_bitrate
from .engine.messages import Pixels
from .lane import Counters, Frame, Lane
from .metrics import Metrics

STANDSTILL = 0.5  # seconds after which a picture that stands is shown again
PACKETS = 48  # packets that wait for a viewer's socket; three seconds


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
class Broadcast:
    """Encodings and viewers of one session. `repeat` gives a media time for showing the last frame once more."""

    width: int
    height: int
    fps: float
    executor: Executor
    repeat: Callable[[], int]
    counters: Counters = field(default_factory=Counters)
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        self._tracks: set[ViewerTrack] = set()
        self._taps: dict[str, Callable[[VideoPacket], None]] = {}
        self._lanes: dict[str, Lane] = {}
        self._last: Pixels | None = None
        self._shown_at = 0.0
        self._still: asyncio.TimerHandle | None = None

    @property
    def watching(self) -> int:
        """Viewers that have begun to read."""
        return len(self._tracks)

    @property
    def codecs(self) -> list[str]:
        """What is being encoded."""
        return sorted(self._lanes)

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
        self._close_unused()

    def tap(self, codec: str, on_packet: Callable[[VideoPacket], None]) -> None:
        """From now on also `on_packet` hears of this codec's packets, and there are some even while nobody watches.

        The first one is a keyframe unless viewers have the codec already; then ask with `keyframe_next`.
        """
        assert codec not in self._taps
        self._taps[codec] = on_packet

    def untap(self, codec: str) -> None:
        """Idempotent."""
        self._taps.pop(codec, None)
        self._close_unused()

    def keyframe_next(self, codec: str) -> None:
        """The next frame is a keyframe, whenever it comes."""
        if (lane := self._lanes.get(codec)) is not None:
            lane.wants_keyframe = True

    def request_keyframe(self, codec: str) -> None:
        """Coalesced: the next frame is a keyframe, and if none is under way the last one is shown again."""
        self.keyframe_next(codec)
        lane = self._lanes.get(codec)
        if self._last is None or (lane is not None and lane.waits):
            return
        if time.monotonic() - self._shown_at > 1.5 / self.fps:
            self.show(self._last, self.repeat(), again=True)
        else:  # the next frame is due at any moment; should the picture stand just now, it is shown again all the same
            self._stand_still()

    def show(self, pixels: Pixels, ticks: int, *, again: bool = False) -> None:
        """A frame leaves for the viewers. Never blocks; costs nothing while nobody watches and nothing records.
        `again`: the one that is on screen already; only for eyes."""
        self._last, self._shown_at = pixels, time.monotonic()
        codecs = {track.codec for track in self._tracks}
        if not again:
            codecs |= set(self._taps)
        frame = Frame(pixels, ticks)
        for codec in codecs:
            if codec not in self._lanes:
                self._lanes[codec] = self._open(codec)
            self._lanes[codec].push(frame)

    async def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
        self._taps.clear()
        if self._still is not None:
            self._still.cancel()
        ending = [lane.close() for lane in self._lanes.values()]
        self._lanes.clear()
        await asyncio.gather(*ending, return_exceptions=True)

    def _open(self, codec: str) -> Lane:
        def make() -> VideoEncoder:
            bitrate = default_bitrate(self.width, self.height, self.fps)
            return VideoEncoder(codec, self.width, self.height, self.fps, bitrate)

        def deliver(packet: VideoPacket) -> None:
            for track in list(self._tracks):
                if track.codec == codec:
                    track.offer(packet)
            if (tap := self._taps.get(codec)) is not None:
                tap(packet)

        return Lane(
            codec, make, self.executor, self.counters, self.metrics, on_packet=deliver, on_idle=self._stand_still
        )

    def _close_unused(self) -> None:
        """An encoding that nobody wants any more ends; the next viewer gets a new one."""
        for codec in set(self._lanes) - set(self._taps) - {track.codec for track in self._tracks}:
            self._lanes.pop(codec).close()

    def _stand_still(self) -> None:
        """While the picture stands, it is shown again now and then: a receiver often gives out a frame only when the
        next one comes, and goes on reporting only while something does."""

        def again() -> None:
            if self._tracks and self._last is not None and time.monotonic() - self._shown_at > 0.9 * STANDSTILL:
                self.show(self._last, self.repeat(), again=True)

        if self._still is not None:
            self._still.cancel()
        self._still = asyncio.get_running_loop().call_later(STANDSTILL, again)
