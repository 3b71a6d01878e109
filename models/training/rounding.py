"""Weights with fewer significant bits, so that the file they are in compresses: a repository keeps every version."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def round_matrices(module: nn.Module, bits: int) -> None:
    """Round every matrix and kernel of `module` to `bits` significant bits, in place; vectors stay as they are.

    The relative error is at most 2^-bits. The file is no smaller, but in half precision with 5 bits it compresses to
    two thirds.
    """
    for parameter in module.parameters():
        if parameter.ndim > 1:
            share, exponent = torch.frexp(parameter.float())  # share in 0.5 .. 1
            parameter.copy_(torch.ldexp((share * 2**bits).round() / 2**bits, exponent))
