"""The whole ladder on a very small model: every stage runs, stops, goes on, and ends in a checkpoint that streams."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file

from models.bundle import open_bundle
from models.generate import generate
from models.training.project import project_vae
from models.training.stages import TINY_CPU, TrainingError, run

SMALL = """
folder = "{folder}"
export = "{folder}/out"
[vae_model]
base_dim = 8
z_dim = 6
dim_mult = [1, 1, 1, 1]
num_res_blocks = 1
attn_scales = []
temperal_downsample = [true, true, false]
in_channels = 12
out_channels = 12
is_residual = true
patch_size = 2
scale_factor_spatial = 16
scale_factor_temporal = 4
latents_mean = [0, 0, 0, 0, 0, 0]
latents_std = [1, 1, 1, 1, 1, 1]
[vae]
steps = {vae_steps}
batch = 1
pool = 2
held_out = 1
[data.images]
clips = 3
chunks = 1
seed = 1
[data.clips]
clips = 2
chunks = 4
seed = 2
[transformer]
num_attention_heads = 2
attention_head_dim = 16
in_channels = 4
out_channels = 4
text_dim = 32
freq_dim = 16
ffn_dim = 32
num_layers = 1
[teacher]
steps = {steps}
windows = [0.4, 0.2, 0.2, 0.2]
batch = [2]
shift = 3.0
[flowmap]
start = "teacher"
steps = 2
windows = [0.5, 0.0, 0.0, 0.5]
batch = [4]
shift = 3.0
pairs = [0.5, 0.25, 0.25]
"""


def write(folder: Path, **values: int) -> Path:
    path = folder / "config.toml"
    path.write_text(SMALL.format(folder=folder, **{"vae_steps": 3, "steps": 3, **values}))
    return path


@pytest.mark.filterwarnings("ignore")
def test_ladder_from_nothing_to_a_video(tmp_path: Path) -> None:
    config = write(tmp_path)
    run("vae", config)
    assert json.loads((tmp_path / "vae" / "report.json").read_text())["psnr_held_out_db"] > 0
    run("encode", config)
    run("project", config)
    run("teacher", config)
    run("teacher", write(tmp_path, steps=5))  # goes on from step 3
    run("flowmap", config)
    run("export:flowmap", config)
    assert int(load_file(tmp_path / "teacher" / "state.safetensors")["step"]) == 5
    bundle = open_bundle(tmp_path / "out", device="cpu")
    video = np.concatenate(list(generate(bundle, prompt="a red star", frames=14, steps=2, seed=0)))
    assert video.shape == (14, 128, 128, 3)


def test_an_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"no stage 'distil'.*vae, decoder, encode.*teacher"):
        run("distil")


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing\.toml"):
        run("vae", tmp_path / "nothing.toml")


def test_the_shipped_config_describes_the_embedded_model() -> None:
    config = tomllib.loads(TINY_CPU.read_text())
    assert config["transformer"]["in_channels"] < config["vae_model"]["z_dim"]  # "project" cuts them down
    assert len(config["vae_model"]["latents_mean"]) == config["vae_model"]["z_dim"]


@pytest.mark.filterwarnings("ignore")
def test_projecting_keeps_the_pictures_when_no_channel_is_lost(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = tomllib.loads(SMALL.format(folder=tmp_path, vae_steps=1, steps=1))["vae_model"]
    vae = AutoencoderKLWan(**arguments)
    vae.save_pretrained(tmp_path / "old")
    save_file({"latents": torch.randn(4, 7, 6, 8, 8)}, tmp_path / "latents.safetensors")
    project_vae(tmp_path / "old", tmp_path / "new", tmp_path / "latents.safetensors", 6)
    turned = AutoencoderKLWan.from_pretrained(tmp_path / "new")
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        before, after = (v.decode(v.encode(video).latent_dist.mean).sample for v in (vae, turned))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
