"""Clips in a transformer's hand: near the truth from little noise, far from much; from noise alone, a take."""

from __future__ import annotations

import pytest
import torch

from models.checkpoint.bundle import Bundle
from models.rollout.batch import batch_latents
from models.training.vae.redrawn_latents import redraw
from tests.support.small_bundle import small_bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_bundle()


def test_little_noise_leaves_the_clip_and_more_moves_it_more(bundle: Bundle) -> None:
    true = torch.randn(1, 6, *bundle.latent_shape)
    away = []
    for level in (1e-4, 0.2, 0.8):
        torch.manual_seed(0)
        made = redraw(bundle, true, "a red star", [level, 0.0])
        assert made.shape == true.shape
        away.append((made - true).square().mean().sqrt().item())
    assert away[0] < 1e-2
    assert away[0] < away[1] < away[2]


def test_from_nothing_but_noise_it_is_a_take(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [torch.randn(1, frames, *bundle.latent_shape) for frames in (1, 3, 3)]
    monkeypatch.setattr("models.rollout.batch._noise", lambda seeds, chunk, shape: noise[chunk])
    take = batch_latents(bundle, ["a red star"], [0], 7, 1, guidance=1.0)
    left = iter(noise)
    monkeypatch.setattr("torch.randn_like", lambda _: next(left))
    made = redraw(bundle, torch.zeros_like(take), "a red star", [1.0, 0.0])
    torch.testing.assert_close(made, take)
