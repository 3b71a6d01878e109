"""The MP4 that a recording leaves: sizes, times, clocks that jump, places that cannot be written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from farcast import Frame, MediaFailed
from farcast.media.recorder import Recorder


def frame(n: int, pts: float, size: tuple[int, int] = (64, 96)) -> Frame:
    image = np.full((*size, 3), (n * 20) % 255, np.uint8)
    return Frame(image, pts, n, 0.0)


def times(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [float(picture.pts * picture.time_base) for picture in file.decode(video=0)]


def test_frames_keep_their_times(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mp4", fps=16)
    for n in range(8):
        recorder.write(frame(n, 100 + n / 16))
    recorder.close()
    assert times(recorder.path) == pytest.approx([n / 16 for n in range(8)], abs=1e-3)
    assert (recorder.frames, recorder.seconds) == (8, pytest.approx(0.5))
    with av.open(str(recorder.path)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.name) == (96, 64, "h264")


def test_a_clock_that_jumps_goes_on(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mp4", fps=10)
    for n, pts in enumerate((50.0, 50.1, 7.0, 7.1, 9000.0, 9000.2)):
        recorder.write(frame(n, pts))
    recorder.close()
    assert times(recorder.path) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.6], abs=1e-3)


def test_odd_sizes_lose_a_line(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.mp4", fps=16)
    recorder.write(frame(0, 0.0, (65, 97)))
    recorder.close()
    with av.open(str(recorder.path)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (96, 64)


def test_nowhere_to_write() -> None:
    with pytest.raises(MediaFailed, match="cannot be written"):
        Recorder("/no/such/folder/a.mp4", fps=16)


def test_an_empty_recording_is_no_crash(tmp_path: Path) -> None:
    Recorder(tmp_path / "a.mp4", fps=16).close()
