"""The whole recipe from nothing, very small: every stage runs by its command, and the result streams."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from models.checkpoint.bundle import open_bundle
from models.rollout.generate import generate
from models.training import recipes
from models.training.commands import TINY_CPU, TrainingError, join, run
from models.training.data.windows import Levels
from models.training.distill import Distillation
from models.training.network.build import fresh
from models.training.recipes import RecipeError, build_trainer, parse_stage
from models.training.weight_rounding import step_of
from stream.cli import train

CONFIG = """
folder = "{folder}"
export = "{folder}/out"
grain = 8
decoder_grain = 32
guidance = 2.5
prompts = ["a red star"]
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
steps = 2
batch = 1
pool = 2
held_out = 1
[decoder]
steps = 1
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
[pictures]
recipe = "forward"
steps = 2
batch = [2]
shift = 3.0
[plain] # a stage without a recipe learns forward
windows = [1.0]
steps = 1
batch = [2]
shift = 3.0
[teacher]
recipe = "forward"
start = "pictures"
steps = 2 # at first
windows = [0.3, 0.3, 0.2, 0.2]
batch = [2]
shift = 3.0
bidirectional = 0.5
channels = [2.0, 1.0, 0.5, 0.5]
context_noise = 0.2
[flowmap]
recipe = "forward"
start = "teacher"
teacher = "teacher"
from_teacher = true
steps = 2
windows = [0.5, 0.0, 0.0, 0.5]
batch = [4]
shift = 3.0
pairs = [0.5, 0.25, 0.25]
guidance = 3.0
weight = "beta08"
[consistency]
recipe = "forward"
start = "teacher"
steps = 1
batch = [2]
shift = 3.0
pairs = [0.0, 1.0, 0.0]
guidance = 3.0
[distill]
recipe = "distill"
start = "flowmap"
teacher = "teacher"
reward = 0.3
classifier_steps = 2
classifier_batch = [2]
steps = 3
windows = [0.4, 0.3, 0.3]
batch = [2]
shift = 3.0
pairs = [0.5, 0.25, 0.25]
guidance = 3.0
weight = "beta08"
fake_first = 1
"""
RUNGS = (
    "vae",
    "encode",
    "project",
    "plain",
    "pictures",
    "teacher",
    "flowmap",
    "consistency",
    "distill",
    "decoder",
    "export:distill",
    "export:teacher={folder}/t",
)


def write(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(folder=folder))
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_whole_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "SHEET_STEPS", (1, 2))
    config = write(tmp_path)
    for rung in RUNGS:
        arguments = [rung.format(folder=tmp_path), "--config", str(config)]
        done = CliRunner().invoke(train.app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, rung
    for stage in ("plain", "pictures", "teacher", "flowmap", "distill"):
        written = {path.name for path in (tmp_path / stage).iterdir()}
        assert {"state.safetensors"} <= written, stage
        assert stage == "plain" or {"log.jsonl", "loss.png"} <= written, stage
        sheet = next((tmp_path / stage).glob("samples*.png"))
        assert len(np.unique(np.asarray(Image.open(sheet)))) > 20
    assert Image.open(tmp_path / "vae-run" / "samples.png").width > 500
    bundle = open_bundle(tmp_path / "out", device="cpu")
    video = np.concatenate(list(generate(bundle, prompt="a red star", frames=14, steps=2, seed=0)))
    assert video.shape == (14, 128, 128, 3)
    assert [json.loads((tmp_path / name / "farcast.json").read_text())["guidance"] for name in ("out", "t")] == [
        1.0,
        2.5,
    ]
    assert rounded(tmp_path / "out" / "vae", 32, "decoder.")
    assert rounded(tmp_path / "out" / "transformer", 8)
    config.write_text(config.read_text().replace("steps = 2 # at first", "steps = 4"))
    assert CliRunner().invoke(train.app, ["teacher", "--config", str(config)], catch_exceptions=False).exit_code == 0
    assert int(load_file(tmp_path / "teacher" / "state.safetensors")["step"]) == 4  # from step 2
    assert (tmp_path / "distill" / "fake" / "state.safetensors").stat().st_size > os.stat(config).st_size


def test_an_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"no stage 'distil'.*vae, decoder, finer, encode.*teacher"):
        run("distil")


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing\.toml"):
        run("vae", tmp_path / "nothing.toml")


def test_the_shipped_config_describes_the_embedded_model() -> None:
    config = tomllib.loads(TINY_CPU.read_text())
    shipped = json.loads((Path("models/tiny/transformer/config.json")).read_text())
    for key, value in config["transformer"].items():
        assert shipped[key] == value, key
    assert rounded(Path("models/tiny/transformer"), config["grain"])


def test_the_embedded_vae_is_the_finer_one_of_the_shipped_config() -> None:
    config = tomllib.loads(TINY_CPU.read_text())
    shipped = json.loads((Path("models/tiny/vae/config.json")).read_text())
    bundle = json.loads((Path("models/tiny/farcast.json")).read_text())
    assert bundle["width"] == bundle["height"] == 2 * config["size"]
    assert shipped["scale_factor_spatial"] == 2 * config["vae_model"]["scale_factor_spatial"]
    assert shipped["dim_mult"] == config["vae_model"]["dim_mult"]
    assert shipped["z_dim"] == config["transformer"]["in_channels"]
    assert rounded(Path("models/tiny/vae"), config["decoder_grain"], "decoder.")


def rounded(part: Path, grain: float, head: str = "") -> bool:
    """Are a part's matrices on the grid, or one twice as fine where rounding moved their mean?"""
    weights = {k: v for k, v in load_file(part / "diffusion_pytorch_model.safetensors").items() if k.startswith(head)}
    counts = [value.float() / step_of(value, 2 * grain) for value in weights.values() if value.ndim > 1]
    return all(torch.equal(count, count.round()) for count in counts)


