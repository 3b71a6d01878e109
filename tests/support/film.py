"""MP4 files of recordings, read back by tests."""

from __future__ import annotations

import io

import av

STEP = 5625  # ticks of a frame at 16 fps


def film(data: bytes) -> list[int]:
    """The times of all frames that decode, in ticks."""
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        return [round(float(frame.pts * frame.time_base) * 90_000) for frame in file.decode(stream)]
