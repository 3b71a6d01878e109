"""MP4 files: made for uploads, and read back."""

from __future__ import annotations

import io

import av
import numpy as np

STEP = 5625  # ticks of a frame at 16 fps


def film(data: bytes) -> list[int]:
    """The times of all frames that decode, in ticks."""
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        return [round(float(frame.pts * frame.time_base) * 90_000) for frame in file.decode(stream)]


def clip(colour: tuple[int, int, int] = (52, 168, 83), seconds: float = 0.8, size: int = 128) -> bytes:
    """A short MP4 in one colour, at 16 frames a second."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=16, options={"preset": "ultrafast"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        picture = np.full((size, size, 3), colour, np.uint8)
        for _ in range(round(seconds * 16)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return out.getvalue()
