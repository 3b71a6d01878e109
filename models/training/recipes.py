"""Stages by their `recipe`: "forward" (teacher, flow map, endpoint-consistency student; the default) and "distill".

A stage's table in the config names where it starts (`start`), whose field it learns or is judged by (`teacher`), and
every key of `trainer.Stage` or `distill.Distillation`. Stages keep their averaged weights, and those are what the next
one starts from.
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
from models.training.network.adapters import add_adapters, fuse_adapters, load_trained, lora_of, parts_of
from models.training.network.passes import Network
from models.training.run import device_of
from models.training.sample_sheet import as_bundle, draw_pairs, draw_sheet
from models.training.trainer import Sheet, Stage, Trainer, choices_of
from models.vae.wan import WanVAE

COUNTS = (1, 4, 16)  # step counts of the sample sheets
RECIPES: dict[str, type[Stage]] = {"forward": Stage, "distill": Distillation}


class RecipeError(FarcastError):
    """A stage of the config cannot run as written."""


def train_stage(config: Mapping[str, Any], name: str) -> None:
    """Run the stage `name` of `config` to its end. Raises RecipeError."""
    trainer = trainer_of(config, name)
    trainer.train()


def trainer_of(config: Mapping[str, Any], name: str) -> Trainer:
    """The stage, ready to go on from where it was stopped."""
    folder = Path(config["folder"])
    settings = {key: value for key, value in config[name].items() if key != "lora"}
    start, teacher, fake = (settings.pop(key, None) for key in ("start", "teacher", "fake"))
    stage = stage_of(name, settings.pop("recipe", "forward"), settings)
    torch.manual_seed(stage.seed)
    network = network_of(config, name, start)
    clips, images = open_clips(folder, "clips"), open_clips(folder, "images")
    if clips is None and images is None:
        raise RecipeError(f"{folder} holds no encoded clips; run `farcast train encode` first")
    clips, images = clips or images, images or clips
    assert clips is not None
    assert images is not None
    sheet = sheet_of(config, network, stage, clips.latents.shape[-2:])
    if isinstance(stage, Distillation):
        if teacher is None:
            raise RecipeError(f'[{name}] names no teacher; add a line such as teacher = "teacher"')
        judge, follower = (network_of(config, of, of) for of in (teacher, fake or teacher))
        return Distiller(network, judge, follower, clips, images, stage, folder / name, sheet=sheet)
    if stage.from_teacher and teacher is None:
        raise RecipeError(f'[{name}] wants the velocity of a teacher; add a line such as teacher = "teacher"')
    judge_or_none = network_of(config, teacher, teacher) if teacher and stage.from_teacher else None
    return Trainer(network, clips, images, stage, folder / name, teacher=judge_or_none, sheet=sheet)


def stage_of(name: str, recipe: str, settings: Mapping[str, Any]) -> Stage:
    """The choices of a stage. Raises RecipeError for a recipe or a key that is not known."""
    kind = RECIPES.get(recipe)
    if kind is None:
        raise RecipeError(f"[{name}] has recipe {recipe!r}; there are {', '.join(RECIPES)}")
    known = {field.name for field in fields(kind)}
    strange = sorted(set(settings) - known)
    if strange:
        raise RecipeError(f"[{name}] has a key {strange[0]!r}; the keys are {', '.join(sorted(known))}")
    if "steps" not in settings:
        raise RecipeError(f"[{name}] does not say how many steps; add a line such as steps = 400")
    stage = choices_of(kind, settings)
    choices = {"weight": ("uniform", "beta08"), "fuse": ("velocity", "published")}
    if isinstance(stage, Distillation):
        choices["score"] = ("causal", "bidirectional")
    for key, allowed in choices.items():
        if getattr(stage, key) not in allowed:
            raise RecipeError(f"[{name}] has {key} = {getattr(stage, key)!r}; it is {' or '.join(allowed)}")
    if abs(sum(stage.windows) - 1) > 1e-6 or abs(sum(stage.pairs) - 1) > 1e-6:
        raise RecipeError(f"[{name}]: windows and pairs are shares, and must each add up to 1")
    assert isinstance(stage, Stage)
    return stage


def network_of(config: Mapping[str, Any], stage: str, start: str | None) -> Network:
    """The network that `stage` trains, with the averaged weights of the stage `start`.

    Of a config with a `checkpoint`, its weights with the adapters of `stage`; else a new transformer and text encoder.
    """
    path = Path(config["folder"]) / str(start) / "state.safetensors"
    if start and not path.exists():
        raise RecipeError(f"there is no {path}; run `farcast train {start}` first")
    if "checkpoint" in config:
        transformer, text_encoder, tokenizer = parts_of(config)
        lora = lora_of(config, stage)
        if lora is not None:
            add_adapters(transformer, lora)
        if start:
            load_trained(transformer, path)
    else:
        from models.training.network.build import fresh, load_average

        transformer, text_encoder, tokenizer = fresh(dict(config))
        if start:
            load_average(path, {"transformer": transformer, "text_encoder": text_encoder})
        place = device_of(config)
        transformer, text_encoder = transformer.to(place), text_encoder.to(place)
    adapters, again = "checkpoint" in config, bool(config.get("recompute", False))
    return Network(transformer, text_encoder, tokenizer, checkpoint=again, adapters=adapters)


def encode_checkpoint(config: Mapping[str, Any]) -> None:
    """Encode the videos of a config with a `checkpoint`.

    Several processes share them: each with its own number in FARCAST_PART, of as many as FARCAST_PARTS says.
    """
    folder, settings = Path(config["folder"]), config["videos"]
    part, parts = int(os.environ.get("FARCAST_PART", "0")), int(os.environ.get("FARCAST_PARTS", "1"))
    out = folder / f"clips-{part}.safetensors"
    if out.exists():
        return
    vae: Any = vae_of(config)
    vae = vae.to(device_of(config))
    encode_videos(
        vae, Path(settings["folder"]), out, frames=settings["frames"], width=config["width"], height=config["height"],
        part=part, parts=parts,
    )  # fmt: skip


def export_checkpoint(config: Mapping[str, Any], stage: str, out: Path) -> None:
    """A stage of a config with a `checkpoint` as a checkpoint to serve: its adapters fused, the rest as it came."""
    network = network_of(config, stage, stage)
    if lora_of(config, stage) is not None:
        fuse_adapters(network.transformer)
    kind = network.text_encoder.dtype
    shift = float(config[stage]["shift"])
    bundle = Bundle(
        transformer=network.transformer.to(kind), vae=vae_of(config).to(kind), text_encoder=network.text_encoder,
        tokenizer=network.tokenizer, scheduler=FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift),
        device=network.device, dtype=kind, name=out.name, width=config["width"], height=config["height"],
        guidance=1.0 if is_fused(config, stage) else float(config.get("guidance", 1.0)),
    )  # fmt: skip
    save_bundle(bundle, out)


def is_fused(config: Mapping[str, Any], stage: str) -> bool:
    """True when guidance is a part of what the stage learned."""
    own = config.get(stage, {})
    return bool(own.get("recipe") == "distill" or own.get("guidance", 1.0) > 1)


def show_vae(config: Mapping[str, Any], path: Path, side: int, clips: int = 3, frames: int = 13) -> None:
    """Clips that the VAE was not trained on, above what it makes of them."""
    vae, rng = vae_of(config), np.random.default_rng(77_000)
    real = [render(simulate([(0, random_scene(rng))], frames, rng), side) for _ in range(clips)]
    wan_vae = WanVAE(vae)
    copies = []
    for clip in real:
        latents = wan_vae.encode(wan_vae.start_encoder(), clip)
        copies.append(wan_vae.decode(wan_vae.start(), latents).numpy())
    draw_pairs(real, copies, path)


def vae_of(config: Mapping[str, Any]) -> Any:
    """The VAE of the config: the checkpoint's, or the one trained into its folder."""
    folder = find_bundle(str(config["checkpoint"])) if "checkpoint" in config else Path(config["folder"])
    return AutoencoderKLWan.from_pretrained(folder / "vae").eval()


def sheet_of(config: Mapping[str, Any], network: Network, stage: Stage, size: Sequence[int]) -> Sheet | None:
    """How to draw what the stage makes; None without a VAE. What has no guidance in it is shown under guidance.

    size: (h, w) of the latents.
    """
    if "checkpoint" not in config and not (Path(config["folder"]) / "vae" / "config.json").exists():
        return None
    fused = isinstance(stage, Distillation) or stage.guidance > 1
    prompts = tuple(config.get("prompts", EXAMPLES[:4]))

    def sheet(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
        vae = vae_of(config).to(network.device)
        guidance = 1.0 if fused else float(config.get("guidance", 1.0))
        bundle = as_bundle(network, weights, vae, size=size, shift=stage.shift, guidance=guidance)
        draw_sheet(bundle, path, prompts, COUNTS)

    return sheet
