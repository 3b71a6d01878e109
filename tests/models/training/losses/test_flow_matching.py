"""The arithmetic of flow-map training on Gaussians, where the exact flow map is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.rollout.flowmap import cfg
from models.training.losses.flow_matching import (
    beta08,
    central_difference,
    flow_map_step,
    flow_map_target,
    focused,
    noised,
    per_frame,
    rescaled,
)

MEAN, STD = 0.7, 0.4


def spread(t: Tensor) -> Tensor:
    """Standard deviation of z_t for data N(MEAN, STD^2)."""
    return ((1 - t) ** 2 * STD**2 + t**2).sqrt()


def velocity(z: Tensor, t: Tensor) -> Tensor:
    """E[eps - x0 | z_t = z]: the probability flow's velocity."""
    t = per_frame(t)
    deviation = z - (1 - t) * MEAN
    variance = spread(t) ** 2
    return deviation * (t - (1 - t) * STD**2) / variance - MEAN


def mean_velocity(z: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """The exact u: the flow keeps (z - mean) / spread, so z_r = (1 - r) m + spread(r) / spread(t) (z - (1 - t) m)."""
    t, r = per_frame(t), per_frame(r)
    end = (1 - r) * MEAN + spread(r) / spread(t) * (z - (1 - t) * MEAN)
    return (z - end) / (t - r)


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    t = torch.rand(16, 1, dtype=torch.float64) * 0.8 + 0.15
    r = t * torch.rand(16, 1, dtype=torch.float64) * 0.9
    return torch.randn(16, 1, 2, 3, 3, dtype=torch.float64), t, r


def test_the_exact_flow_map_is_the_targets_fixed_point() -> None:
    z, t, r = pairs()
    v = velocity(z, t)
    errors = []
    for epsilon in (0.02, 0.01, 0.005):
        slope = central_difference(lambda z, t: mean_velocity(z, t, r), z, t, v, epsilon)
        target = flow_map_target(v, slope, t, r)
        errors.append(float((target - mean_velocity(z, t, r)).abs().max()))
    assert errors[-1] < 5e-3  # 5 of 1000 levels, as published
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)  # the error is of second order


def test_one_step_of_the_exact_map_is_the_whole_flow() -> None:
    z, t, r = pairs()
    direct = flow_map_step(z, mean_velocity(z, t, r), t, r)
    x, levels = z, [t + (r - t) * k / 800 for k in range(801)]
    for now, then in pairwise(levels):  # midpoint rule
        half = (now + then) / 2
        x = flow_map_step(x, velocity(flow_map_step(x, velocity(x, now), now, half), half), now, then)
    torch.testing.assert_close(x, direct, rtol=1e-5, atol=1e-6)


def test_a_slope_at_the_ends_stays_within_the_levels() -> None:
    z = torch.randn(2, 1, 1, 2, 2, dtype=torch.float64)
    seen: list[float] = []

    def u(z: Tensor, t: Tensor) -> Tensor:
        seen.extend(t.flatten().tolist())
        return z * 0 + per_frame(t) ** 2

    t = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    slope = central_difference(u, z, t, torch.zeros_like(z), 0.005)
    assert min(seen) == 0.0
    assert max(seen) == 1.0
    torch.testing.assert_close(slope[:, 0, 0, 0, 0], torch.tensor([1.995, 0.005], dtype=torch.float64))


def test_beta08_has_mean_one_and_vanishes_at_the_ends() -> None:
    x = torch.linspace(0, 1, 20001, dtype=torch.float64)
    t = 5 * x / (1 + 4 * x)
    assert float(beta08(t, 5.0).mean()) == pytest.approx(1, abs=1e-3)
    assert float(beta08(torch.tensor(0.0), 5.0)) == float(beta08(torch.tensor(1.0), 5.0)) == 0
    top = float(x[beta08(x, 1.0).argmax()])
    assert top == pytest.approx(2 / 3, abs=1e-3)  # of t sqrt(1 - t)


def test_noised_and_moved_are_inverse() -> None:
    torch.manual_seed(0)
    clean, noise, t = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 4, 2, 2), torch.rand(2, 3)
    torch.testing.assert_close(flow_map_step(noised(clean, noise, t), noise - clean, t, torch.zeros_like(t)), clean)


def test_guidance_of_one_is_none() -> None:
    a, b = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(cfg(a, b, 1.0), b)
    torch.testing.assert_close(cfg(a, b, 3.0), 3 * b - 2 * a)


