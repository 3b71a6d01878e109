"""A clip written to an MP4 file, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np

from models.errors import FarcastError


class OutputError(FarcastError):
    """The clip cannot be written where it should go."""

    code = "output"


SUFFIXES = (".mp4", ".m4v")


def check_folder(path: Path) -> None:
    """Raises OutputError, before any work is done for a file that cannot be written, or whose name is of another format."""
    if path.suffix.lower() not in SUFFIXES:
        kind = path.suffix or "a name without an ending"
        raise OutputError(f"Clips are written as MP4, not as {kind}. Give -o a name that ends in .mp4.", code="invalid")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist. Make it first, or choose another -o.")


def part_of(path: Path) -> Path:
    """Where a clip is while it is written."""
    return path.with_name(f".{path.name}.part")


class Mp4:
    """A clip being written. Nothing is left behind when it fails: it is renamed into place at the end."""

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self.path = path
        self.part = part_of(path)
        try:
            self._container = av.open(str(self.part), "w", format="mp4", options={"movflags": "faststart"})
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{path} cannot be written: {error}. Choose another -o.") from None
        self._stream = self._container.add_stream("libx264", rate=round(fps))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = {"crf": "16", "preset": "medium"}
        # One thread, so that the same frames give the same file.
        self._stream.codec_context.thread_count = 1

    def write(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """uint8 (n, H, W, 3)."""
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Mp4:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if error is None:
            self.part.replace(self.path)
        else:
            self.part.unlink(missing_ok=True)


def save_mp4(path: str | Path, chunks: Iterable[np.ndarray[Any, np.dtype[np.uint8]]], fps: float) -> None:
    """Write chunks of frames, uint8 (n, H, W, 3) each and all of one size, to an MP4 file. Raises OutputError."""
    path = Path(path)
    check_folder(path)
    rest = iter(chunks)
    first = next(rest, None)
    if first is None:
        raise OutputError("There are no frames to write.")
    with Mp4(path, first.shape[2], first.shape[1], fps) as out:
        out.write(first)
        for chunk in rest:
            out.write(chunk)
