"""Many short clips at once: rows of one batch, where a rollout is a batch of one.

Small models leave much of a processor idle at one row. The passes are those of a rollout (`models.network.transformer`,
`models.rollout.kv_cache`) and the numbers are its up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.kv_cache import KVCache, window
from models.rollout.noise import chunk_noise

ROWS = 16


@torch.no_grad()
def batch_latents(
    bundle: Bundle, prompts: Sequence[str], seeds: Sequence[int], latent_frames: int, steps: int, *,
    guidance: float, renoise: bool = False,
) -> Tensor:  # fmt: skip
    """Latents (B, F, C, h, w), a row a prompt. renoise: the sampler of that name, see `RolloutState`."""
    network, rows = bundle.network, len(prompts)
    guided = guidance > 1.0
    embeddings = [bundle.prompts.encode(prompt) for prompt in prompts]
    if guided:
        embeddings = [bundle.prompts.encode("")] * rows + embeddings
    prompt = network.prompt_kv(embeddings)
    cache = KVCache(network, window(bundle), batch=len(embeddings))
    sigmas = flowmap.schedule_for(bundle, steps)
    made: list[Tensor] = []
    while sum(part.shape[1] for part in made) < latent_frames:
        shape = (bundle.chunk_frames if made else bundle.first_chunk_frames, *bundle.latent_shape)
        chunk = len(made)
        z = _noise(seeds, chunk, shape).to(bundle.device, bundle.dtype)
        position = cache.current(shape[0])
        for number, (t, r) in enumerate(pairwise(sigmas), start=1):
            tokens = network.embed(z.repeat(2, 1, 1, 1, 1) if guided else z)
            end = 0.0 if renoise else r
            u = network.velocity(tokens, *position, network.modulation(t, end), prompt, cache, shape)
            if guided:
                uncond, cond = u.chunk(2)
                u = flowmap.cfg(uncond, cond, guidance)
            z = flowmap.step(z, u, t, end)
            if end < r:
                z = flowmap.renoise(z, _noise(seeds, chunk, shape, number).to(z), r)
        made.append(z)
        cache.push(z.repeat(2, 1, 1, 1, 1) if guided else z)
        cache.encode(prompt)
    return torch.cat(made, dim=1)


def batch_takes(
    bundle: Bundle, prompts: Sequence[str], seeds: Sequence[int], frames: int, steps: int, *,
    guidance: float, renoise: bool = False, rows: int = ROWS,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Clips of `frames` frames, uint8 (T, H, W, 3), one a prompt and in its order; `rows` are made together."""
    latent_frames = 1 + -(-(frames - 1) // bundle.frames_per_latent)
    for first in range(0, len(prompts), rows):
        part = slice(first, first + rows)
        latents = batch_latents(
            bundle, prompts[part], seeds[part], latent_frames, steps, guidance=guidance, renoise=renoise
        )
        for row in latents:
            clip = bundle.decoder.decode(bundle.decoder.start(), row[None])
            yield clip.cpu().numpy()[:frames]


def _noise(seeds: Sequence[int], chunk: int, shape: Sequence[int], draw: int = 0) -> Tensor:
    return torch.stack([chunk_noise(seed, chunk, shape, draw) for seed in seeds])
