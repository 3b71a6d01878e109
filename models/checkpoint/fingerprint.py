"""A short name for the weights of a model: the same on every device and in every precision."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from models.checkpoint.bundle import Bundle

SAMPLES = 64  # numbers of each tensor; all would take seconds for 14 billion
DIGITS = 16


@torch.no_grad()
def fingerprint(bundle: Bundle) -> str:
    """Hex digits made of samples of every tensor of the transformer, the VAE, the text encoder and a user's decoder.

    The samples are rounded to bfloat16, so that a checkpoint opened in another precision has the same. That can hide
    what a LoRA adds, so the adapters' files and scales are part of it.
    """
    digest = hashlib.sha256()
    parts = [bundle.transformer, bundle.vae, bundle.text_encoder]
    if bundle.tiny_decoder is not None:
        parts.append(bundle.tiny_decoder.decoder)
    for name, scale in bundle.adapters:
        digest.update(f"lora {name} {scale}".encode())
    for part in parts:
        samples = []
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            flat = tensor.reshape(-1)
            samples.append(flat[:: max(1, flat.numel() // SAMPLES)][:SAMPLES].to(torch.bfloat16))
        if samples:
            digest.update(torch.cat(samples).view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
