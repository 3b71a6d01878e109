"""Reduces the VAE's latent channels to their first principal components.

A VAE with more channels trains faster, but every channel is noise that the transformer must predict. The latents lie
close to a lower dimension, so they are rotated onto their first principal components, and the rotation is folded into
the VAE's own 1x1 and outer convolutions: the result is an AutoencoderKLWan with a smaller z_dim. Components are taken
about the point that `post_quant_conv` maps to zero, so that zero padding in the decoder keeps its meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file


@torch.no_grad()
def project_vae(source: Path, out: Path, samples: Path, channels: int) -> None:
    """Write the VAE in `source` with z_dim = `channels` to `out`; components measured on the latents in `samples`."""
    old: Any = AutoencoderKLWan.from_pretrained(source)
    mean, std = torch.tensor(old.config.latents_mean), torch.tensor(old.config.latents_std)
    latents = load_file(samples)["latents"][:200].float().permute(0, 1, 3, 4, 2).reshape(-1, len(mean)) * std + mean
    after, shift = old.post_quant_conv.weight[:, :, 0, 0, 0], old.post_quant_conv.bias
    origin = -torch.linalg.solve(after, shift)
    _, vectors = torch.linalg.eigh((latents - origin).T @ (latents - origin))
    basis = vectors[:, -channels:].flip(1)  # (z, channels), largest first
    settings = {k: v for k, v in old.config.items() if not k.startswith("_")}
    coordinates = (latents - origin) @ basis
    spread = coordinates.std(0)
    settings |= {
        "z_dim": channels,
        "latents_mean": coordinates.mean(0).tolist(),
        "latents_std": spread.clamp(min=0.3 * float(spread.max())).tolist(),
    }
    new: Any = AutoencoderKLWan(**settings)
    weights = dict(old.state_dict())
    before, offset = old.quant_conv.weight[: len(mean), :, 0, 0, 0], old.quant_conv.bias[: len(mean)]
    inward = basis.T @ before  # (channels, 2 z)
    head = old.encoder.conv_out
    moments = torch.einsum("oc,cikhw->oikhw", inward, head.weight)
    bias = inward @ head.bias + basis.T @ (offset - origin)
    weights["encoder.conv_out.weight"] = torch.cat([moments, torch.zeros_like(moments)])
    weights["encoder.conv_out.bias"] = torch.cat([bias, torch.full_like(bias, -6.0)])  # a fixed, small variance
    weights["quant_conv.weight"] = torch.eye(2 * channels)[:, :, None, None, None]
    weights["quant_conv.bias"] = torch.zeros(2 * channels)
    weights["post_quant_conv.weight"] = torch.eye(channels)[:, :, None, None, None]
    weights["post_quant_conv.bias"] = torch.zeros(channels)
    weights["decoder.conv_in.weight"] = torch.einsum("oikhw,ic->ockhw", old.decoder.conv_in.weight, after @ basis)
    new.load_state_dict(weights)
    new.save_pretrained(out, safe_serialization=True)
    save_file({"basis": basis.contiguous(), "origin": origin}, out / "projection.safetensors")


@torch.no_grad()
def project_latents(source: Path, out: Path, clips: Path, into: Path) -> None:
    """Convert latents of the VAE in `source` to those of the VAE in `out`."""
    old, new = (AutoencoderKLWan.load_config(folder) for folder in (source, out))
    turn = load_file(out / "projection.safetensors")
    tensors = load_file(clips)
    mean, std = torch.tensor(old["latents_mean"]), torch.tensor(old["latents_std"])
    raw = tensors["latents"].float().permute(0, 1, 3, 4, 2) * std + mean
    moved = (raw - turn["origin"]) @ turn["basis"]
    moved = (moved - torch.tensor(new["latents_mean"])) / torch.tensor(new["latents_std"])
    save_file(tensors | {"latents": moved.permute(0, 1, 4, 2, 3).half().contiguous()}, into)
