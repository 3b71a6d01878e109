"""Distribution matching distillation (DMD): the gradient of KL(student || teacher) from two score networks.

Both scores are flow networks at r = t, so each predicts a velocity v at z_t and with it the clean latents
x0 = z_t - t v. The real one is the frozen teacher under guidance, the fake one is trained on the student's samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.training.losses.flow_matching import per_frame

Velocity = Callable[[Tensor, Tensor], Tensor]  # (z (B, F, C, h, w), t (B, F)) to v


def clean_from(z: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """x0 = z_t - t v: the flow map's step to 0 with the instantaneous velocity."""
    return z - per_frame(t) * velocity


@torch.no_grad()
def matching_gradient(sample: Tensor, z: Tensor, t: Tensor, fake: Velocity, real: Velocity) -> Tensor:
    """Gradient of KL(student || teacher) at `sample`, which was noised to z at levels t (B, F).

    The difference of the two scores, which is that of the two predicted clean latents up to a positive factor (DMD2,
    arXiv 2405.14867, eq. 2), divided a sample at a time by the mean distance to the teacher's prediction (DMD, arXiv
    2311.18828, eq. 8): it is small near the data and large at high noise.
    """
    real_clean, fake_clean = clean_from(z, real(z, t), t), clean_from(z, fake(z, t), t)
    size = (sample - real_clean).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    return torch.nan_to_num((fake_clean - real_clean) / size.clamp(min=1e-4))


def matching_loss(sample: Tensor, gradient: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    """Mean square of `sample` less its fixed target `sample - gradient`, over values and over `count` frames.

    weight: (B, F), 0 for frames that do not count. The derivative by a value of `sample` is twice `gradient` over the
    number of values: the published code's plain mean square, without the factor 1/2 of DMD2's text.
    """
    target = (sample - gradient).detach()
    error = (sample - target).square().mean(dim=(2, 3, 4))
    return (error * weight).sum() / count.clamp(min=1e-6)
