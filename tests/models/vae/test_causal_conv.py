from __future__ import annotations

import copy

import pytest
import torch
from diffusers import AutoencoderKLWan

from models.vae.causal_conv import fold_causal_convs, unfold_causal_convs


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=8, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[True, True],
        in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=8,
    ).eval()  # fmt: skip


def test_decode_and_encode_stay_equal(vae: AutoencoderKLWan) -> None:
    folded = copy.deepcopy(vae)
    count = fold_causal_convs(folded)
    assert count > 20
    assert list(folded.state_dict()) == list(vae.state_dict())
    latents, video = torch.randn(2, 16, 4, 4, 4), torch.rand(2, 3, 13, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(folded.decode(latents).sample, vae.decode(latents).sample, atol=2e-5, rtol=0)
        torch.testing.assert_close(folded._encode(video), vae._encode(video), atol=2e-5, rtol=0)
    assert unfold_causal_convs(folded) == count


def test_gradients_stay_equal_and_follow_the_weights(vae: AutoencoderKLWan) -> None:
    folded = copy.deepcopy(vae)
    fold_causal_convs(folded)
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    with torch.no_grad():
        folded._encode(video)  # fills the inference cache, which the training step below must not use
    for model in (vae, folded):
        model.zero_grad()
        model.decode(model.encode(video).latent_dist.mode()).sample.square().mean().backward()
    for (name, ours), (_, theirs) in zip(folded.named_parameters(), vae.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-3, msg=name)


def test_cached_kernel_follows_an_in_place_update(vae: AutoencoderKLWan) -> None:
    folded = copy.deepcopy(vae)
    fold_causal_convs(folded)
    video = torch.rand(1, 3, 1, 16, 16)
    with torch.no_grad():
        before = folded._encode(video)
        folded.encoder.conv_in.weight.mul_(2.0)
        assert not torch.allclose(before, folded._encode(video))
