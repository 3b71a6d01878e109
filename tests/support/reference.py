"""Our rollout in the reference's terms: its latents and its noise as whole videos."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.engine.reference import pipeline, reference_latents
from models.checkpoint.bundle import Bundle
from models.rollout.noise import chunk_noise
from models.rollout.rollout import Rollout

__all__ = ["pipeline", "reference_latents", "relative_error", "rollout_latents", "whole_noise"]


def whole_noise(bundle: Bundle, seed: int, partition: Sequence[int]) -> Tensor:
    """The noise our rollout draws chunk by chunk, as one (1, F, C, H, W)."""
    parts = [chunk_noise(seed, chunk, (frames, *bundle.latent_shape)) for chunk, frames in enumerate(partition)]
    return torch.cat(parts)[None]


def rollout_latents(rollout: Rollout, sigmas: Sequence[float], chunks: int) -> list[Tensor]:
    """Finished latents (1, F, C, H, W) of the next `chunks` chunks, not decoded."""
    out = []
    for _ in range(chunks):
        stops, chunk = iter(sigmas[1:]), rollout.chunk
        while rollout.chunk == chunk:
            unit = rollout.next()
            if unit.kind == "decode":
                assert rollout.latents is not None
                out.append(rollout.latents)
            rollout.run(unit, r=next(stops) if unit.kind == "step" else None)
    return out


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
