"""A bundle smaller than the embedded one, with nothing at its initial value, so that no weight can be forgotten."""

from __future__ import annotations

import torch
from diffusers import AnyFlowFARTransformer3DModel, AutoencoderKLWan, FlowMapEulerDiscreteScheduler
from transformers import UMT5Config, UMT5EncoderModel

from models.checkpoint.bundle import Bundle
from models.checkpoint.small_tokenizer import small_tokenizer


def small_bundle(dtype: torch.dtype = torch.float32) -> Bundle:
    """64x64 pixels, 8x8 latents: 16 tokens a frame, 4 when far."""
    tokenizer = small_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = AnyFlowFARTransformer3DModel(
            num_attention_heads=2, attention_head_dim=24, text_dim=32, freq_dim=32, ffn_dim=96, num_layers=3
        )
        vae = AutoencoderKLWan(
            base_dim=8, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[True, True], in_channels=12,
            out_channels=12, patch_size=2, scale_factor_spatial=8,
        )  # fmt: skip
        text_encoder = UMT5EncoderModel(
            UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=16, num_heads=2, d_ff=64, num_layers=2)
        )
        with torch.no_grad():
            for module in (transformer, vae, text_encoder):
                for parameter in module.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
    for module in (transformer, vae, text_encoder):
        module.eval().requires_grad_(False)
        if dtype != torch.float32:
            module.to(dtype)
    return Bundle(
        transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=FlowMapEulerDiscreteScheduler(shift=5.0), device=torch.device("cpu"), dtype=dtype,
        name="small", width=64, height=64,
    )  # fmt: skip
