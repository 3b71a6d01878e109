"""The fake model with pictures that cost bits: a texture in motion, so that an encoder uses the rate it is given."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from stream.types import Pixels
from tests.support import fake_backend


@cache
def cloth(size: int) -> Pixels:
    rng = np.random.default_rng(7)
    threads = Image.fromarray(rng.integers(0, 255, (size // 4, size // 4, 3), dtype=np.uint8))
    return np.asarray(threads.resize((2 * size, 2 * size), Image.Resampling.BICUBIC))


def rich(size: int, colour: tuple[int, int, int], index: int) -> Pixels:
    """A window that wanders over a cloth."""
    wide = cloth(size)
    x = int((np.sin(index / 9) + 1) / 2 * size * 0.9)
    y = int((np.cos(index / 13) + 1) / 2 * size * 0.9)
    return np.ascontiguousarray(wide[y : y + size, x : x + size])


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> fake_backend.FakeModel:
    fake_backend.paint = rich
    return fake_backend.open_model(source, device, threads)
