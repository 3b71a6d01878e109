"""Users' pictures and clips to the exact frames the model takes. All a file can do wrong becomes a MediaError."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections import deque
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from models.errors import MediaError
from models.media.formats import MAX_SIDE, PICTURES, check_scans
from models.media.video import Source, open_video

MAX_PIXELS = 25_000_000  # a picture over this is refused before it is unpacked; phones make 12 to 25 million
MAX_CLIP_SECONDS = 60.0
MAX_CLIP_FPS = 32.0
MAX_CLIP_PIXELS = 1_000_000
MAX_CLIP_BYTES = 256_000_000


def open_image(source: Source, *, near: tuple[int, int] | None = None) -> Image.Image:
    """Read a picture, unpacked and checked. Raises MediaError.

    `near`: width and height that are wanted; a JPEG much larger than that is unpacked at a fraction of its size.
    """
    try:
        stream = _seekable(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter
            image = Image.open(stream, formats=PICTURES)
        _check_size(*image.size)
        if image.format == "JPEG":
            stream.seek(0)
            check_scans(stream.read())
            stream.seek(0)
            if near is not None:
                image.draft("RGB", (2 * near[0], 2 * near[1]))
        image.load()
    except MediaError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own bound, over ours, checked before we see the size
        raise _too_large("more") from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, struct.error) as error:
        raise MediaError("this is not an image that can be read; send a PNG, JPEG or WebP") from error
    return image


def _seekable(source: Source) -> IO[bytes]:
    if isinstance(source, str | Path):
        return io.BytesIO(Path(source).read_bytes())
    return io.BytesIO(source) if isinstance(source, bytes) else source


def fit_image(image: Image.Image, width: int, height: int) -> np.ndarray:
    """Turn by EXIF, flatten any mode to RGB (transparency over black), crop to the centre: uint8 (height, width, 3)."""
    _check_size(*image.size)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            image = _to_eight_bits(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        image = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError) as error:
        raise MediaError(f"the picture cannot be unpacked ({error}); save it again as PNG or JPEG") from error
    return np.array(image)  # a copy of its own, writable


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.array(image, dtype=np.float64)  # changed in place below: a large picture must not take five times this
    np.nan_to_num(values, copy=False)
    top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max(initial=0.0)))
    np.clip(values, 0.0, top, out=values)
    values *= 255.0 / top
    return Image.fromarray(np.round(values, out=values).astype(np.uint8))


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_large(f"{width}x{height}")


def _too_large(size: str) -> MediaError:
    most = f"at most {MAX_PIXELS // 1_000_000} million pixels, and {MAX_SIDE} on a side, are taken"
    return MediaError(f"the picture's size is {size}; {most}, scale it down", code="image_too_large")


def read_clip(source: Source, *, max_seconds: float = MAX_CLIP_SECONDS) -> tuple[np.ndarray, float]:
    """Read a clip through FFmpeg: uint8 (n, H, W, 3) and its frames a second. Raises MediaError.

    Memory is bounded whatever the file says about itself: at most `max_seconds` are read, of fast clips every second
    or third frame, and pictures are scaled down until all fit in MAX_CLIP_BYTES.
    """
    frames: list[np.ndarray] = []
    with open_video(source) as video:
        width, height = video.size
        stride = math.ceil(video.fps / MAX_CLIP_FPS)
        fps = video.fps / stride
        limit = max(1, round(max_seconds * fps))
        said = video.stream.frames
        expected = min(limit, max(1, said // stride)) if said else limit
        pixels = min(MAX_CLIP_PIXELS, MAX_CLIP_BYTES / 3 / expected)
        scale = min(1.0, (pixels / (width * height)) ** 0.5)
        size = max(1, int(width * scale)), max(1, int(height * scale))
        for index, frame in enumerate(video.frames()):
            if index % stride == 0:
                frames.append(frame.to_ndarray(format="rgb24", width=size[0], height=size[1]))
            if len(frames) >= limit or len(frames) * frames[0].nbytes > MAX_CLIP_BYTES:
                break
    if not frames:
        raise MediaError("the clip has no frames; send one with at least one picture in it")
    return np.stack(frames), fps


def clip_tail(
    source: Source, width: int, height: int, fps: float, *, seconds: float, max_bytes: int, max_frames: int
) -> np.ndarray:
    """The clip's last `seconds`, resampled to `fps` and cropped to the centre: uint8 (n, height, width, 3).

    At most `max_frames` are decoded, and `max_bytes` of the result kept, from its end. Raises MediaError.
    """
    most = max(1, min(int(seconds * fps), max_bytes // (3 * width * height)))
    kept: deque[np.ndarray] = deque(maxlen=most)
    with open_video(source) as video:
        if video.seconds is not None and video.seconds > seconds:
            video.seek(video.seconds - seconds)
        due = None
        for count, frame in enumerate(video.frames(), 1):
            if count > max_frames:
                raise MediaError(
                    f"the clip has over {max_frames} frames to decode; send a shorter one", code="clip_too_large"
                )
            due = (frame.time or 0.0) if due is None else due
            at = frame.time if frame.time is not None else due
            if at + 1e-6 < due:
                continue
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
            repeats = min(most, math.floor((at - due) * fps + 1e-6) + 1)  # slower clips repeat frames
            kept.extend([pixels] * repeats)
            due = max(due + repeats / fps, at)
    if not kept:
        raise MediaError("the clip has no frames; send one with at least one picture in it")
    result = np.empty((len(kept), height, width, 3), np.uint8)
    for index in range(len(result)):
        result[index] = kept.popleft()
    return result


def fit_clip(clip: np.ndarray, clip_fps: float | None, *, width: int, height: int, fps: float) -> np.ndarray:
    """Resample to `fps` (nearest in time), crop to the centre, cut to 1 + 4 k frames: uint8 (n, height, width, 3)."""
    if not isinstance(clip, np.ndarray) or clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
        raise MediaError("a clip is a uint8 array of shape (frames, height, width, 3)")
    if len(clip) == 0:
        raise MediaError("the clip has no frames; send one with at least one picture in it")
    rate = float(fps if clip_fps is None else clip_fps)
    if not np.isfinite(rate) or rate <= 0:
        raise MediaError(f"the clip's frame rate is {clip_fps!r}; it must be above 0")
    count = max(1, int(len(clip) / rate * fps + 1e-6))
    count = 1 + (count - 1) // 4 * 4
    picked = np.minimum((np.arange(count) * (rate / fps) + 0.5).astype(int), len(clip) - 1)
    fitted: dict[int, np.ndarray] = {}
    for index in picked.tolist():
        if index not in fitted:
            fitted[index] = fit_image(Image.fromarray(clip[index]), width, height)
    return np.stack([fitted[index] for index in picked.tolist()])