def test_rescaled_rows_weigh_as_much_as_the_diffusion_rows() -> None:
    error = torch.tensor([1.0, 3.0, 50.0, 0.01], requires_grad=True)
    mapped = torch.tensor([False, False, True, True])
    plain, others = rescaled(error, mapped, torch.ones(4))
    assert plain.item() == pytest.approx(1.0)  # (1 + 3) / 4
    assert others.item() == pytest.approx(1.0, abs=1e-3)  # each 2, over 4 rows
    (plain + others).backward()
    assert error.grad is not None
    assert error.grad.tolist() == pytest.approx([0.25, 0.25, 2 / 50 / 4, 2 / 0.01001 / 4], rel=1e-3)


def test_rescaled_leaves_rows_out_and_works_without_either_kind() -> None:
    error = torch.tensor([1.0, 9.0, 4.0])
    plain, others = rescaled(error, torch.tensor([False, False, True]), torch.tensor([1.0, 0.0, 1.0]))
    assert (plain.item(), others.item()) == (pytest.approx(0.5), pytest.approx(0.5, abs=1e-3))
    everything = torch.ones(3)
    assert [x.item() for x in rescaled(error, torch.zeros(3, dtype=torch.bool), everything)] == pytest.approx(
        [14 / 3, 0]
    )
    assert [x.item() for x in rescaled(error, torch.ones(3, dtype=torch.bool), everything)] == pytest.approx(
        [0, 1], abs=2e-3
    )  # each by its own size


def test_processes_together_do_what_one_does() -> None:
    torch.manual_seed(0)
    error, mapped, weight = torch.rand(8), torch.arange(8) >= 5, torch.rand(8)
    whole = sum(rescaled(error, mapped, weight))
    sums = torch.stack([(error * weight * ~mapped).sum(), (weight * ~mapped).sum(), weight.sum()]) / 2
    parts = [sum(rescaled(error[h], mapped[h], weight[h], lambda _: sums)) for h in (slice(0, 4), slice(4, 8))]
    assert float((parts[0] + parts[1]) / 2) == pytest.approx(float(whole), rel=1e-5)


def test_guidance_fused_into_the_velocity_gives_that_fields_flow_map() -> None:
    """Two Gaussians, guided: the field v_g = v0 + w (v1 - v0) is affine, its exact map comes by integrating finely."""
    scale, other = 3.0, 1.3  # the unconditional data: N(0, 1.3^2)

    def field(z: Tensor, t: Tensor) -> Tensor:
        level = per_frame(t)
        variance = (1 - level) ** 2 * other**2 + level**2
        return cfg(z * (level - (1 - level) * other**2) / variance, velocity(z, t), scale)

    def exact(z: Tensor, t: Tensor, r: Tensor, parts: int = 400) -> Tensor:
        x = z
        for k in range(parts):
            now, then = t + (r - t) * k / parts, t + (r - t) * (k + 1) / parts
            half = (now + then) / 2
            x = flow_map_step(x, field(flow_map_step(x, field(x, now), now, half), half), now, then)
        return (z - x) / per_frame(t - r)

    z, t, r = pairs()
    v = field(z, t)
    slope = central_difference(lambda z, t: exact(z, t, r), z, t, v, 0.005)
    gap = (flow_map_target(v, slope, t, r) - exact(z, t, r)).abs().max() / exact(z, t, r).abs().max()
    assert float(gap) < 0.01
    assert math.isfinite(float(gap))


def test_focus_is_on_what_stands_out_and_only_when_it_is_certain() -> None:
    clean = torch.zeros(1, 1, 2, 8, 8)
    clean[..., 2:7, 2:7] = 1.0
    weight = focused(clean, torch.tensor([[0.0]]), 4.0)[0, 0, 0]
    assert float(weight[4, 4]) == pytest.approx(5 * float(weight[0, 0]))  # object
    assert float(weight[2, 4]) > float(weight[4, 4]) > float(weight[1, 4]) > float(weight[0, 0])  # outline
    assert float(weight.mean()) == pytest.approx(1)
    torch.testing.assert_close(focused(clean, torch.tensor([[1.0]]), 4.0), torch.ones(1, 1, 1, 8, 8))


def test_focus_is_on_what_changes_from_frame_to_frame() -> None:
    clean = torch.zeros(1, 3, 2, 8, 8)
    clean[:, :, :, 2:7, 2:7] = 1.0
    clean[:, 2, :, 4, 4] = 0.0  # in the middle of the object, in the last frame
    weight = focused(clean, torch.zeros(1, 3), 4.0)[0, :, 0]
    assert float(weight[2, 4, 4]) > float(weight[2, 4, 3])
    assert float(weight[1, 4, 4]) == pytest.approx(float(weight[1, 4, 3]))
