"""Projecting latents onto principal components changes the VAE's coordinates, not its pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from models.training.vae.latent_pca import project_vae


@pytest.mark.filterwarnings("ignore")
def test_projecting_keeps_the_pictures_when_no_channel_is_lost(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=6, dim_mult=[1, 1, 1, 1], num_res_blocks=1, attn_scales=[], in_channels=12, out_channels=12,
        temperal_downsample=[True, True, False], is_residual=True, patch_size=2, scale_factor_spatial=16,
        scale_factor_temporal=4, latents_mean=[0.0] * 6, latents_std=[1.0] * 6,
    )  # fmt: skip
    vae.save_pretrained(tmp_path / "old")
    save_file({"latents": torch.randn(4, 7, 6, 8, 8)}, tmp_path / "latents.safetensors")
    project_vae(tmp_path / "old", tmp_path / "new", tmp_path / "latents.safetensors", 6)
    turned = AutoencoderKLWan.from_pretrained(tmp_path / "new")
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        before, after = (v.decode(v.encode(video).latent_dist.mean).sample for v in (vae, turned))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
