from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan

from models.vae import wan_decoder
from models.vae.wan import WanVAE

PLAIN: dict[str, Any] = {"base_dim": 8, "dim_mult": [1, 2, 2], "temperal_downsample": [True, True]}
CONFIGS = {
    "plain": PLAIN,
    "more blocks, no time at the top": {**PLAIN, "num_res_blocks": 2, "temperal_downsample": [False, True]},
    "residual": {**PLAIN, "is_residual": True},
    "residual, another width to decode": {**PLAIN, "is_residual": True, "decoder_base_dim": 16, "dim_mult": [1, 4, 4]},
    "a patch of 4, another width to decode": {
        **PLAIN, "patch_size": 4, "in_channels": 48, "out_channels": 48, "decoder_base_dim": 16,
        "scale_factor_spatial": 16,
    },
    "residual, 16x": {
        **PLAIN, "is_residual": True, "dim_mult": [1, 2, 4, 4], "temperal_downsample": [True, True, False],
        "scale_factor_spatial": 16,
    },
}  # fmt: skip


def vae(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> AutoencoderKLWan:
    torch.manual_seed(0)
    rest = {"num_res_blocks": 1, "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 8}
    made = AutoencoderKLWan(**{**rest, **config}).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in made.parameters():  # gammas of 1 and biases of 0 would hide what is forgotten
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made.to(dtype)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("split", [(1, 3, 1, 3), (8,), (1,) * 8])
def test_pieces_decode_as_diffusers_decodes_the_whole(name: str, split: tuple[int, ...]) -> None:
    model = vae(CONFIGS[name])
    latents = torch.randn(1, 8, 16, 3, 4)
    with torch.no_grad():
        z = latents.transpose(1, 2)
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1, 1) for v in (model.config.latents_mean, model.config.latents_std)
        )
        whole = model.decode(z * std + mean).sample[0].permute(1, 2, 3, 0)
    wan_vae = WanVAE(model)
    state = wan_vae.start()
    ours = torch.cat([wan_vae.decode_float(state, part) for part in latents.split(split, dim=1)])
    assert ours.shape == whole.shape
    assert (ours - whole).abs().max() < 1e-5 * whole.abs().max()


def test_half_precision_rounds_where_diffusers_rounds() -> None:
    model = vae(CONFIGS["residual"], torch.bfloat16)
    latents = torch.randn(1, 4, 16, 4, 4, dtype=torch.bfloat16)
    wan_vae = WanVAE(model)
    z = latents.transpose(1, 2) * wan_vae.std.to(latents) + wan_vae.mean.to(latents)
    whole = model.decode(z).sample[0].permute(1, 2, 3, 0)
    difference = (wan_vae.decode_float(wan_vae.start(), latents) - whole).float()
    assert difference.square().mean().sqrt() < 0.02 * whole.float().square().mean().sqrt()


def test_a_state_is_a_value() -> None:
    wan_vae = WanVAE(vae(CONFIGS["residual"]))
    state, latents = wan_vae.start(), torch.randn(1, 4, 16, 4, 4)
    wan_vae.decode(state, latents)
    twin, kept = state.clone(), [slot.clone() for slot in state.cache]
    first = wan_vae.decode(state, latents)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(twin.cache, kept, strict=True))
    assert torch.equal(wan_vae.decode(twin, latents), first)
    assert state.nbytes == sum(slot.nbytes for slot in kept) > 0


def test_every_slot_is_used() -> None:
    for config in CONFIGS.values():
        wan_vae = WanVAE(vae(config))
        state = wan_vae.start()
        assert len(state.cache) == wan_decoder.slots(wan_vae.vae.decoder)
        wan_vae.decode(state, torch.randn(1, 2, 16, 2, 2))
        assert all(isinstance(slot, torch.Tensor) for slot in state.cache)
