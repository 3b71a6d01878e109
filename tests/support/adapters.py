"""Files that a user gives to --decoder and --lora, with random numbers, and a model folder that takes them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from models.checkpoint.bundle import save_bundle
from models.vae.taehv import TinyDecoder
from tests.support.small_bundle import small_bundle


def model_folder(folder: Path) -> Path:
    """`small_bundle` in diffusers layout."""
    save_bundle(small_bundle(), folder)
    return folder


def decoder_file(path: Path) -> Path:
    """A TAEHV decoder."""
    torch.manual_seed(0)
    save_file({f"decoder.{name}": value for name, value in TinyDecoder().decoder.state_dict().items()}, path)
    return path


def lora_file(path: Path) -> Path:
    """A LoRA of rank 2 for one layer of `small_bundle`."""
    torch.manual_seed(0)
    layer = "transformer.blocks.0.attn1.to_q"
    save_file({f"{layer}.lora_A.weight": torch.randn(2, 48), f"{layer}.lora_B.weight": torch.randn(48, 2)}, path)
    return path
