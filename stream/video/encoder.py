"""One encoder for one codec, made for live pictures: no look-ahead, keyframes only when asked, rate right at the
frame rate."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from .playout import TICKS

VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

CODECS = ("VP8", "H264")  # in order of preference
TIME_BASE = Fraction(1, TICKS)
KEYFRAME = 300  # percent of a frame's share of the rate: what a VP8 keyframe may weigh, so that it passes a bottleneck


def default_bitrate(width: int, height: int, fps: float) -> int:
    """Bits per second fit for a moving picture of this size: 0.25 bits a pixel, from 300 kbit/s to 4 Mbit/s."""
    return int(min(4_000_000, max(300_000, 0.25 * width * height * fps)))


def picture(pixels: object) -> av.VideoFrame:
    """RGB uint8 (H, W, 3) to the planar frame every encoder takes; the one colour conversion."""
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")  # type: ignore[arg-type]


class VideoEncoder:
    """Not thread-safe: one caller at a time. `ceiling`: the highest rate it may ever be set to."""

    def __init__(
        self, codec: str, width: int, height: int, fps: float, bitrate: int, *, ceiling: int | None = None
    ) -> None:
        assert codec in CODECS
        self.codec = codec
        self.bitrate, self.fps = bitrate, fps
        self._context = _vp8(bitrate) if codec == "VP8" else _h264(max(bitrate, ceiling or 0))
        self._context.width, self._context.height = width, height
        self._context.pix_fmt = "yuv420p"
        self._context.bit_rate = bitrate
        self._context.time_base = TIME_BASE
        self._context.framerate = Fraction(fps).limit_denominator(1001)
        self._context.gop_size = 3000
        # libvpx's threads wait for each other by spinning: at 832x480 on two busy cores, two of them took ten times the
        # processor time of one (56 against 4.5 ms a frame) and longer as well.
        self._context.thread_count = 1 if codec == "VP8" or width * height <= 640 * 480 else 2

    def set_bitrate(self, bitrate: int) -> bool:
        """Go on at another rate without a keyframe. False: this codec cannot, it takes a new encoder."""
        if self.codec == "VP8":
            return False
        self.bitrate = self._context.bit_rate = bitrate  # libx264's wrapper reconfigures itself at the next frame
        return True

    def encode(self, frame: av.VideoFrame, ticks: int, *, keyframe: bool) -> VideoPacket | None:
        """`frame` as from `picture`; `ticks` rise from call to call. None when the rate control drops the frame."""
        frame.pts, frame.time_base = ticks, TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        packets = self._context.encode(frame)
        assert len(packets) <= 1, "a live encoder holds nothing back"
        return packets[0] if packets else None


def _vp8(bitrate: int) -> VideoCodecContext:
    context: VideoCodecContext = av.CodecContext.create("libvpx", "w")
    context.options = {
        "deadline": "realtime",
        "cpu-used": "-6",
        "lag-in-frames": "0",
        "error-resilient": "default",
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "bufsize": str(bitrate),
        "max-intra-rate": str(KEYFRAME),
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "static-thresh": "1",
        "qmin": "2",
        "qmax": "52",
    }
    return context


def _h264(bitrate: int) -> VideoCodecContext:
    context: VideoCodecContext = av.CodecContext.create("libx264", "w")
    context.profile = "Baseline"
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "level": "31",
        "forced-idr": "1",
        "sc_threshold": "0",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // 2),
    }
    return context
