from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models.errors import MediaError
from models.media.read import fit_clip, fit_image, open_image, read_clip


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 200), (64, 64)])
def test_any_mode_and_size_fits(mode: str, size: tuple[int, int]) -> None:
    fitted = fit_image(Image.new(mode, size), 48, 32)
    assert fitted.shape == (32, 48, 3)
    assert fitted.dtype == np.uint8


def test_the_centre_is_kept_and_transparency_is_black() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste(Image.new("RGB", (100, 100), "blue"), (100, 0))
    assert (fit_image(image, 64, 64)[:, 8:-8] == [0, 0, 255]).all()
    clear = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    assert fit_image(clear, 64, 64).max() == 0
    assert fit_image(Image.fromarray(np.full((8, 8), 65535, np.uint16)), 8, 8).min() == 255


def test_exif_turns_the_picture() -> None:
    image = Image.new("RGB", (64, 64), "black")
    image.paste(Image.new("RGB", (64, 32), "white"), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    turned = fit_image(open_image(stream.getvalue()), 64, 64)
    assert turned[:, -8:].min() == 255
    assert turned[:, :8].max() == 0


def bomb() -> bytes:
    """A PNG that says it is 60000x60000 and brings next to nothing."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="million pixels"):
        open_image(bomb())
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "PNG")
    for data in (b"", b"hello", stream.getvalue()[:600]):
        with pytest.raises(MediaError, match="PNG, JPEG or WebP"):
            open_image(data)
    with pytest.raises(MediaError, match="image"):
        open_image(tmp_path / "absent.png")


def clip_file(path: Path, frames: int, fps: int, *, audio: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        if audio:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            return path
        video = container.add_stream("mpeg4", rate=fps)
        video.width, video.height = 64, 48
        for index in range(frames):
            picture = np.full((48, 64, 3), index * 4, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


def test_a_clip_is_read_with_its_rate(tmp_path: Path) -> None:
    frames, fps = read_clip(clip_file(tmp_path / "clip.mp4", 20, 10))
    assert frames.shape == (20, 48, 64, 3)
    assert fps == 10
    short, _ = read_clip((tmp_path / "clip.mp4").read_bytes(), max_seconds=0.5)
    assert len(short) == 5
    fast, fps = read_clip(clip_file(tmp_path / "fast.mp4", 20, 60))
    assert (len(fast), fps) == (10, 30)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    file = clip_file(tmp_path / "clip.mp4", 5, 10)
    (tmp_path / "broken.mp4").write_bytes(file.read_bytes()[:300])
    for data in (b"", b"hello" * 50, tmp_path / "broken.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(MediaError, match="clip"):
            read_clip(data)
    with pytest.raises(MediaError, match="no picture track"):
        read_clip(clip_file(tmp_path / "sound.mov", 0, 0, audio=True))


@pytest.mark.parametrize(
    ("frames", "rate", "expected"), [(1, 16, 1), (4, 16, 1), (5, 16, 5), (16, 16, 13), (60, 30, 29), (5, 4, 17)]
)
def test_clips_are_resampled_in_time_and_cut(frames: int, rate: float, expected: int) -> None:
    clip = np.stack([np.full((10, 20, 3), index, np.uint8) for index in range(frames)])
    fitted = fit_clip(clip, rate, width=8, height=8, fps=16)
    assert fitted.shape == (expected, 8, 8, 3)
    order = fitted[:, 0, 0, 0].astype(int)
    assert (np.diff(order) >= 0).all()
    wanted = np.arange(expected) * rate / 16
    assert np.abs(order - wanted).max() <= 1


def test_bad_clip_arrays_are_refused() -> None:
    for clip, rate, word in (
        (np.zeros((2, 8, 8), np.uint8), 16, "shape"),
        (np.zeros((2, 8, 8, 3)), 16, "uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), 16, "no frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), 0, "above 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), float("inf"), "above 0"),
    ):
        with pytest.raises(MediaError, match=word):
            fit_clip(clip, rate, width=8, height=8, fps=16)
