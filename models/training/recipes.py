"""Builds stages from a config by their `recipe`: "forward" (teacher, flow map, consistency student) or "distill".

A stage's table names the stage it starts from (`start`), the teacher stage (`teacher`), the start of the fake network
(`fake`, by default the teacher), and options of `trainer.Stage` or `distill.Distillation`. Stages start from the moving
average of the weights of an earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, FlowMapEulerDiscreteScheduler

from models.checkpoint.bundle import Bundle, save_bundle
from models.checkpoint.files import find_bundle
from models.errors import FarcastError
from models.toyworld import EXAMPLES, random_scene, render, simulate
from models.training.data.videos import encode_videos
from models.training.data.windows import open_clips
from models.training.distill import Distillation, Distiller
from models.training.network.adapters import add_adapters, fuse_adapters, load_trained, lora_settings, open_parts
from models.training.network.build import fresh, load_average
from models.training.network.passes import Network
from models.training.run import device_of
from models.training.sample_sheet import as_bundle, draw_pairs, draw_sheet
from models.training.trainer import Sheet, Stage, Trainer, from_table
from models.vae.wan import WanVAE

SHEET_STEPS = (1, 4, 16)  # step counts of the sample sheets
CHOICES = {
    "weight": ("uniform", "beta08"),
    "fuse": ("velocity", "published"),
    "levels": ("uniform", "larger_of_two", "logit_normal"),
    "level_per": ("chunk", "window"),
    "bidirectional_levels": ("uniform", "logit_normal"),
}
DISTILL_CHOICES = {
    "score": ("causal", "bidirectional"),
    "cut": ("row", "step"),
    "fake_levels": ("uniform", "logit_normal"),
    "fake_rollout": ("shared", "own"),
}
RECIPES: dict[str, type[Stage]] = {"forward": Stage, "distill": Distillation}


class RecipeError(FarcastError):
    """A stage of the config cannot run as written."""


def train_stage(config: Mapping[str, Any], name: str) -> None:
    """Run the stage `name` of `config` to its end. Raises RecipeError."""
    build_trainer(config, name).train()


def build_trainer(config: Mapping[str, Any], name: str) -> Trainer:
    """The stage, ready to start or to resume. Raises RecipeError."""
    folder = Path(config["folder"])
    settings = {key: value for key, value in config[name].items() if key != "lora"}
    start, teacher, fake = (settings.pop(key, None) for key in ("start", "teacher", "fake"))
    stage = parse_stage(name, settings.pop("recipe", "forward"), settings)
    torch.manual_seed(stage.seed)
    network = build_network(config, name, start)
    clips, images = open_clips(folder, "clips"), open_clips(folder, "images")
    if clips is None and images is None:
        raise RecipeError(f"{folder} holds no encoded clips; run `farcast train encode` first")
    clips, images = clips or images, images or clips
    assert clips is not None
    assert images is not None
    sheet = sheet_writer(config, network, stage, clips.latents.shape[-2:])
    if isinstance(stage, Distillation):
        if teacher is None:
            raise RecipeError(f'[{name}] names no teacher; add a line such as teacher = "teacher"')
        real, fake_network = (build_network(config, of, of) for of in (teacher, fake or teacher))
        return Distiller(network, real, fake_network, clips, images, stage, folder / name, sheet=sheet)
    if stage.from_teacher and teacher is None:
        raise RecipeError(f'[{name}] wants the velocity of a teacher; add a line such as teacher = "teacher"')
    source = build_network(config, teacher, teacher) if teacher and stage.from_teacher else None
    return Trainer(network, clips, images, stage, folder / name, teacher=source, sheet=sheet)


def parse_stage(name: str, recipe: str, settings: Mapping[str, Any]) -> Stage:
    """The options of a stage. Raises RecipeError for an unknown recipe, key or value."""
    kind = RECIPES.get(recipe)
    if kind is None:
        raise RecipeError(f"[{name}] has recipe {recipe!r}; there are {', '.join(RECIPES)}")
    known = {field.name for field in fields(kind)}
    strange = sorted(set(settings) - known)
    if strange:
        raise RecipeError(f"[{name}] has a key {strange[0]!r}; the keys are {', '.join(sorted(known))}")
    if "steps" not in settings:
        raise RecipeError(f"[{name}] does not say how many steps; add a line such as steps = 400")
    stage = from_table(kind, settings)
    for key, allowed in {**CHOICES, **(DISTILL_CHOICES if isinstance(stage, Distillation) else {})}.items():
        if getattr(stage, key) not in allowed:
            raise RecipeError(f"[{name}] has {key} = {getattr(stage, key)!r}; it is {' or '.join(allowed)}")
    shares = {"windows": stage.windows, "pairs": stage.pairs}
    if isinstance(stage, Distillation) and stage.forward_windows:
        shares["forward_windows"] = stage.forward_windows
    for key, values in shares.items():
        if abs(sum(values) - 1) > 1e-6:
            raise RecipeError(f"[{name}]: {key} are shares and must add up to 1, not {sum(values):g}")
    assert isinstance(stage, Stage)
    return stage


def build_network(config: Mapping[str, Any], stage: str, start: str | None) -> Network:
    """The network that `stage` trains, with the averaged weights of the stage `start`.

    Of a config with a `checkpoint`, its weights with the adapters of `stage`; else a new transformer and text encoder.
    The config's `negative_prompt` stands for dropped captions. Raises RecipeError.
    """
    path = Path(config["folder"]) / str(start) / "state.safetensors"
    if start and not path.exists():
        raise RecipeError(f"there is no {path}; run `farcast train {start}` first")
    if "checkpoint" in config:
        transformer, text_encoder, tokenizer = open_parts(config)
        lora = lora_settings(config, stage)
        if lora is not None:
            add_adapters(transformer, lora)
        if start:
            load_trained(transformer, path)
    else:
        transformer, text_encoder, tokenizer = fresh(dict(config))
        if start:
            load_average(path, {"transformer": transformer, "text_encoder": text_encoder})
        place = device_of(config)
        transformer, text_encoder = transformer.to(place), text_encoder.to(place)
    return Network(
        transformer, text_encoder, tokenizer, checkpoint=bool(config.get("recompute", False)),
        adapters="checkpoint" in config, unconditional=str(config.get("negative_prompt", "")),
    )  # fmt: skip


def encode_checkpoint(config: Mapping[str, Any]) -> None:
    """Encode the videos of a config with a `checkpoint`; process FARCAST_PART of FARCAST_PARTS takes its share."""
    folder, settings = Path(config["folder"]), config["videos"]
    part, parts = int(os.environ.get("FARCAST_PART", "0")), int(os.environ.get("FARCAST_PARTS", "1"))
    out = folder / f"clips-{part}.safetensors"
    if out.exists():
        return
    vae: Any = open_vae(config)
    vae = vae.to(device_of(config))
    encode_videos(
        vae, Path(settings["folder"]), out, frames=settings["frames"], width=config["width"], height=config["height"],
        part=part, parts=parts,
    )  # fmt: skip


def export_checkpoint(config: Mapping[str, Any], stage: str, out: Path) -> None:
    """Write a stage of a config with a `checkpoint` as a checkpoint to serve, its adapters fused into the weights."""
    network = build_network(config, stage, stage)
    if lora_settings(config, stage) is not None:
        fuse_adapters(network.transformer)
    kind = network.text_encoder.dtype
    shift = float(config[stage]["shift"])
    bundle = Bundle(
        transformer=network.transformer.to(kind), vae=open_vae(config).to(kind), text_encoder=network.text_encoder,
        tokenizer=network.tokenizer, scheduler=FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift),
        device=network.device, dtype=kind, name=out.name, width=config["width"], height=config["height"],
        guidance=1.0 if is_fused(config, stage) else float(config.get("guidance", 1.0)),
    )  # fmt: skip
    save_bundle(bundle, out)


def is_fused(config: Mapping[str, Any], stage: str) -> bool:
    """True when guidance is fused into the stage's weights, so that sampling needs none."""
    own = config.get(stage, {})
    return bool(own.get("recipe") == "distill" or own.get("guidance", 1.0) > 1)


