"""Encode once, give every subscriber the same packets.

A frame is converted once, and encoded once for each encoding that somebody reads (`encoding`), on a thread of the
shared pool: a "full" one for each codec, at a rate that its viewers' networks carry, and a "low" one while some of
them carry much less (`bitrate`). Keyframes are made when a viewer joins or has lost the picture, one for all who ask
at the same time. Viewers and the recording are subscribers; another transport would be one more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from stream.metrics import Metrics
from stream.types import Pixels

from . import bitrate
from .encoder import VideoEncoder, VideoPacket
from .encoding import Counters, Encoding, SharedFrame

STANDSTILL = 0.5  # seconds after which a picture that stands is shown again
DUE = 1.5  # frame intervals after which the next frame is not to be waited for
ADAPT = 0.5  # seconds between two looks at what the viewers' networks carry

EncodingKey = tuple[str, str]  # codec; "full" or "low"


class Subscriber(Protocol):
    """Reads the packets of one encoding. Every method is called on the event loop and must not block."""

    def __hash__(self) -> int: ...

    @property
    def codec(self) -> str:
        """VP8 or H264."""
        ...

    @property
    def encoding(self) -> str:
        """`full` or `low`; changes only in `move`."""
        ...

    @property
    def rate(self) -> float | None:
        """Bits per second it can take; None where no network limits it: then nobody is watching through it, it stays
        on the full encoding at its best rate, and is sent no frame a second time."""
        ...

    def offer(self, packet: VideoPacket) -> None:
        """The next packet of its encoding. The first one need not be a keyframe."""
        ...

    def move(self, encoding: str) -> None:
        """From now on it gets the other encoding of its codec."""
        ...

    def stop(self) -> None:
        """The broadcast is over."""
        ...


@dataclass
class Broadcast:
    """Encodings and subscribers of one session. `repeat` gives a media time for showing the last frame once more;
    `background`: where what nobody watches is encoded, for a recording; without it, with the rest."""

    width: int
    height: int
    fps: float
    executor: Executor
    repeat: Callable[[], int]
    counters: Counters = field(default_factory=Counters)
    metrics: Metrics | None = None
    background: Executor | None = None

    def __post_init__(self) -> None:
        self.limits = bitrate.limits(self.width, self.height, self.fps)
        self._subscribers: set[Subscriber] = set()
        self._encodings: dict[EncodingKey, Encoding] = {}
        self._last: Pixels | None = None
        self._shown_at = self._adapted_at = 0.0
        self._still: asyncio.TimerHandle | None = None

    @property
    def watching(self) -> int:
        """Viewers that have begun to read."""
        return len(self._viewers)

    @property
    def codecs(self) -> list[str]:
        """What is being encoded."""
        return sorted({codec for codec, _ in self._encodings})

    @property
    def encodings(self) -> dict[EncodingKey, float]:
        """Every encoding there is now and the bits per second it is meant to have."""
        return {key: encoding.rate for key, encoding in self._encodings.items()}

    def stale(self, count: int) -> None:
        """So many packets were dropped for a viewer that does not read."""
        self.counters.stale_packets += count
        if self.metrics is not None:
            self.metrics.stale_packets.inc(count)

    def subscribe(self, subscriber: Subscriber) -> None:
        """From now on it gets its encoding's packets. One that starts while the encoding runs asks for a keyframe:
        viewers with `request_keyframe`, a recording with `keyframe_next`."""
        self._subscribers.add(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Idempotent. An encoding without a subscriber ends."""
        self._subscribers.discard(subscriber)
        self._close_unused()

    async def drained(self, codec: str, seconds: float) -> None:
        """When the frames that wait for the full encoding are packets, or after so long."""
        encoding = self._encodings.get((codec, "full"))
        if encoding is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(encoding.idle.wait(), seconds)

    def keyframe_next(self, codec: str, name: str = "full") -> None:
        """The next frame is a keyframe, whenever it comes."""
        if (encoding := self._encodings.get((codec, name))) is not None:
            encoding.want_keyframe()

    def request_keyframe(self, codec: str, name: str = "full", *, lost: bool = False) -> None:
        """Coalesced: the next frame is a keyframe, and if none is under way the last one is shown again. `lost`: for
        one who lost the picture, which may have to wait a little so that it does not cost the others."""
        if self.metrics is not None:
            self.metrics.keyframe_requests.labels("lost" if lost else "joined").inc()
        encoding = self._encodings.get((codec, name))
        if encoding is not None:
            encoding.want_keyframe(lost=lost)
        if self._last is None or (encoding is not None and encoding.waits):
            return
        if time.monotonic() - self._shown_at > DUE / self.fps:
            self.show(self._last, self.repeat(), again=True)
        else:  # the next frame is due at any moment; should the picture stand just now, it is shown again all the same
            self._stand_still()

    @property
    def on_screen(self) -> Pixels | None:
        """The frame that was shown last; None before the first."""
        return self._last

    def show(self, pixels: Pixels, ticks: int, *, again: bool = False) -> None:
        """A frame leaves for the viewers. Never blocks; costs nothing while nobody watches and nothing records.
        `again`: the one that is on screen already, for viewers only."""
        self._last, self._shown_at = pixels, time.monotonic()
        self.adapt(self._shown_at)
        watched = {(viewer.codec, viewer.encoding) for viewer in self._viewers}
        wanted = watched if again else self._wanted
        frame = SharedFrame(pixels, ticks)
        for key in wanted:
            self._encoding(key).push(frame, patient=key not in watched)

    def adapt(self, now: float) -> None:
        """Give every viewer the encoding, and every encoding the rate, that the networks carry. Now and then."""
        if now - self._adapted_at < ADAPT:
            return
        self._adapted_at = now
        viewers = self._viewers
        for codec in {viewer.codec for viewer in viewers}:
            rates = {viewer: rate for viewer, rate in viewers.items() if viewer.codec == codec}
            low_now = frozenset(viewer for viewer in rates if viewer.encoding == "low")
            recorded = any(s.codec == codec for s in self._subscribers if s.rate is None)
            plan = bitrate.plan(rates, low_now, self.limits, recorded=recorded)
            for name, rate in (("full", plan.full_rate), ("low", plan.low_rate)):
                if rate is not None:
                    self._encoding((codec, name)).rate = rate
            for viewer in rates:
                encoding = "low" if viewer in plan.low else "full"
                if encoding != viewer.encoding:
                    viewer.move(encoding)
        self._close_unused()

    async def close(self) -> None:
        for subscriber in list(self._subscribers):
            subscriber.stop()
        self._subscribers.clear()
        self._last = None
        if self._still is not None:
            self._still.cancel()
        ending = [encoding.close() for encoding in self._encodings.values()]
        self._encodings.clear()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def _viewers(self) -> dict[Subscriber, float]:
        """Subscribers behind a network, and the bits per second it carries."""
        return {s: rate for s in self._subscribers if (rate := s.rate) is not None}

    @property
    def _wanted(self) -> set[EncodingKey]:
        return {(s.codec, s.encoding) for s in self._subscribers}

    def _encoding(self, key: EncodingKey) -> Encoding:
        if key not in self._encodings:
            self._encodings[key] = self._open(key)
        return self._encodings[key]

    def _open(self, key: EncodingKey) -> Encoding:
        codec, name = key

        def make(rate: float, fps: float) -> VideoEncoder:
            ceiling = int(self.limits.ceiling)
            return VideoEncoder(codec, self.width, self.height, fps, int(rate), ceiling=ceiling)

        def deliver(packet: VideoPacket) -> None:
            for subscriber in list(self._subscribers):
                if (subscriber.codec, subscriber.encoding) == key:
                    subscriber.offer(packet)

        return Encoding(
            codec,
            make,
            self.executor,
            self.background or self.executor,
            self.counters,
            self.metrics,
            name=name,
            fps=self.fps,
            limits=self.limits,
            on_packet=deliver,
            on_idle=self._stand_still,
        )

    def _close_unused(self) -> None:
        """An encoding that nobody wants any more ends; the next viewer gets a new one."""
        for key in set(self._encodings) - self._wanted:
            self._encodings.pop(key).close()

    def _stand_still(self) -> None:
        """While the picture stands, it is shown again now and then: a receiver often gives out a frame only when the
        next one comes, and goes on reporting only while something does."""

        def again() -> None:
            if self._viewers and self._last is not None and time.monotonic() - self._shown_at > 0.9 * STANDSTILL:
                self.show(self._last, self.repeat(), again=True)

        if self._still is not None:
            self._still.cancel()
        self._still = asyncio.get_running_loop().call_later(STANDSTILL, again)
