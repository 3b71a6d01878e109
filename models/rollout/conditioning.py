"""Input frames that become chunks of the video: an image as one chunk, a clip chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.errors import MediaError
from models.media.read import fit_clip, fit_image
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


def from_image(bundle: Bundle, image: Image.Image | np.ndarray) -> Conditioning:
    """One frame: an image of any size (PIL, or uint8 (H, W, 3)), cropped to the bundle's. Raises MediaError."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise MediaError(f"an image is a uint8 array (H, W, 3), not {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    return _of(bundle, fit_image(image, bundle.width, bundle.height)[None])


def from_clip(bundle: Bundle, clip: np.ndarray, clip_fps: float | None) -> Conditioning:
    """uint8 (n, H, W, 3) at `clip_fps`, resampled and cropped to the bundle's rate and size. Raises MediaError."""
    return _of(bundle, fit_clip(clip, clip_fps, width=bundle.width, height=bundle.height, fps=bundle.fps))


def _of(bundle: Bundle, frames: np.ndarray) -> Conditioning:
    per = bundle.frames_per_latent
    return Conditioning(frames, per, bundle.chunk_frames * per)
