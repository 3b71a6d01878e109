"""H.264 packets into a fragmented MP4 that is complete at every moment: what a crash leaves behind plays."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import OutputContainer

from stream.video.encoder import TIME_BASE

FRAGMENT_MS = 500
FLAGS = "frag_keyframe+empty_moov+default_base_moof+delay_moov"


class _Parts:
    """What the muxer writes, kept until it has written whole boxes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


class Mp4Writer:
    """One thread at a time. `size` counts the bytes in the file: always whole fragments. Raises OSError."""

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self.path = path
        self.size = 0
        self._step = round(TIME_BASE.denominator / fps)
        self._parts = _Parts()
        self._muxer: OutputContainer = av.open(
            self._parts,
            "w",
            format="mp4",
            options={
                "movflags": FLAGS,
                "frag_duration": str(FRAGMENT_MS * 1000),
                "flush_packets": "1",
                "use_editlist": "0",
            },
        )
        self._stream = self._muxer.add_mux_stream(
            "h264", rate=round(fps), width=width, height=height, time_base=TIME_BASE
        )
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes, at: int, *, keyframe: bool) -> None:
        """One frame (Annex B) at `at` ticks; the first one is a keyframe."""
        packet = av.Packet(data)
        packet.stream = self._stream
        packet.time_base = TIME_BASE
        packet.pts = packet.dts = at
        packet.duration = self._step
        packet.is_keyframe = keyframe
        self._muxer.mux(packet)
        self._flush()

    def close(self) -> None:
        """Write the last fragment. The file stays."""
        try:
            self._muxer.close()
            self._flush()
        finally:
            self._file.close()

    def _flush(self) -> None:
        if self._parts.data:
            data, self._parts.data = memoryview(self._parts.data), bytearray()
            while data:
                data = data[self._file.write(data) :]
            self.size = self._file.tell()
