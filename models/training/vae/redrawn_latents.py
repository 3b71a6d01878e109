"""Latents as a transformer makes them, of clips whose truth is known: noise on the true ones, and its own way back.

What comes back shows the clip, in the transformer's hand: every chunk over what it made of the ones before, its points
a little off, its grounds a little uneven. A decoder that learns the true pictures from these learns to put it right.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.kv_cache import KVCache, window


@torch.no_grad()
def redraw(bundle: Bundle, latents: Tensor, prompt: str, levels: Sequence[float]) -> Tensor:
    """Normalised latents (1, F, C, h, w) of a clip that shows `prompt`, redrawn.

    levels: noise levels to pass through, falling, the last one 0; at the first all but the outline may be decided anew.
    """
    assert levels[-1] == 0
    network = bundle.network
    words = network.prompt_kv([bundle.prompts.encode(prompt)])
    context, made, first = KVCache(network, window(bundle), batch=1), [], 0
    while first < latents.shape[1]:
        true = latents[:, first : first + (bundle.chunk_frames if first else 1)].to(bundle.device, bundle.dtype)
        z = (1 - levels[0]) * true + levels[0] * torch.randn_like(true)
        place = context.current(true.shape[1])
        for t, r in pairwise(levels):
            u = network.velocity(network.embed(z), *place, network.modulation(t, r), words, context, true.shape[1:])
            z = flowmap.step(z, u, t, r)
        made.append(z)
        context.push(z)
        context.encode(words)
        first += true.shape[1]
    return torch.cat(made, dim=1)