@pytest.mark.parametrize("name", ["tiny-cpu.toml", "tiny-gpu.toml"])
def test_every_stage_of_the_shipped_configs_is_one_that_can_run(name: str) -> None:
    config = tomllib.loads((TINY_CPU.parent / name).read_text())
    assert config["transformer"]["in_channels"] < config["vae_model"]["z_dim"]  # "project" cuts them down
    assert len(config["vae_model"]["latents_mean"]) == config["vae_model"]["z_dim"]
    for stage in ("pictures", "teacher", "flowmap", "consistency", "distill"):
        settings = {k: v for k, v in config[stage].items() if k not in ("start", "teacher", "fake", "recipe")}
        assert parse_stage(stage, config[stage].get("recipe", "forward"), settings).steps > 0
    with torch.device("meta"):
        transformer, _, _ = fresh(config)
    latent = config["size"] // config["vae_model"]["scale_factor_spatial"]
    assert latent % transformer.config.compressed_patch_size[1] == 0


def test_the_published_config_is_the_published_recipe() -> None:
    """AnyFlow (arXiv 2605.13724) and its code at github.com/NVlabs/AnyFlow, options/train/anyflow, 1.3B."""
    config = tomllib.loads((TINY_CPU.parent / "far-1.3b.toml").read_text())
    stages = {}
    for name in ("teacher", "flowmap", "distill"):
        settings = {k: v for k, v in config[name].items() if k not in ("start", "teacher", "fake", "recipe", "lora")}
        stages[name] = parse_stage(name, config[name]["recipe"], settings)
    teacher, flowmap, distill = stages["teacher"], stages["flowmap"], stages["distill"]
    assert config["lora"]["rank"] == config["teacher"]["lora"]["rank"] == 256
    assert config["negative_prompt"].startswith("色调艳丽")
    assert [(s.steps, s.rate, s.average_from, s.decay) for s in stages.values()] == [
        (6000, 5e-5, 1000, 0.999), (6000, 5e-5, 1000, 0.999), (1200, 2e-6, 200, 0.99),
    ]  # fmt: skip
    assert teacher.bidirectional == 1.0
    assert teacher.bidirectional_noise_levels == Levels(5.0, (1.0, 0.0, 0.0), "logit_normal")
    assert flowmap.bidirectional_noise_levels == teacher.bidirectional_noise_levels
    assert flowmap.noise_levels == distill.noise_levels == Levels(5.0, (0.5, 0.25, 0.25), "larger_of_two", "window")
    assert flowmap.bidirectional_beside
    assert flowmap.guide_dropped
    assert isinstance(distill, Distillation)
    assert distill.counts == (2, 4, 8, 16, 50)
    assert (distill.matching, distill.fake_levels, distill.fake_rollout, distill.cut) == (
        1.0, "logit_normal", "own", "step",
    )  # fmt: skip
    assert distill.windows[7] == 1.0  # all eight chunks are rolled out, and three to eight are seen by the forward part
    assert distill.forward_windows == flowmap.windows
    assert [n + 1 for n, share in enumerate(distill.forward_windows) if share] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("gpus", [False, True])
def test_processes_take_a_gpu_each_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch, gpus: bool) -> None:
    done: list[object] = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus)
    monkeypatch.setattr("torch.cuda.set_device", done.append)
    monkeypatch.setattr("torch.distributed.init_process_group", done.append)
    join()
    assert done == ([3, "cpu:gloo,cuda:nccl"] if gpus else ["gloo"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"recipe": "magic", "steps": 1}, "there are forward, distill"),
        ({"recipe": "forward", "steps": 1, "step": 1}, "has a key 'step'"),
        ({"recipe": "forward"}, "how many steps"),
        ({"recipe": "forward", "steps": 1, "weight": "heavy"}, "uniform or beta08"),
        ({"recipe": "distill", "steps": 1, "score": "high"}, "causal or bidirectional"),
        ({"recipe": "forward", "steps": 1, "windows": [0.5]}, "windows are shares and must add up to 1, not 0.5"),
        ({"recipe": "forward", "steps": 1, "levels": "normal"}, "uniform or larger_of_two or logit_normal"),
        ({"recipe": "distill", "steps": 1, "fake_rollout": "none"}, "shared or own"),
        ({"recipe": "distill", "steps": 1, "forward_windows": [0.5]}, "forward_windows are shares"),
    ],
)
def test_what_cannot_run_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_stage("try", str(settings.pop("recipe", "forward")), settings)


def test_a_stage_that_needs_another_says_so(tmp_path: Path) -> None:
    config = {"folder": str(tmp_path), "try": {"recipe": "forward", "steps": 1, "start": "pictures"}}
    config["transformer"] = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 12, "text_dim": 8}
    with pytest.raises(RecipeError, match="run `farcast train pictures` first"):
        build_trainer(config, "try")
    del config["try"]["start"]  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match="run `farcast train encode` first"):
        build_trainer(config, "try")
