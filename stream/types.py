"""Types that several rooms of the server share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3) for a picture, (N, H, W, 3) for frames, RGB


Mix = tuple[tuple[str, float], ...]  # several prompts at once, with their weights
