"""What the forward objective makes of its choices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.training.data.windows import draw_window
from models.training.losses.flow_map_loss import forward_losses
from tests.support.torchrun_worker import CHOICE, clips, network


def test_context_noise_reaches_the_context_alone() -> None:
    plain, noisy = (
        draw_window(clips(), 3, 64, CHOICE.noise_levels, np.random.default_rng(1), near=3, context_noise=most)
        for most in (0.0, 0.5)
    )
    assert torch.equal(plain.clean, noisy.clean)
    assert torch.equal(plain.context, plain.clean)
    spread = (noisy.context - noisy.clean).flatten(1).std(1)
    assert 0.0 <= float(spread.min()) < 0.1
    assert 0.4 < float(spread.max()) < 0.6


def test_a_channel_of_no_weight_does_not_count() -> None:
    window = draw_window(clips(), 3, 8, CHOICE.noise_levels, np.random.default_rng(0), near=3)
    channels = window.clean.shape[2]
    other = replace(window, noise=window.noise.clone(), clean=window.clean.clone())
    # t = r = 1: the network sees noise alone, so only the target changes with the last channel of the clean latents.
    window, other = (replace(w, t=torch.ones_like(w.t), r=torch.ones_like(w.r)) for w in (window, other))
    other.clean[:, :, -1] += 5
    blind = replace(CHOICE, channels=(*[1.0] * (channels - 1), 0.0), guidance=1.0, weight="uniform")
    net = network()
    with torch.no_grad():
        (a, _), (b, _) = (forward_losses(blind, net, w) for w in (window, other))
        (c, _), (d, _) = (forward_losses(replace(blind, channels=()), net, w) for w in (window, other))
    assert float(a) == pytest.approx(float(b), rel=1e-5)
    assert float(d) > 2 * float(c)


def test_dropped_captions_have_the_published_gradient_with_guide_dropped() -> None:
    """At r = t the value of the loss stays that of the plain velocity, and the gradient is divided by the guidance."""
    window = draw_window(clips(), 2, 4, CHOICE.noise_levels, np.random.default_rng(0), near=3)
    window = replace(window, captions=("",) * 4, r=window.t)
    plain = replace(CHOICE, guidance=3.0, fuse="published", weight="uniform", focus=0.0)
    losses, gradients = [], []
    for choice in (plain, replace(plain, guide_dropped=True)):
        net = network()
        diffusion, flow_map = forward_losses(choice, net, window)
        loss = diffusion + flow_map
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, net.transformer.proj_out.weight)[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0] / 3, rtol=1e-3, atol=1e-6)


def test_bidirectional_rows_are_not_weighted_by_level() -> None:
    window = draw_window(clips(), 2, 4, CHOICE.bidirectional_noise_levels, np.random.default_rng(0), near=3)
    net = network()
    with torch.no_grad():
        uniform, weighted = (
            float(forward_losses(replace(CHOICE, guidance=1.0, weight=w), net, window, bidirectional=True)[0])
            for w in ("uniform", "beta08")
        )
    assert weighted == uniform
