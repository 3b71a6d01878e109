"""A Wan VAE of 8x small enough for tests, with an encoder and a decoder that can be made finer."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan

SMALL: dict[str, Any] = {
    "base_dim": 8, "dim_mult": [1, 2, 2], "temperal_downsample": [True, True], "num_res_blocks": 1, "z_dim": 5,
    "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 8, "scale_factor_temporal": 4,
    "is_residual": False, "attn_scales": [], "latents_mean": [0.5] * 5, "latents_std": [2.0] * 5,
}  # fmt: skip


def small_vae() -> Any:
    """Random, with nothing at its neutral value: gammas of 1 and biases of 0 would hide what is forgotten."""
    torch.manual_seed(0)
    made: Any = AutoencoderKLWan(**SMALL).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return made
