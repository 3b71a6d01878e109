"""The device and the precision that a model runs at."""

from __future__ import annotations

import torch

from models.errors import ModelError


def pick_device(device: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:1" to a device that is there, or ModelError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; use auto, cpu or cuda", code="invalid_device") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device is visible to PyTorch; use --device cpu", code="invalid_device")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"there is no {place}; PyTorch sees {torch.cuda.device_count()} CUDA devices", code="invalid_device"
        )
    return place


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32
