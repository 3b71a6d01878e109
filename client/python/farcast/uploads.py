"""Whatever a user calls an image, as bytes to upload."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import MediaFailed

Picture = str | Path | bytes | Image.Image | NDArray[Any]


def encoded(picture: Picture) -> bytes:
    """File, bytes, PIL image or (H, W, 3) uint8 array -> bytes of an image file. The server checks what is in it."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (str, Path)):
        return read(picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
            raise MediaFailed(
                f"An image array must be uint8 of shape (height, width, 3); got {picture.dtype} {picture.shape}."
            )
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def read(path: str | Path) -> bytes:
    """The bytes of a file the user named."""
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise MediaFailed(f"{path} cannot be read: {error.strerror or error}.") from None
