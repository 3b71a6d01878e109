"""What a decoded clip is told: the right colours, edges where edges are, and nothing that moves on its own.

Absolute errors throughout. Where an edge's place is a little uncertain, the median of what may be there is still an
edge; the mean, which squared error asks for, is a blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.15  # a step of a channel between two pixels that counts as an edge, of 2 from black to white
NEAR, WEIGHT = 7, 4.0  # pixels about an edge that count more, and how much
AREA = 9  # pixels a side in which an edge's strength is taken


@dataclass(frozen=True)
class Crispness:
    """pixels: absolute error, more about the edges; edges, changes: error of the differences in space and in time.

    strength: by how much edges are weaker or stronger than the true ones about the same place, wherever exactly they
    are. Of an edge that cannot be placed, the first three like a soft one best. That makes it kin to a figure of
    sharpness, which is then no independent witness: look at pictures too.
    """

    pixels: Tensor
    edges: Tensor
    changes: Tensor
    strength: Tensor

    def total(self, strength: float) -> Tensor:
        """The loss, with that weight on `strength`."""
        return self.pixels + self.edges + self.changes + strength * self.strength


def crispness(made: Tensor, true: Tensor) -> Crispness:
    """Both (B, 3, T, H, W) in -1..1."""
    steps = [true.diff(dim=dim) for dim in (3, 4)]
    edges = sum((made.diff(dim=dim) - step).abs().mean() for dim, step in zip((3, 4), steps, strict=True))
    assert isinstance(edges, Tensor)
    changes = (made.diff(dim=2) - true.diff(dim=2)).abs().mean() if made.shape[2] > 1 else made.new_zeros(())
    strength = (_strength(made) - _strength(true)).abs().mean()
    return Crispness((_weight(*steps) * (made - true).abs()).mean(), edges, changes, strength)


def _strength(clip: Tensor) -> Tensor:
    """Root mean square of the steps between neighbours in every `AREA` pixels square."""
    frames = clip.transpose(1, 2).flatten(0, 1)
    steps = frames.diff(dim=2)[..., :-1].square() + frames.diff(dim=3)[..., :-1, :].square()
    return (F.avg_pool2d(steps, AREA, AREA // 2) + 1e-4).sqrt()


def _weight(down: Tensor, across: Tensor) -> Tensor:
    """`WEIGHT` about the edges, 1 elsewhere, (B, 1, T, H, W), of the truth's steps to the next row and column."""
    step = torch.maximum(F.pad(down.abs().amax(1), (0, 0, 0, 1)), F.pad(across.abs().amax(1), (0, 1)))  # (B, T, H, W)
    near = F.max_pool2d((step > EDGE).float(), NEAR, 1, NEAR // 2)
    return (1 + (WEIGHT - 1) * near)[:, None]
