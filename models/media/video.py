"""Open a video file that nobody vouches for: allowed containers and decoders, the first frame's size held, no other
file or address opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from models.errors import MediaError
from models.media.formats import DECODERS, MAX_SIDE, clip_demuxer

MAX_FRAME_PIXELS = 4096 * 2304
MAX_STREAMS = 16
SMALL_PIXELS = 300_000  # decoders align their buffers, by some 50,000 pixels for a small picture

Source = str | Path | bytes | IO[bytes]
UNREADABLE = "this is not a clip that can be read ({}); send an MP4 or WebM"


@dataclass(frozen=True)
class Video:
    """An opened clip: `frames` yields decoded frames in the order they are shown."""

    container: InputContainer
    stream: VideoStream

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame."""
        return self.stream.width, self.stream.height

    @property
    def fps(self) -> float:
        """Frames a second as the file says; 25 where it does not, or says nonsense."""
        fps = float(self.stream.average_rate or self.stream.guessed_rate or Fraction(0))
        return fps if 0.1 <= fps <= 1000 else 25.0

    @property
    def seconds(self) -> float | None:
        """The length as the file says; None where it does not."""
        duration = self.container.duration
        return duration / av.time_base if duration is not None and duration > 0 else None

    def frames(self) -> Iterator[av.VideoFrame]:
        """Raises MediaError for a frame that is broken, or larger than the first."""
        width, height = self.size
        try:
            for frame in self.container.decode(self.stream):
                if frame.width * frame.height > width * height:
                    raise MediaError(
                        f"the clip's pictures grow from {width}x{height} to {frame.width}x{frame.height}; "
                        "send one whose size stays",
                        code="clip_too_large",
                    )
                yield frame
        except av.FFmpegError as error:
            raise MediaError("a frame of the clip is broken, or larger than the first") from error

    def seek(self, seconds: float) -> None:
        """Continue at the last keyframe before this time; a file that cannot be sought in stays where it is."""
        try:
            self.container.seek(int(seconds * av.time_base))
        except av.FFmpegError:
            return


@contextmanager
def open_video(source: Source) -> Iterator[Video]:
    """Its first video track. Raises MediaError.

    FFmpeg gets the bytes, never a path, one demuxer by name, and may open no protocol. `max_pixels` makes a decoder
    refuse a much larger frame from its header, before anything is allocated for it.
    """
    with _opened(source) as stream:
        head = stream.read(12)
        stream.seek(0)
        options = {
            "protocol_whitelist": "none",
            "codec_whitelist": ",".join(DECODERS),
            "max_streams": str(MAX_STREAMS),
            "max_pixels": str(MAX_FRAME_PIXELS),
        }
        try:
            container = av.open(stream, mode="r", format=clip_demuxer(head), options=options)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(UNREADABLE.format(_words(error))) from error
        with container:
            yield Video(container, _video_track(container))


def _video_track(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise MediaError("the file has no picture track; send a video, or a picture as an image")
    track = container.streams.video[0]
    context = track.codec_context
    if context is None or context.name not in DECODERS:  # PyAV gives no context where it has no decoder at all
        name = "an unknown codec" if context is None else context.name
        raise MediaError(f"the clip is coded with {name}; send H.264, HEVC, VP8, VP9 or AV1")
    width, height = track.width, track.height
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or width * height > MAX_FRAME_PIXELS:
        if not width or not height:
            raise MediaError("the clip does not say how large its pictures are; convert it to MP4 or WebM")
        raise MediaError(
            f"the clip's pictures are {width}x{height}; at most {MAX_FRAME_PIXELS / 1e6:.1f} million pixels are taken, "
            "scale it down",
            code="clip_too_large",
        )
    context.options = {"max_pixels": str(max(SMALL_PIXELS, 2 * width * height))}
    context.thread_count = 1
    return track


def _opened(source: Source) -> AbstractContextManager[IO[bytes]]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str | Path):
        return nullcontext(source)
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise MediaError(UNREADABLE.format(error.strerror)) from error


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
