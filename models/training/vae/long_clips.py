"""Clips to train a decoder on, and their latents: a pool that is drawn anew bit by bit, so that none is seen often.

Latents are the encoder's own, shaken by the caller's `shake`, or redrawn by the caller's `redraw`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.toyworld import caption, random_scene, render, simulate
from models.training.vae.train import encode_moments, to_tensor

FRAMES = 33  # of a clip: nine latent frames
SHORT = 9  # of a crop: three
STRETCH = 2  # latent frames to learn from in the middle of a clip


@dataclass(frozen=True)
class Part:
    """latents: (B, z, F, h, w) from a clip's first on, not normalised. warm: how many of them only lead up to `true`.

    true: (B, 3, T, H, W) in -1..1, the pictures of the others.
    """

    latents: Tensor
    warm: int
    true: Tensor


Shake = Callable[[Tensor], Tensor]  # of latents (B, z, F, h, w)
Redraw = Callable[[Tensor, str], Tensor]  # of latents (1, z, F, h, w) and what they show


@dataclass
class Clip:
    """pixels: (FRAMES, size, size, 3). words: what is to be seen; None when it changes on the way."""

    pixels: NDArray[np.uint8]
    words: str | None
    latents: dict[str, Tensor] = field(default_factory=dict)  # "true", "redrawn": made when first asked for


def draw_clip(size: int, cuts: float, rng: np.random.Generator) -> Clip:
    """With the chance `cuts` it changes scene on the way."""
    scenes = [(0, random_scene(rng))]
    if rng.random() < cuts:
        scenes.append((int(rng.integers(1, FRAMES)), random_scene(rng)))
    words = caption(scenes[0][1]) if len(scenes) == 1 else None
    return Clip(render(simulate(scenes, FRAMES, rng), size), words)


class LongClips:
    """At most `count` clips. redrawn: share of the whole pictures whose latents come through `redraw`."""

    def __init__(
        self, vae: Any, *, size: int, count: int, cuts: float, rng: np.random.Generator,
        shake: Shake = lambda z: z, redraw: Redraw | None = None, redrawn: float = 0.0,
    ) -> None:  # fmt: skip
        self.vae, self.size, self.count, self.cuts, self.rng = vae, size, count, cuts, rng
        self.shake, self.redraw, self.redrawn = shake, redraw, redrawn
        self._clips: list[Clip] = []
        for _ in range(max(1, count // 2)):
            self.renew()

    def renew(self) -> None:
        """One clip more, in the place of another when the pool is full."""
        clip = draw_clip(self.size, self.cuts, self.rng)
        if len(self._clips) < self.count:
            self._clips.append(clip)
        else:
            self._clips[int(self.rng.integers(self.count))] = clip

    def crops(self, batch: int) -> Part:
        """Half as wide as the clips, where there is something to see; each is a little clip of its own."""
        side, patch = self.size // 2, self.vae.config.scale_factor_spatial // 8
        items = []
        for _ in range(batch):
            clip = self._clips[int(self.rng.integers(len(self._clips)))].pixels
            first = self.rng.integers(FRAMES - SHORT + 1)
            corners = patch * self.rng.integers((self.size - side) // patch + 1, size=(4, 2))
            found = [clip[first : first + SHORT, y : y + side, x : x + side] for y, x in corners]
            items.append(to_tensor(max(found, key=lambda crop: float(crop[0].std()))))
        true = torch.stack(items).to(self.vae.device)
        return Part(self.shake(self._encode(true)), 0, true)

    def whole(self, batch: int) -> Part:
        """Whole pictures: the first three latent frames of clips, or two in the middle with all before them."""
        clips = [self._clips[int(place)] for place in self.rng.integers(len(self._clips), size=batch)]
        warm = 0 if self.rng.random() < 0.3 else int(self.rng.choice([1, 2, 3, 4, 6]))
        end = warm + STRETCH if warm else 1 + STRETCH
        frames = slice(1 + 4 * (warm - 1) if warm else 0, 1 + 4 * (end - 1))
        true = torch.stack([to_tensor(clip.pixels[frames]) for clip in clips]).to(self.vae.device)
        return Part(torch.cat([self._latents_of(clip)[:, :, :end] for clip in clips]), warm, true)

    def _latents_of(self, clip: Clip) -> Tensor:
        known = clip.latents
        if "true" not in known:
            known["true"] = self._encode(to_tensor(clip.pixels)[None])
        if self.redraw is None or clip.words is None or self.rng.random() >= self.redrawn:
            return self.shake(known["true"])
        if "redrawn" not in known:
            known["redrawn"] = self.redraw(known["true"], clip.words)
        return known["redrawn"]

    @torch.no_grad()
    def _encode(self, clips: Tensor) -> Tensor:
        return encode_moments(self.vae, clips.to(self.vae.device))[0]
