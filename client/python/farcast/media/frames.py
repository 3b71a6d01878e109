"""A frame as the user gets it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """image: (height, width, 3) uint8 RGB. pts: media time in seconds. index: frames received before this one.
    received: `time.monotonic()` when it was decoded."""

    image: NDArray[np.uint8]
    pts: float
    index: int
    received: float
