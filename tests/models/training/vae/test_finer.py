"""A finer VAE is the old one until it learns: the same latents, and the same pictures with every pixel four times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.training.vae.finer import finer_vae
from models.vae.wan import WanVAE
from tests.support.small_vae import small_vae


@pytest.fixture(scope="module")
def pair() -> tuple[WanVAE, WanVAE]:
    old = small_vae()
    return WanVAE(old), WanVAE(finer_vae(old, noise=0.0))


def test_its_latents_are_those_of_the_averaged_picture(pair: tuple[WanVAE, WanVAE]) -> None:
    old, new = pair
    averages = np.random.default_rng(0).integers(10, 246, (9, 32, 48, 3), dtype=np.uint8)
    large = averages.repeat(2, 1).repeat(2, 2)
    large[:, 0::2, 0::2] += 9  # each four pixels still average to what they were
    large[:, 1::2, 1::2] -= 9
    expected = old.encode(old.start_encoder(), averages)
    torch.testing.assert_close(new.encode(new.start_encoder(), large), expected, rtol=1e-4, atol=1e-5)


def test_it_begins_with_the_same_pictures_at_twice_the_size(pair: tuple[WanVAE, WanVAE]) -> None:
    old, new = pair
    latents = torch.randn(1, 4, 5, 3, 4)
    small, large = (vae.decode_float(vae.start(), latents) for vae in (old, new))
    assert large.shape == (13, 48, 64, 3)
    expected = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(large, expected, rtol=1e-4, atol=1e-5)


def test_twin_channels_can_learn_to_differ() -> None:
    finer = finer_vae(small_vae(), noise=0.0)
    finer.requires_grad_(True)
    finer.decode(torch.randn(1, 5, 1, 3, 4)).sample.square().mean().backward()
    kernel = finer.decoder.mid_block.resnets[0].conv1.weight.grad
    first, second = kernel.chunk(2)
    assert (first - second).abs().max() > 0.01 * first.abs().max()


def test_it_says_how_large_its_pictures_are() -> None:
    config = finer_vae(small_vae()).config
    assert (config.scale_factor_spatial, config.patch_size, config.decoder_base_dim) == (16, 4, 16)
