"""The decoder of a rollout: its state between chunks, and the copy of frames from the device to the host.

On a GPU decoding runs in order with everything else, so that a chunk's frames are not held up by what comes after them
and what it costs can be measured; one pinned copy a chunk brings the pixels over, on a stream of its own, beside the
next unit. On a CPU there is nothing to wait for and frames are ready at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from models.vae.base import Decoder, VAEState


class PendingFrames:
    """uint8 frames (n, H, W, 3) being copied to the host; `result` waits for them."""

    def __init__(self, frames: Tensor) -> None:
        """Called right after the work that makes `frames`, on its stream."""
        self._arrived: torch.cuda.Event | None = None
        if frames.device.type != "cuda":
            self._frames = frames.to("cpu")
            return
        self._frames = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
        copies = _copies(frames.device)
        copies.wait_stream(torch.cuda.current_stream(frames.device))
        with torch.cuda.stream(copies):
            self._frames.copy_(frames, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        frames.record_stream(copies)  # the allocator must not hand them out while they are copied

    def ready(self) -> bool:
        """True when `result` will not wait."""
        return self._arrived is None or self._arrived.query()

    def result(self) -> np.ndarray:
        """The frames."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._frames.numpy()


class StreamDecoder:
    """State of the decoder before the next chunk. replay: earlier latents to decode first to have it."""

    def __init__(self, decoder: Decoder, state: VAEState | None = None, replay: Sequence[Tensor] = ()) -> None:
        self.decoder = decoder
        self.state = decoder.start() if state is None else state.clone()
        self.replay = list(replay)
        self.before: VAEState | None = None  # the state before the last chunk decoded, while that one is in progress

    @property
    def known(self) -> VAEState | None:
        """The state before the chunk in progress; None while it is not known."""
        return self.before or (None if self.replay else self.state)

    def replay_one(self) -> None:
        """Decode one chunk of the past, for the state alone."""
        latents = self.replay.pop(0)
        self.decoder.decode(self.state, latents)

    def deliver(self, latents: Tensor) -> PendingFrames:
        """Start to decode the chunk in progress, (1, F, C, H, W)."""
        self.before = self.state.clone()
        return PendingFrames(self.decoder.decode(self.state, latents))

    def clone(self) -> StreamDecoder:
        twin = StreamDecoder(self.decoder, self.state, self.replay)
        twin.before = self.before
        return twin


@lru_cache(maxsize=8)
def _copies(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
