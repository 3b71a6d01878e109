"""Clips that nobody vouches for: what is opened, what is refused, and that nothing else is touched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import MediaError
from models.media.formats import check_scans
from models.media.read import clip_tail, open_image, read_clip
from tests.support.media_files import PLAYLISTS, clip, growing_clip, many_scans, picture


def tail(data: bytes, **more: Any) -> Any:
    limits = {"seconds": 2.0, "max_bytes": 2**20, "max_frames": 100, **more}
    return clip_tail(data, 16, 16, 16.0, **limits)


@pytest.mark.parametrize(
    ("container", "codec", "pix"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "mpeg4", "yuv420p"),
        ("webm", "libvpx", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("matroska", "libx264", "yuv420p"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_what_people_send_is_read(container: str, codec: str, pix: str) -> None:
    assert tail(clip(container, codec, pix=pix)).shape[1:] == (16, 16, 3)


@pytest.mark.parametrize("name", list(PLAYLISTS))
def test_a_text_that_names_other_files_is_no_clip(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for read in (read_clip, tail):
        with pytest.raises(MediaError, match="no MP4, MOV, WebM, Matroska or GIF"):
            read(PLAYLISTS[name])


def test_a_path_is_opened_by_us_and_not_by_ffmpeg(tmp_path: Path) -> None:
    """`concat:a|b` as a path would be a protocol to FFmpeg; a list in a file with another name would be followed."""
    (tmp_path / "clip.mp4").write_bytes(PLAYLISTS["ffconcat"])
    with pytest.raises(MediaError, match="no MP4"):
        read_clip(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match="clip that can be read"):
        read_clip(f"concat:{tmp_path}/clip.mp4")


@pytest.mark.parametrize("large", [512, 16000])
def test_a_clip_whose_pictures_grow_is_refused_before_they_are_unpacked(large: int) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError, match="larger than the first|grow"):
        tail(growing_clip(large=large))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert peak < 200_000 * (1 if sys.platform == "linux" else 1024)  # one 16000x16000 frame takes 384 MB


def test_limits_on_pixels_frames_and_codecs() -> None:
    with pytest.raises(MediaError, match="over 5 frames"):
        tail(clip(frames=20), max_frames=5)
    assert len(tail(clip(frames=20), max_bytes=3 * 16 * 16 * 3)) == 3
    with pytest.raises(MediaError, match="coded with"):
        tail(clip("matroska", "ffv1"))
    broken = clip().replace(b"avc1", b"zzzz")
    with pytest.raises(MediaError):
        tail(broken)


def test_the_end_of_a_long_clip_is_what_is_used() -> None:
    """Only the last seconds are decoded: the frames' brightness says which they are."""
    frames = tail(clip(frames=24, rate=2), seconds=2.0)
    assert len(frames) <= 32
    assert abs(int(frames[-1].mean()) - 230) < 8


def test_a_jpeg_of_thousands_of_scans_is_refused_unseen() -> None:
    with pytest.raises(MediaError, match="over 100 scans"):
        open_image(many_scans(3000))
    open_image(many_scans(20, 64, 64))
    check_scans(picture("JPEG") + b"\xff\xda\x00\x02" * 500)  # after the picture's end nothing counts (motion photos)
    check_scans(picture("PNG"))


@pytest.mark.parametrize("size", [(8193, 1), (5001, 5000)])
def test_a_picture_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="million pixels") as caught:
        open_image(picture("PNG", *size))
    assert caught.value.code == "image_too_large"
