"""The flow map as pure functions: which noise levels to visit, and how to move between two of them.

AnyFlow (arXiv 2605.13724) learns z_t -> z_r for any 1 >= t >= r >= 0, so a schedule is only a choice of stops and may
be cut short at any of them by going to r = 0. Equal to diffusers' `FlowMapEulerDiscreteScheduler`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.errors import RequestError

MAX_STEPS = 50


def check_steps(steps: int) -> int:
    """`steps` itself when it is a whole number in 1..50, else RequestError."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise RequestError(f"steps is {steps!r}; it must be a whole number from 1 to {MAX_STEPS}", code="invalid_steps")
    return steps


def shifted(x: float, shift: float) -> float:
    """Uniform position x (1 = noise) to the noise level sigma: s x / (1 + (s - 1) x)."""
    return shift * x / (1 + (shift - 1) * x)


def unshifted(sigma: float, shift: float) -> float:
    """Inverse of `shifted`."""
    return sigma / (shift - (shift - 1) * sigma)


def schedule(steps: int, shift: float) -> list[float]:
    """The steps + 1 noise levels from 1.0 to 0.0, in double precision."""
    uniform = torch.linspace(1.0, 0.0, check_steps(steps) + 1, dtype=torch.float64)[:-1]
    return [*(shifted(x, shift) for x in uniform.tolist()), 0.0]


def sigma_after(sigma: float, steps_left: int, shift: float) -> float:
    """Where the next of `steps_left` even steps from `sigma` down to 0 ends. One step left goes to 0."""
    if steps_left <= 1:
        return 0.0
    return shifted(unshifted(sigma, shift) * (steps_left - 1) / steps_left, shift)


def cfg(uncond: Tensor, cond: Tensor, scale: Tensor | float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): uncond + scale (cond - uncond). 1 gives `cond`."""
    return uncond + scale * (cond - uncond)


def renoise(clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Clean latents to noise level `sigma` on the straight path: (1 - sigma) clean + sigma noise."""
    return (1 - sigma) * clean + sigma * noise


def step(x_t: Tensor, u: Tensor, t: float, r: float) -> Tensor:
    """x_r = x_t - (t - r) u, in fp64 and rounded to u's dtype each step, as the reference does."""
    return (x_t.double() - (t - r) * u.double()).to(u.dtype)
