"""The flow map as pure functions: which noise levels to visit, and how to move between two of them.

AnyFlow (arXiv 2605.13724) learns z_t -> z_r for any 1 >= t >= r >= 0, so a schedule is only a choice of stops and may
be cut short at any of them by going to r = 0. Equal to diffusers' `FlowMapEulerDiscreteScheduler`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.checkpoint.bundle import Bundle
from models.errors import RequestError

MAX_STEPS = 50
DEFAULT_STEPS = 4


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


def schedule_for(bundle: Bundle, steps: int | None = None) -> list[float]:
    """The noise levels of a chunk of `bundle`; steps None takes its fixed ones, or DEFAULT_STEPS.

    Raises RequestError for another count than that of a model that runs at fixed noise levels.
    """
    if not bundle.fixed_sigmas:
        return schedule(DEFAULT_STEPS if steps is None else steps, bundle.shift)
    count = len(bundle.fixed_sigmas) - 1
    if steps not in (None, count):
        raise RequestError(
            f"{bundle.name} runs at a fixed list of {count} steps, not {steps}; leave the steps out", code="steps_fixed"
        )
    return list(bundle.fixed_sigmas)


def cfg(uncond: Tensor, cond: Tensor, scale: Tensor | float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): uncond + scale (cond - uncond). 1 gives `cond`."""
    return uncond + scale * (cond - uncond)


def renoise(clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Clean latents to noise level `sigma` on the straight path: (1 - sigma) clean + sigma noise."""
    return (1 - sigma) * clean + sigma * noise


def step(x_t: Tensor, u: Tensor, t: float, r: float) -> Tensor:
    """x_r = x_t - (t - r) u, in fp64 and rounded to u's dtype each step, as the reference does."""
    return (x_t.double() - (t - r) * u.double()).to(u.dtype)
