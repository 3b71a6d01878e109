"""Users' pictures and clips to the exact frames the model takes. All a file can do wrong becomes a MediaError."""

from __future__ import annotations

import io
import math
import warnings
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
from PIL import Image, ImageOps

from models.errors import MediaError

MAX_PIXELS = 64_000_000  # a picture over this is refused before it is unpacked
MAX_CLIP_SECONDS = 60.0
MAX_CLIP_FPS = 32.0
MAX_CLIP_PIXELS = 1_000_000
MAX_CLIP_BYTES = 256_000_000

Source = str | Path | bytes | IO[bytes]


def open_image(source: Source) -> Image.Image:
    """Read a picture, unpacked and checked. Raises MediaError."""
    stream: str | Path | IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter
            image = Image.open(stream)
        _check_size(*image.size)
        image.load()
    except MediaError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own bound, over ours, checked before we see the size
        raise MediaError(f"the picture has over {MAX_PIXELS // 1_000_000} million pixels; scale it down") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise MediaError(f"this is not a picture that can be read ({error}); send a PNG, JPEG or WebP") from error
    return image


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
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max(initial=0.0)))
    return Image.fromarray((values.clip(0.0, top) * (255.0 / top)).round().astype(np.uint8))


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise MediaError(f"the picture is {width}x{height}; at most {MAX_PIXELS // 1_000_000} million pixels are taken")


def read_clip(source: Source, *, max_seconds: float = MAX_CLIP_SECONDS) -> tuple[np.ndarray, float]:
    """Read a clip through FFmpeg: uint8 (n, H, W, 3) and its frames a second. Raises MediaError.

    Memory is bounded whatever the file says about itself: at most `max_seconds` are read, of fast clips every second
    or third frame, and pictures are scaled down until all fit in MAX_CLIP_BYTES.
    """
    stream: str | IO[bytes] = (
        io.BytesIO(source) if isinstance(source, bytes) else source if not isinstance(source, Path) else str(source)
    )
    frames: list[np.ndarray] = []
    try:
        with av.open(stream, mode="r") as container:
            if not container.streams.video:
                raise MediaError("the file has no picture track; send a video, or a picture as an image")
            video = container.streams.video[0]
            _check_size(video.width or 1, video.height or 1)
            fps = float(video.average_rate or video.guessed_rate or Fraction(0))
            if not 0.1 <= fps <= 1000:
                fps = 25.0  # a file that does not say: what most would mean
            stride = math.ceil(fps / MAX_CLIP_FPS)
            fps /= stride
            limit = max(1, round(max_seconds * fps))
            expected = min(limit, max(1, video.frames // stride)) if video.frames else limit
            pixels = min(MAX_CLIP_PIXELS, MAX_CLIP_BYTES / 3 / expected)
            scale = min(1.0, (pixels / (video.width * video.height)) ** 0.5)
            size = max(1, int(video.width * scale)), max(1, int(video.height * scale))
            for index, frame in enumerate(container.decode(video)):
                if index % stride == 0:
                    frames.append(frame.to_ndarray(format="rgb24", width=size[0], height=size[1]))
                if len(frames) >= limit or len(frames) * frames[0].nbytes > MAX_CLIP_BYTES:
                    break
    except MediaError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"this is not a clip that can be read ({error}); send an MP4 or WebM") from error
    if not frames:
        raise MediaError("the clip has no frames; send one with at least one picture in it")
    return np.stack(frames), fps


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
