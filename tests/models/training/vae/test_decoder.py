"""The finer VAE's stage: the encoder stays, a stretch decodes as the whole clip does, a stopped run goes on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from models.training.commands import TrainingError, run
from models.training.vae.decoder import begin, decode_part, optimizer_of, shaken, slope
from models.training.vae.long_clips import FRAMES, LongClips
from models.training.vae.train import decode, encode_moments
from tests.support.small_vae import SMALL, small_vae

CONFIG = """
folder = "{folder}"
size = 32
[vae_model]
scale_factor_spatial = 8
is_residual = {residual}
[finer]
steps = {steps}
batch = 3
pool = 3
held_out = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vae = small_vae()
    vae.register_to_config(latents_mean=[0.5] * 5)
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path


def finer(folder: Path, steps: int, residual: str = "false") -> None:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(folder=folder, steps=steps, residual=residual))
    run("finer", path)


def test_the_stage_leaves_the_latents_alone_and_goes_on_where_it_was_stopped(folder: Path) -> None:
    finer(folder, 3)
    finer(folder, 6)  # as if stopped after three: the coarse VAE is still the one to begin from
    made = AutoencoderKLWan.from_pretrained(folder / "vae").eval()
    first = begin(str(folder / "vae-coarse"), 0)
    assert made.config.scale_factor_spatial == 2 * SMALL["scale_factor_spatial"]
    clip = torch.rand(1, 3, 5, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(encode_moments(made, clip)[0], encode_moments(first, clip)[0], rtol=1e-4, atol=1e-5)
    kernels = [vae.decoder.mid_block.resnets[0].conv1.weight for vae in (made, first)]
    assert not torch.equal(*kernels)
    assert json.loads((folder / "vae" / "report.json").read_text())["clips"] == 1


def test_a_residual_vae_is_refused_with_a_reason(folder: Path) -> None:
    with pytest.raises(TrainingError, match="residual VAE cannot be made finer"):
        finer(folder, 1, residual="true")


def test_a_stretch_decodes_as_in_the_whole_clip_and_its_gradient_is_its_own(folder: Path) -> None:
    vae = begin(str(folder / "vae"), 0)
    latents = torch.randn(1, 5, 5, 4, 4, requires_grad=True)
    whole = decode(vae, latents)
    stretch = decode_part(vae, latents, 3)
    torch.testing.assert_close(stretch, whole[:, :, 9:], rtol=1e-4, atol=1e-5)
    stretch.square().mean().backward()
    assert latents.grad is not None
    assert latents.grad[:, :, :3].abs().max() == 0
    assert latents.grad[:, :, 3:].abs().max() > 0
    torch.testing.assert_close(decode_part(vae, latents, 0), whole, rtol=1e-4, atol=1e-5)


def test_only_the_decoder_learns(folder: Path) -> None:
    vae = begin(str(folder / "vae"), 0)
    learning = {id(p) for group in optimizer_of(vae, 1e-3).param_groups for p in group["params"]}
    assert learning == {id(p) for p in (*vae.decoder.parameters(), *vae.post_quant_conv.parameters())}
    assert not any(p.requires_grad for p in (*vae.encoder.parameters(), *vae.quant_conv.parameters()))


def test_latents_are_shaken_by_different_amounts_some_not_at_all(folder: Path) -> None:
    torch.manual_seed(0)
    vae = begin(str(folder / "vae"), 0)
    away = (shaken(torch.zeros(200, 5, 3, 4, 4), vae, 0.1) / SMALL["latents_std"][0]).flatten(1).std(1)
    assert 0.1 < (away == 0).float().mean() < 0.4
    assert 0.08 < away.max() < 0.12


def test_parts_of_clips_have_the_latents_of_their_frames(folder: Path) -> None:
    vae = begin(str(folder / "vae"), 0)
    clips = LongClips(vae, size=64, count=2, cuts=0.5, rng=np.random.default_rng(0))
    for _ in range(12):
        part = clips.whole(2)
        assert part.true.shape[2] == decode_part(vae, part.latents, part.warm).shape[2] <= FRAMES
        assert part.true.shape[3:] == (64, 64)
    crops = clips.crops(3)
    assert crops.warm == 0
    assert crops.true.shape == (3, 3, 9, 32, 32)
    torch.testing.assert_close(crops.latents, encode_moments(vae, crops.true)[0])


def test_the_rate_is_level_and_then_falls_almost_to_nothing() -> None:
    rates = [slope(done / 100) for done in range(101)]
    assert rates[:16] == [1.0] * 16
    assert all(a > b for a, b in itertools.pairwise(rates[15:]))
    assert 0 < rates[-1] < 0.03


def test_clips_that_one_caption_tells_come_redrawn_and_only_once(folder: Path) -> None:
    told: list[str] = []

    def redraw(latents: torch.Tensor, words: str) -> torch.Tensor:
        told.append(words)
        return torch.full_like(latents, 7.0)

    vae = begin(str(folder / "vae"), 0)
    rng = np.random.default_rng(0)
    clips = LongClips(vae, size=64, count=2, cuts=0.0, rng=rng, redraw=redraw, redrawn=1.0)
    parts = [clips.whole(2) for _ in range(4)]
    assert all(bool((part.latents == 7).all()) for part in parts)
    assert 1 <= len(told) <= 2
    assert all(" on a " in words for words in told)
    cut = LongClips(vae, size=64, count=2, cuts=1.0, rng=rng, redraw=redraw, redrawn=1.0)
    assert not (cut.whole(2).latents == 7).any()
