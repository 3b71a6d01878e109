"""Frames into an MP4 file, with the times they were shown at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from ..errors import MediaFailed
from .frames import Frame

_CLOCK = Fraction(1, 90_000)


class Recorder:
    """Writes H.264. Synchronous: call it in a thread. `frames` counts what is in the file, `seconds` its length."""

    def __init__(self, path: str | Path, *, fps: float, bitrate: int | None = None) -> None:
        self.path = Path(path).expanduser()
        self.frames = 0
        self.seconds = 0.0
        self._fps = fps
        self._bitrate = bitrate
        self._first: float | None = None
        self._last = -1
        self._stream: VideoStream | None = None
        try:
            self.path.open("wb").close()  # the container writes only with the first frame; say it now
            self._file = av.open(str(self.path), "w", format="mp4", options={"movflags": "+faststart"})
        except (OSError, av.FFmpegError) as error:
            raise MediaFailed(f"{self.path} cannot be written: {getattr(error, 'strerror', None) or error}.") from None

    def write(self, frame: Frame) -> None:
        """Append one frame at its media time. A clock that jumps (after a reconnect) continues from the last frame."""
        height, width = frame.image.shape[:2]
        if self._stream is None:
            self._stream = self._open_stream(width - width % 2, height - height % 2)  # 4:2:0 wants even sizes
        step = round(90_000 / self._fps)
        if self._first is None:
            self._first = frame.pts
        at = round((frame.pts - self._first) * 90_000)
        if not self._last < at <= self._last + 90_000 * 5:
            at = self._last + step
            self._first = frame.pts - at / 90_000
        self._last = at
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        picture = picture.reformat(self._stream.width, self._stream.height, "yuv420p")
        picture.pts, picture.time_base = at, _CLOCK
        self._mux(picture)
        self.frames += 1
        self.seconds = (at + step) / 90_000

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._mux(None)
        self._file.close()

    def _open_stream(self, width: int, height: int) -> VideoStream:
        stream = self._file.add_stream("libx264", rate=Fraction(self._fps).limit_denominator(1001))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _CLOCK
        stream.options = {"preset": "veryfast", "crf": "18"}
        if self._bitrate is not None:
            stream.bit_rate = self._bitrate
        return stream

    def _mux(self, picture: av.VideoFrame | None) -> None:
        assert self._stream is not None
        try:
            for packet in self._stream.encode(picture):
                self._file.mux(packet)
        except (OSError, av.FFmpegError) as error:
            raise MediaFailed(f"{self.path} cannot be written: {error}. Is the disk full?") from None
