"""Frames on their way from the device, so that the next work can start before they have arrived.

On a GPU the decoder runs on a stream of its own beside the next steps, and one pinned copy a chunk brings the pixels
over; on a CPU there is nothing to wait for and a delivery is ready at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Delivery:
    """uint8 frames (n, H, W, 3) that `decode` makes; `result` waits for them."""

    def __init__(self, decode: Callable[[], Tensor], latents: Tensor) -> None:
        device = latents.device
        self._arrived: torch.cuda.Event | None = None
        if device.type != "cuda":
            self._frames = decode()
            return
        stream = _decode_stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            frames = decode()
            self._frames = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
            self._frames.copy_(frames, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(stream)
        latents.record_stream(stream)  # the allocator must not hand them out while the decoder reads them

    def ready(self) -> bool:
        """True when `result` will not wait."""
        return self._arrived is None or self._arrived.query()

    def result(self) -> np.ndarray:
        """The frames."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._frames.numpy()


@lru_cache(maxsize=8)
def _decode_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
