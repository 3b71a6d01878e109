"""The noise of a chunk, as a function of (seed, chunk, draw) alone.

Counter-based (Philox4x64-10, Salmon et al., SC 2011; numpy's bit stream) with Box-Muller on top, made on the CPU: a
snapshot needs no generator state, chunks can be made in any order, every device starts from the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_SEED_BITS = 64


def chunk_noise(seed: int, chunk: int, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Standard normal fp32 tensor of `shape` on the CPU. The seed is any integer, taken modulo 2**64.

    draw: 0 for the noise a chunk starts from, n for its n-th re-noising.
    """
    count = math.prod(shape)
    pairs = (count + 1) // 2
    key = np.array([seed % 2**_SEED_BITS, 0], dtype=np.uint64)
    counter = np.array([0, 0, chunk, draw], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(2 * pairs)
    uniform = (np.right_shift(bits, np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # inside (0, 1)
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return torch.from_numpy(normal.astype(np.float32)).reshape(tuple(shape))
