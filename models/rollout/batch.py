"""Many short takes at once: rows of one batch, where a live take is a batch of one.

Small models leave much of a processor idle at one take. The passes are the live ones (`models.network.transformer`,
`models.rollout.kv_cache`), with a row a take, and the numbers are theirs up to rounding.
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
    """Latents (B, F, C, h, w) of a take a prompt. `renoise`: go to 0 at every step and add fresh noise for the next."""
    network, rows = bundle.network, len(prompts)
    guided = guidance > 1.0
    words = [bundle.prompts.encode(prompt) for prompt in prompts]
    if guided:
        words = [bundle.prompts.encode("")] * rows + words
    prompt = network.prompt_kv(words)
    context = KVCache(network, window(bundle), batch=len(words))
    sigmas = flowmap.schedule(steps, bundle.shift)
    made: list[Tensor] = []
    while sum(part.shape[1] for part in made) < latent_frames:
        shape = (bundle.chunk_frames if made else 1, *bundle.latent_shape)
        chunk = len(made)
        z = _noise(seeds, chunk, shape).to(bundle.device, bundle.dtype)
        place = context.current(shape[0])
        for number, (t, r) in enumerate(pairwise(sigmas)):
            tokens = network.embed(z.repeat(2, 1, 1, 1, 1) if guided else z)
            stop = 0.0 if renoise else r
            u = network.velocity(tokens, *place, network.modulation(t, stop), prompt, context, shape)
            if guided:
                uncond, cond = u.chunk(2)
                u = uncond + guidance * (cond - uncond)
            z = flowmap.step(z, u, t, stop)
            if renoise and r > 0:
                left = len(sigmas) - 1 - number
                fresh = _noise([seed + (left << 40) for seed in seeds], chunk, shape).to(z)
                z = (1 - r) * z + r * fresh
        made.append(z)
        context.push(z.repeat(2, 1, 1, 1, 1) if guided else z)
        context.encode(prompt)
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


def _noise(seeds: Sequence[int], chunk: int, shape: Sequence[int]) -> Tensor:
    return torch.stack([chunk_noise(seed, chunk, shape) for seed in seeds])
