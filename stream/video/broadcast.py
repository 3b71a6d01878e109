"""Encode once, give every viewer the same packets.

A frame is converted once, and encoded once for each encoding somebody watches (`encoding`), on a thread of the shared
pool: a "full" one for each codec, at a rate that its viewers' networks carry, and a "low" one while some of them carry
much less (`bitrate`). Keyframes are made when a viewer joins or has lost the picture, one for all who ask at
the same time. The recording taps the encoding it wants: what viewers of that codec get, or one made for it when there
are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from stream.metrics import Metrics
from stream.types import Pixels
from stream.webrtc.track import PACKETS, ViewerTrack

from . import bitrate
from .encoder import VideoEncoder, VideoPacket
from .encoding import Counters, Encoding, SharedFrame

__all__ = ["PACKETS", "Broadcast", "Counters", "ViewerTrack"]

STANDSTILL = 0.5  # seconds after which a picture that stands is shown again
DUE = 1.5  # frame intervals after which the next frame is not to be waited for
ADAPT = 0.5  # seconds between two looks at what the viewers' networks carry

EncodingKey = tuple[str, str]  # codec; "full" or "low"


@dataclass
class Broadcast:
    """Encodings and viewers of one session. `repeat` gives a media time for showing the last frame once more;
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
        self._tracks: set[ViewerTrack] = set()
        self._taps: dict[str, Callable[[VideoPacket], None]] = {}
        self._encodings: dict[EncodingKey, Encoding] = {}
        self._last: Pixels | None = None
        self._shown_at = self._adapted_at = 0.0
        self._still: asyncio.TimerHandle | None = None

    @property
    def watching(self) -> int:
        """Viewers that have begun to read."""
        return len(self._tracks)

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

    def track(self, codec: str) -> ViewerTrack:
        """A source for one more viewer."""
        return ViewerTrack(codec, self)

    def joined(self, track: ViewerTrack) -> None:
        self._tracks.add(track)
        self.request_keyframe(track.codec, track.encoding)

    def remove(self, track: ViewerTrack) -> None:
        self._tracks.discard(track)
        self._close_unused()

    def subscribe(self, codec: str, on_packet: Callable[[VideoPacket], None]) -> None:
        """From now on also `on_packet` hears of this codec's packets, and there are some even while nobody watches.

        The first one is a keyframe unless viewers have the codec already; then ask with `keyframe_next`. While it is
        tapped, the full encoding keeps its best rate, whatever its viewers' networks carry.
        """
        assert codec not in self._taps
        self._taps[codec] = on_packet

    def unsubscribe(self, codec: str) -> None:
        """Idempotent."""
        self._taps.pop(codec, None)
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

    def show(self, pixels: Pixels, ticks: int, *, again: bool = False) -> None:
        """A frame leaves for the viewers. Never blocks; costs nothing while nobody watches and nothing records.
        `again`: the one that is on screen already; only for eyes."""
        self._last, self._shown_at = pixels, time.monotonic()
        self.adapt(self._shown_at)
        wanted = watched = {(track.codec, track.encoding) for track in self._tracks}
        if not again:
            wanted = watched | {(codec, "full") for codec in self._taps}
        frame = SharedFrame(pixels, ticks)
        for key in wanted:
            self._encoding(key).push(frame, patient=key not in watched)

    def adapt(self, now: float) -> None:
        """Give every viewer the encoding, and every encoding the rate, that the networks carry. Now and then."""
        if now - self._adapted_at < ADAPT:
            return
        self._adapted_at = now
        for codec in {track.codec for track in self._tracks}:
            tracks = {t: t.feedback.rate for t in self._tracks if t.codec == codec}
            low_now = frozenset(t for t in tracks if t.encoding == "low")
            plan = bitrate.plan(tracks, low_now, self.limits, tapped=codec in self._taps)
            for name, rate in (("full", plan.full_rate), ("low", plan.low_rate)):
                if rate is not None:
                    self._encoding((codec, name)).rate = rate
            for track in tracks:
                encoding = "low" if track in plan.low else "full"
                if encoding != track.encoding:
                    track.move(encoding)
        self._close_unused()

    async def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
        self._taps.clear()
        if self._still is not None:
            self._still.cancel()
        ending = [encoding.close() for encoding in self._encodings.values()]
        self._encodings.clear()
        await asyncio.gather(*ending, return_exceptions=True)

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
            for track in list(self._tracks):
                if (track.codec, track.encoding) == key:
                    track.offer(packet)
            if name == "full" and (subscribe := self._taps.get(codec)) is not None:
                subscribe(packet)

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
        wanted = {(track.codec, track.encoding) for track in self._tracks} | {(codec, "full") for codec in self._taps}
        for key in set(self._encodings) - wanted:
            self._encodings.pop(key).close()

    def _stand_still(self) -> None:
        """While the picture stands, it is shown again now and then: a receiver often gives out a frame only when the
        next one comes, and goes on reporting only while something does."""

        def again() -> None:
            if self._tracks and self._last is not None and time.monotonic() - self._shown_at > 0.9 * STANDSTILL:
                self.show(self._last, self.repeat(), again=True)

        if self._still is not None:
            self._still.cancel()
        self._still = asyncio.get_running_loop().call_later(STANDSTILL, again)
