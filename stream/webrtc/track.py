"""What one viewer's sender reads: the packets of the encoding it is on, beginning with a keyframe."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from stream.video.broadcast import Broadcast
from stream.video.encoder import VideoPacket

from .congestion import RateController, Resends

PACKETS = 48  # packets that wait for a viewer's socket; three seconds
PACE = 2.5  # times the rate at which packets leave for a viewer in trouble, as libwebrtc does
WINDOW = 1.0  # seconds over which what is sent is measured


class Meter:
    """Bits per second over the last second."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._bytes = 0

    def add(self, count: int, now: float) -> None:
        self._sent.append((now, count))
        self._bytes += count
        self._forget(now)

    def rate(self, now: float) -> float:
        self._forget(now)
        return 8 * self._bytes / WINDOW

    def _forget(self, now: float) -> None:
        while self._sent and now - self._sent[0][0] > WINDOW:
            self._bytes -= self._sent.popleft()[1]


class Pacer:
    """Spreads the packets of a frame over time for a viewer in trouble."""

    def __init__(self) -> None:
        self._free = 0.0

    def wait(self, size: int, rate: float, now: float) -> float:
        """Seconds until a packet of `size` bytes may go at `rate` bits per second; it is taken to go then."""
        at = max(now, self._free)
        self._free = at + 8 * size / rate
        return at - now


class ViewerTrack(MediaStreamTrack):
    """A subscriber that holds packets back until a keyframe; a viewer that does not read loses what is stale.

    `encoding`: "full" or "low"; `controller`: what the viewer's network carries.
    """

    kind = "video"

    def __init__(self, codec: str, broadcast: Broadcast) -> None:
        super().__init__()
        self.codec = codec
        self.encoding = "full"
        self.controller = RateController(broadcast.limits)
        self.dropped = 0
        self.packets = 0
        self._broadcast = broadcast
        self._queue: deque[VideoPacket] = deque()
        self._arrived = asyncio.Event()
        self._reading = False
        self._needs_keyframe = True
        self._newest = -1  # media time of the newest packet that was offered and taken
        self._meter = Meter()
        self._pacer = Pacer()
        self._resends = Resends()

    @property
    def rate(self) -> float:
        """Bits per second that the viewer may be sent."""
        return self.controller.rate

    @property
    def sent(self) -> float:
        """Bits per second that left lately."""
        return self._meter.rate(time.monotonic())

    def pause_before(self, size: int) -> float:
        """Seconds to wait before sending a packet of `size` bytes: none while all is well."""
        rate = self.rate
        return self._pacer.wait(size, PACE * rate, time.monotonic()) if rate < self._broadcast.limits.ceiling else 0.0

    def may_resend(self, sequence_number: int) -> bool:
        """Whether a packet that the viewer has lost is sent to it again."""
        return self._resends.allow(sequence_number, self.rate, time.monotonic())

    def offer(self, packet: VideoPacket) -> None:
        """A packet for this viewer; never blocks."""
        if not self._reading:
            return
        if self._needs_keyframe and not packet.is_keyframe:
            return
        ticks = packet.pts or 0
        if ticks <= self._newest:  # the other encoding was ahead: this frame it has had, so it begins with the next
            self._broadcast.request_keyframe(self.codec, self.encoding)
            return
        self._needs_keyframe = False
        if len(self._queue) >= PACKETS:  # the viewer does not read; what follows a gap is useless without a keyframe
            self.dropped += len(self._queue) + 1
            self._broadcast.stale(len(self._queue) + 1)
            self._queue.clear()
            self._needs_keyframe = not packet.is_keyframe
            if self._needs_keyframe:
                self._broadcast.request_keyframe(self.codec, self.encoding, lost=True)
                return
        self._newest = ticks
        self._queue.append(packet)
        self._arrived.set()

    def move(self, encoding: str) -> None:
        """Go on with another encoding of the codec, from its next keyframe."""
        self.encoding = encoding
        self._needs_keyframe = True
        self._broadcast.request_keyframe(self.codec, encoding)

    def lost_picture(self) -> None:
        """The viewer asks for a keyframe."""
        self.controller.lost_picture(self.sent, time.monotonic())
        self._broadcast.request_keyframe(self.codec, self.encoding, lost=True)

    def cut_off(self) -> None:
        """The viewer was cut off for a while and is back. It would ask for a keyframe in the end (Chromium takes three
        seconds to); another kind of receiver is stuck until it has what it lost (aiortc, for up to 128 packets)."""
        self._resends.make_up()
        self._broadcast.request_keyframe(self.codec, self.encoding, lost=True)

    async def recv(self) -> VideoPacket:
        """The next packet; the first one is a keyframe."""
        if not self._reading:
            self._reading = True
            self._broadcast.subscribe(self)
            self._broadcast.request_keyframe(self.codec, self.encoding)
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._arrived.clear()
            await self._arrived.wait()
        self.packets += 1
        packet = self._queue.popleft()
        self._meter.add(packet.size, time.monotonic())
        return packet

    def stop(self) -> None:
        super().stop()
        self._broadcast.unsubscribe(self)
        self._arrived.set()
