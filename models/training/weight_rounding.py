"""Rounds weights to a coarser grid, so that their file compresses: a repository keeps every version."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def round_matrices(module: nn.Module, grain: float) -> None:
    """Round every matrix and kernel of `module` to multiples of its `step_of`, in place; vectors stay as they are.

    With grain 8 the error is 1/28 to 1/55 of the root mean square. The file is no smaller, but in half precision it
    compresses to little more than half. Equal steps store less at the same error than fewer significant digits.
    """
    for parameter in module.parameters():
        if parameter.ndim > 1:
            step = step_of(parameter, grain)
            parameter.copy_((parameter.float() / step).round() * step)


def step_of(matrix: Tensor, grain: float) -> Tensor:
    """The largest power of two that fits `grain` times into the matrix's root mean square."""
    return 2 ** (matrix.float().square().mean().sqrt().clamp(min=2**-14) / grain).log2().floor()
