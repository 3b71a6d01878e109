"""A snapshot as bytes (safetensors) and back."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load, save


def pack(snapshot: dict[str, object]) -> bytes:
    """A snapshot as safetensors: tensors as they are, everything else as JSON in the header."""
    tensors = {name: value.contiguous() for name, value in snapshot.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in snapshot.items() if not isinstance(value, torch.Tensor)}
    return bytes(save(tensors, {"rest": json.dumps(rest)}))


def unpack(blob: bytes) -> dict[str, object]:
    """The inverse of `pack`."""
    size = int.from_bytes(blob[:8], "little")
    rest = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["rest"])
    return {**load(blob), **rest}