def show_vae(config: Mapping[str, Any], path: Path, side: int, clips: int = 3, frames: int = 13) -> None:
    """Write a sheet of clips that the VAE was not trained on, above their reconstructions."""
    vae, rng = open_vae(config), np.random.default_rng(77_000)
    real = [render(simulate([(0, random_scene(rng))], frames, rng), side) for _ in range(clips)]
    wan_vae = WanVAE(vae)
    copies = []
    for clip in real:
        latents = wan_vae.encode(wan_vae.start_encoder(), clip)
        copies.append(wan_vae.decode(wan_vae.start(), latents).numpy())
    draw_pairs(real, copies, path)


def open_vae(config: Mapping[str, Any]) -> Any:
    """The VAE of the config: the checkpoint's, or the one trained into its folder."""
    folder = find_bundle(str(config["checkpoint"])) if "checkpoint" in config else Path(config["folder"])
    return AutoencoderKLWan.from_pretrained(folder / "vae").eval()


def sheet_writer(config: Mapping[str, Any], network: Network, stage: Stage, size: Sequence[int]) -> Sheet | None:
    """A function that writes sample sheets; None without a VAE. Weights without fused guidance are sampled with it.

    size: (h, w) of the latents.
    """
    if "checkpoint" not in config and not (Path(config["folder"]) / "vae" / "config.json").exists():
        return None
    fused = isinstance(stage, Distillation) or stage.guidance > 1
    prompts = tuple(config.get("prompts", EXAMPLES[:4]))

    def sheet(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
        vae = open_vae(config).to(network.device)
        guidance = 1.0 if fused else float(config.get("guidance", 1.0))
        bundle = as_bundle(network, weights, vae, size=size, shift=stage.shift, guidance=guidance)
        draw_sheet(bundle, path, prompts, SHEET_STEPS)

    return sheet
