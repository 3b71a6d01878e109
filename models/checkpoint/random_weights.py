"""Bundles with random weights, at the published sizes and two smaller ones. Only the pixels are meaningless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from diffusers import AnyFlowFARTransformer3DModel, AutoencoderKLWan, FlowMapEulerDiscreteScheduler
from transformers import UMT5Config, UMT5EncoderModel

from models.checkpoint.bundle import Bundle, check_sizes
from models.checkpoint.device import pick_device, pick_dtype
from models.checkpoint.small_tokenizer import small_tokenizer
from models.errors import ModelError
from models.network.execution import check_execution

TRANSFORMERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_attention_heads": 4, "attention_head_dim": 48, "text_dim": 128, "freq_dim": 64, "ffn_dim": 768,
        "num_layers": 6,
    },
    "medium": {
        "num_attention_heads": 8, "attention_head_dim": 48, "text_dim": 128, "freq_dim": 128, "ffn_dim": 1536,
        "num_layers": 8,
    },
    "1.3b": {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30},
    "14b": {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 40},
}  # fmt: skip
TINY_VAE: dict[str, Any] = {
    "base_dim": 16, "decoder_base_dim": 24, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1,
    "temperal_downsample": [True, True, False], "in_channels": 12, "out_channels": 12, "patch_size": 2,
    "scale_factor_spatial": 16, "scale_factor_temporal": 4,
}  # fmt: skip
# 8x in space as Wan 2.1's own, and narrow enough for a processor: the transformer is what is medium.
_MEDIUM_VAE: dict[str, Any] = {
    "base_dim": 16, "z_dim": 16, "dim_mult": [1, 2, 4], "num_res_blocks": 1, "temperal_downsample": [True, True],
    "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 8, "scale_factor_temporal": 4,
}  # fmt: skip
_TINY_TEXT: dict[str, Any] = {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 256, "num_layers": 2}
# UMT5-XXL's width with one layer: the text encoder runs once a prompt and is no part of what is measured.
_WIDE_TEXT: dict[str, Any] = {"d_model": 4096, "d_kv": 64, "num_heads": 64, "d_ff": 10240, "num_layers": 1}


def make_random(
    size: str, seed: int, device: torch.device, dtype: torch.dtype | None, width: int | None, height: int | None
) -> Bundle:
    """See `random_bundle`. ModelError for an unknown size."""
    if size not in TRANSFORMERS:
        raise ModelError(f"no random weights of size {size!r}; choose one of {', '.join(TRANSFORMERS)}")
    small = size in ("tiny", "medium")
    vae_config = {"tiny": TINY_VAE, "medium": _MEDIUM_VAE}.get(size, {})
    kind = dtype or pick_dtype(device)
    tokenizer = small_tokenizer()
    text = _TINY_TEXT if small else _WIDE_TEXT
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        with _default_dtype(torch.float32 if small else kind):  # 14B in fp32 first would need four times the memory
            transformer = AnyFlowFARTransformer3DModel(**TRANSFORMERS[size])
            vae = AutoencoderKLWan(**vae_config)
            text_encoder = UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **text))
    parts: tuple[Any, ...] = (transformer, vae, text_encoder)
    for part in parts:
        _cast(part.eval().requires_grad_(False), kind)
    bundle = Bundle(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=FlowMapEulerDiscreteScheduler(shift=5.0),
        device=device,
        dtype=kind,
        name=f"random-{size}",
        width=width or (128 if small else 832),
        height=height or (128 if small else 480),
    )
    check_sizes(bundle)
    return bundle


def _cast(part: Any, dtype: torch.dtype) -> None:
    """To `dtype`, but for the parameters that `from_pretrained` would keep in fp32 whatever the dtype."""
    kept = getattr(part, "_keep_in_fp32_modules", None) or ()
    for name, parameter in part.named_parameters():
        wide = any(word in kept for word in name.split("."))
        parameter.data = parameter.data.to(torch.float32 if wide else dtype)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def random_bundle(
    size: str = "tiny", *, seed: int = 0, device: str = "cpu", dtype: torch.dtype | None = None,
    width: int | None = None, height: int | None = None, execution: str = "eager",
) -> Bundle:  # fmt: skip
    """A bundle with random weights: "tiny", "medium", or a published size ("1.3b", "14b"): for benchmarks."""
    place = pick_device(device)
    return replace(make_random(size, seed, place, dtype, width, height), execution=check_execution(execution, place))
