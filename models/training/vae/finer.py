"""A VAE for twice the picture's side on the same latents, made from one that is trained.

One more doubling by the patch (`patch_size` 4 instead of 2), and a decoder of twice the width. Nothing is lost and
nothing has to be learned again:
- the encoder gives a picture the latents that the old one gives the picture's 2x2 averages, exactly;
- the decoder draws what the old one draws, every pixel four times: each channel is there twice (Chen et al., Net2Net,
  arXiv 1511.05641), and what reads it divides between the two, unevenly so that they learn to differ. Twice every
  channel leaves `WanRMS_norm` as it is; another factor would not.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor


@torch.no_grad()
def finer_vae(old: Any, *, noise: float = 0.02, seed: int = 0) -> Any:
    """A new VAE from `old`. noise: on the decoder's kernels, in units of each one's own size."""
    config = {key: value for key, value in old.config.items() if not key.startswith("_")}
    patch, width = config["patch_size"] or 1, config["decoder_base_dim"] or config["base_dim"]
    config |= {"patch_size": 2 * patch, "decoder_base_dim": 2 * width}
    config |= {key: 4 * config[key] for key in ("in_channels", "out_channels")}
    config["scale_factor_spatial"] = 2 * (config["scale_factor_spatial"] or 8)
    assert not config["is_residual"], "a residual decoder's shortcuts would have to be widened too"
    weights = {name: value for name, value in old.state_dict().items() if not name.startswith("decoder.")}
    weights["encoder.conv_in.weight"] = _each_place_four_times(old.encoder.conv_in.weight, 1, patch) / 4
    draw = torch.Generator().manual_seed(seed)
    for name, value in old.decoder.state_dict().items():
        weights[f"decoder.{name}"] = _wider(name, value, patch, noise, draw)
    new = AutoencoderKLWan(**config)
    new.load_state_dict(weights)
    return new


def _each_place_four_times(kernel: Tensor, dim: int, patch: int) -> Tensor:
    """A patch's channels are (colour, column, row): those of one twice as large."""
    wide: Tensor = kernel.unflatten(dim, (-1, patch, patch))
    return wide.repeat_interleave(2, dim + 1).repeat_interleave(2, dim + 2).flatten(dim, dim + 2)


def _wider(name: str, value: Tensor, patch: int, noise: float, draw: torch.Generator) -> Tensor:
    *_, layer, kind = name.split(".")
    if layer == "to_qkv":
        value = value.clone()
        value[: len(value) // 3] /= 2**0.5  # queries: their products with the keys double, the scale falls by sqrt(2)
    if layer == "conv_out":
        value = _each_place_four_times(value, 0, patch)
    else:  # queries, keys and values, or the two frames of `time_conv`, stay groups
        groups = {"to_qkv": 3, "time_conv": 2}.get(layer, 1)
        value = value.unflatten(0, (groups, -1))
        value = torch.cat([value, value], 1).flatten(0, 1)
    if kind != "weight":
        return value
    if layer != "conv_in":
        share = 0.25 + 0.5 * torch.rand(value.shape[:2], generator=draw)
        share = share.view(*share.shape, *[1] * (value.dim() - 2))
        value = torch.cat([value * share, value * (1 - share)], 1)
    size = value.square().mean().sqrt()
    return value + noise * size * torch.randn(value.shape, generator=draw)
