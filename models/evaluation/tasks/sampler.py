"""Samples clips from a checkpoint at a step count, by the flow map or by re-noising."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from models.checkpoint.bundle import Bundle
from models.evaluation.judge.background import SIDE
from models.media.read import fit_clip
from models.rollout import flowmap
from models.rollout.batch import batch_takes
from models.rollout.rollout import Rollout


@dataclass(frozen=True)
class Sampler:
    """A checkpoint and how to sample from it.

    method: "flowmap" moves from t to r by the learned map. "renoise" jumps to 0 at every step and adds fresh noise for
    the next, which is how an endpoint-consistency student is run (arXiv 2303.01469, algorithm 1).
    """

    bundle: Bundle
    method: str = "flowmap"
    guidance: float | None = None

    @property
    def scale(self) -> float:
        """Guidance as it is run, 1 = off."""
        return self.bundle.guidance if self.guidance is None else self.guidance

    @property
    def side(self) -> int:
        """Pixels a side of a truth to compare with: no fewer than the checkpoint's, so that none is missing in it."""
        return max(SIDE, self.bundle.width, self.bundle.height)

    def borders(self, frames: int) -> list[int]:
        """First frame of every chunk but the first, in a clip of `frames` frames."""
        return list(range(1, frames, self.bundle.chunk_frames * self.bundle.frames_per_latent))

    def start(
        self, prompt: str, seed: int, *, image: Image.Image | None = None, clip: np.ndarray | None = None
    ) -> Rollout:
        """A new rollout."""
        return Rollout(
            self.bundle, prompt=prompt, seed=seed, image=image, clip=clip, clip_fps=None, guidance=self.guidance,
            sampler=self.method,
        )  # fmt: skip

    def chunks(self, rollout: Rollout, steps: int) -> Iterator[np.ndarray]:
        """Chunks of the rollout without end, uint8 (n, H, W, 3) each."""
        sigmas = flowmap.schedule_for(self.bundle, steps)
        while True:
            yield rollout.next_chunk(sigmas)

    def clip(self, rollout: Rollout, frames: int, steps: int) -> np.ndarray:
        """The next `frames` frames of the rollout, uint8 (frames, H, W, 3)."""
        out: list[np.ndarray] = []
        for chunk in self.chunks(rollout, steps):
            out.append(chunk)
            if sum(map(len, out)) >= frames:
                break
        return np.concatenate(out)[:frames]

    def clips(self, prompts: Sequence[str], seeds: Sequence[int], frames: int, steps: int) -> Iterator[np.ndarray]:
        """A clip a prompt in batches, which is quicker; equal to `clip` up to rounding."""
        renoise = self.method == "renoise"
        return batch_takes(self.bundle, prompts, seeds, frames, steps, guidance=self.scale, renoise=renoise)

    def through_vae(self, frames: np.ndarray) -> np.ndarray:
        """A clip encoded and decoded chunk by chunk, as a take that starts from it would show it."""
        bundle = self.bundle
        fitted = fit_clip(frames, None, width=bundle.width, height=bundle.height, fps=bundle.fps)
        encoder, decoder = bundle.wan_vae.start_encoder(), bundle.wan_vae.start()
        parts = np.split(fitted, self.borders(len(fitted)))
        with torch.no_grad():
            latents = [bundle.wan_vae.encode(encoder, part).to(bundle.dtype) for part in parts]
            return np.concatenate([bundle.wan_vae.decode(decoder, z).cpu().numpy() for z in latents])
