"""Flow matching and flow maps as pure functions of tensors.

Noise levels run from 1 (noise) to 0 (clean) along z_t = (1 - t) x0 + t eps, whose velocity is v = eps - x0 (flow
matching, arXiv 2210.02747, eq. 22 with the ends exchanged). The flow map's mean velocity u(z_t, t, r) moves
from t to r <= t in one step, z_r = z_t - (t - r) u, and obeys u = v - (t - r) du/dt along the path (AnyFlow, arXiv
2605.13724, section 3.2, "forward flow map"; the same identity as MeanFlow, arXiv 2505.13447, eq. 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from models.rollout.flowmap import shifted

_GRID = 1000


def per_frame(level: Tensor) -> Tensor:
    """(B, F) to (B, F, 1, 1, 1), so that it multiplies latents."""
    return level[..., None, None, None]


def noised(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t = (1 - t) x0 + t eps; latents (B, F, C, h, w), t (B, F)."""
    level = per_frame(t)
    return (1 - level) * clean + level * noise


def flow_map_step(z: Tensor, u: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """z_r = z_t - (t - r) u: one transition of the flow map (AnyFlow, section 3.1)."""
    return z - per_frame(t - r) * u


@cache
def _mean_beta08(shift: float) -> float:
    """Mean of t sqrt(1 - t) over the shifted grid of training levels."""
    levels = [shifted(i / _GRID, shift) for i in range(_GRID + 1)]
    return sum(t * math.sqrt(1 - t) for t in levels) / len(levels)


def beta08(t: Tensor, shift: float) -> Tensor:
    """The weight called beta08 in AnyFlow's recipe: t sqrt(1 - t), of mean 1 over levels uniform before the shift."""
    return t * (1 - t).clamp(min=0).sqrt() / _mean_beta08(shift)


def focused(clean: Tensor, t: Tensor, strength: float) -> Tensor:
    """Spatial weight (B, F, 1, h, w) of mean 1 a frame, for latents `clean` (B, F, C, h, w).

    Higher where a cell differs from the frame's median (an object), from its neighbours (an outline), and from the
    frame before (a change). The effect is proportional to 1 - t: at high noise the clean latents are not determined by
    z_t, and a weight that depends on them would bias the prediction's mean.
    """
    ground = clean.flatten(3).median(3).values[..., None, None]
    about = F.avg_pool2d(F.pad(clean.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(clean)
    counts = _distance(clean, ground) + _distance(clean, about)
    if clean.shape[1] > 1:
        change = _distance(clean[:, 1:], clean[:, :-1])
        counts = counts + torch.cat([change[:, :1], change], dim=1)
    weight = 1 + strength * (1 - per_frame(t)) * counts
    return weight / weight.mean((3, 4), keepdim=True)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Root mean square over the channels, at most 1; (B, F, 1, h, w)."""
    return (one - other).square().mean(2, keepdim=True).sqrt().clamp(max=1.0)


def central_difference(
    u: Callable[[Tensor, Tensor], Tensor], z: Tensor, t: Tensor, velocity: Tensor, epsilon: float
) -> Tensor:
    """du/dt along the path through z with `velocity`: (u(z + e v, t + e) - u(z - e v, t - e)) / 2e.

    AnyFlow uses e = 5 of 1000 levels in place of a Jacobian product, which no fused attention kernel offers. Levels are
    kept within 0..1, so at the ends it is a one-sided difference.
    """
    up, down = (t + epsilon).clamp(max=1.0), (t - epsilon).clamp(min=0.0)
    ahead = u(z + per_frame(up - t) * velocity, up)
    behind = u(z + per_frame(down - t) * velocity, down)
    return (ahead - behind) / per_frame(up - down)


def flow_map_target(velocity: Tensor, slope: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """Target of u(z_t, t, r): v - (t - r) du/dt."""
    return velocity - per_frame(t - r) * slope


def same(value: Tensor) -> Tensor:
    """The identity, for a mean over one process."""
    return value


def rescaled(
    error: Tensor, mapped: Tensor, weight: Tensor, mean_of: Callable[[Tensor], Tensor] = same
) -> tuple[Tensor, Tensor]:
    """Errors (B,) of a batch to (loss of the diffusion rows, loss of the others); their sum is the mean over all rows.

    `mapped` (B,) marks the rows with r < t. Each of them is divided by its own size and multiplied by the mean of the
    diffusion rows (AnyFlow's published recipe): a difference quotient is noisy, and so no row can outweigh the velocity
    field that the others are derived from. Without diffusion rows (an endpoint-consistency student) each is divided by
    its own size alone (MeanFlow, arXiv 2505.13447, section 4.3, adaptive weight, p = 1): unbounded, such a student
    diverges. `weight` (B,) leaves rows out (0) or counts them in part. `mean_of` takes the mean of a value over all
    processes, so that processes whose gradients are averaged do what one process does with all of their rows.
    """
    mapped = mapped.to(error.dtype)
    plain_sum = (error * weight * (1 - mapped)).sum()
    sums = torch.stack([plain_sum.detach(), (weight * (1 - mapped)).sum(), weight.sum()])
    all_plain, plain_count, count = mean_of(sums)
    mean = torch.where(plain_count > 0, all_plain / plain_count.clamp(min=1e-6), torch.ones_like(all_plain))
    scale = mean / (error.detach() + torch.where(plain_count > 0, 1e-5, 1e-3))
    count = count.clamp(min=1e-6)
    return plain_sum / count, (error * scale * weight * mapped).sum() / count
