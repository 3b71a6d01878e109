"""Bidirectional AnyFlow checkpoints, which see the whole video at once: run through diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from models.checkpoint.bundle import Bundle
from models.network.text_encoder import check_prompt
from models.rollout.flowmap import check_steps
from models.rollout.noise import chunk_noise


@torch.no_grad()
def generate_whole(
    bundle: Bundle, *, prompt: str, frames: int, steps: int, seed: int, guidance: float
) -> Iterator[np.ndarray]:
    """Yield uint8 (n, H, W, 3) until `frames` are there. The model makes 1 + 4 k frames at once; the rest is cut."""
    from diffusers import AnyFlowPipeline

    text = check_prompt(prompt)[0][0]
    per = bundle.frames_per_latent
    latent_frames = 1 + -(-(frames - 1) // per)
    pipe = AnyFlowPipeline(
        tokenizer=bundle.tokenizer, text_encoder=bundle.text_encoder, transformer=bundle.transformer,
        vae=bundle.vae, scheduler=bundle.scheduler,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    noise = chunk_noise(seed, 0, (latent_frames, *bundle.latent_shape)).transpose(0, 1)[None]
    latents = pipe(
        prompt=text, height=bundle.height, width=bundle.width, num_frames=(latent_frames - 1) * per + 1,
        num_inference_steps=check_steps(steps), guidance_scale=guidance, latents=noise.to(bundle.device),
        output_type="latent",
    ).frames  # fmt: skip
    state, made = bundle.wan_vae.start(), 0
    for part in latents.transpose(1, 2).to(bundle.dtype).split(3, dim=1):  # decoded a piece at a time to bound memory
        pixels = bundle.wan_vae.decode(state, part)[: frames - made].cpu().numpy()
        made += len(pixels)
        yield pixels
