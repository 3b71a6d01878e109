"""Pictures and clips that people send, decoded in the server and made to fit the model. Nothing bad reaches the device.

`models.media.read` does the fitting; it is free of torch, so the server process stays small.
"""

from __future__ import annotations

import io
import warnings

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import MediaError
from models.media.read import fit_image
from stream.errors import InvalidRequest, TooLarge
from stream.types import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
CLIP_SECONDS = 20.0  # of an uploaded clip that are used, from its end


def decode_image(data: bytes, width: int, height: int, *, max_pixels: int) -> Pixels:
    """Any common image to RGB (height, width, 3), cropped to the model's shape.

    Raises InvalidRequest for what is no image, TooLarge before anything of a huge one is unpacked.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise TooLarge(
                f"The image has {image.width} x {image.height} pixels; the most is {max_pixels / 1e6:.0f} million. "
                "Send a smaller one.",
                code="image_too_large",
            )
        image.draft("RGB", (2 * width, 2 * height))  # a large JPEG is unpacked at a fraction of its size
        image.load()
        return fit_image(image, width, height)
    except MediaError as error:
        raise InvalidRequest(str(error), code="bad_image") from None
    except (Image.DecompressionBombError, MemoryError):
        raise TooLarge(
            "The image unpacks to far too many pixels. Send a smaller one.", code="image_too_large"
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, TypeError):
        raise InvalidRequest(
            f"The file is not an image that can be read. Send one of: {', '.join(FORMATS)}.", code="bad_image"
        ) from None


def decode_clip(data: bytes, width: int, height: int, fps: float, *, max_pixels: int) -> Pixels:
    """A video file to RGB frames (N, height, width, 3) at `fps`, at most its last CLIP_SECONDS.

    Raises InvalidRequest, TooLarge.
    """
    most = int(CLIP_SECONDS * fps)
    frames: list[Pixels] = []
    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            if not container.streams.video:
                raise InvalidRequest("The clip has no video in it.", code="bad_clip")
            stream = container.streams.video[0]
            if stream.width * stream.height > max_pixels:
                raise TooLarge("The clip's pictures are too large. Send a smaller one.", code="clip_too_large")
            due = 0.0
            for frame in container.decode(stream):
                at = frame.time if frame.time is not None else due
                if at + 1e-6 < due:
                    continue
                pixels = _fit(frame, width, height)
                while due <= at + 1e-6 and len(frames) < 4 * most:  # slower clips repeat frames
                    frames.append(pixels)
                    due += 1 / fps
                if len(frames) >= 4 * most:
                    break
    except av.error.FFmpegError:
        raise InvalidRequest(
            "The file is not a video that can be read. Send an MP4 or WebM.", code="bad_clip"
        ) from None
    if not frames:
        raise InvalidRequest("The clip has no frames in it.", code="bad_clip")
    return np.stack(frames[-most:])


def _fit(frame: av.VideoFrame, width: int, height: int) -> Pixels:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
