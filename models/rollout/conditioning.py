"""Input frames that become chunks of the video: an image as one chunk, a clip chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from models.vae.base import VAEState
from models.vae.wan import WanVAE


@dataclass(frozen=True)
class Conditioning:
    """uint8 frames (1 + k * per_latent, H, W, 3), of which `taken` are in the video. Immutable; copies share `frames`.

    per_latent: frames of a latent frame; chunk: frames of a full chunk. The first frame is a chunk of its own, a last
    chunk may be shorter than the others.
    """

    frames: np.ndarray
    per_latent: int
    chunk: int
    taken: int = 0

    @property
    def count(self) -> int:
        """Frames the next chunk takes."""
        if self.taken == 0:
            return 1
        return min(self.chunk, (len(self.frames) - self.taken) // self.per_latent * self.per_latent)

    def rest(self) -> Conditioning | None:
        """What is left after the next chunk; None when that is nothing."""
        left = self.at(self.taken + self.count)
        return left if left.count > 0 else None

    def at(self, taken: int) -> Conditioning:
        """The same frames, `taken` of them in the video."""
        return replace(self, taken=taken)

    def encode(self, vae: WanVAE, state: VAEState) -> Tensor:
        """Latents (1, F, C, H, W) of the next chunk; updates `state`."""
        return vae.encode(state, self.frames[self.taken : self.taken + self.count])
