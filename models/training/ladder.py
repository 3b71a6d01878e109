"""Stages with a `recipe`: "forward" (teacher, flow map, endpoint-consistency student) and "distill" (on-policy).

A stage's table in the config names where it starts (`start`), whose field it learns or is judged by (`teacher`), and
every key of `trainer.Stage` or `distill.Distillation`. Stages keep their averaged weights, and those are what the next
one starts from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from models.errors import FarcastError
from models.training.distill import Distillation, Distiller
from models.training.network import Network
from models.training.samples import as_bundle, draw_sheet
from models.training.trainer import Sheet, Stage, Trainer, choices_of
from models.training.windows import open_clips
from models.world import EXAMPLES

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
    settings = dict(config[name])
    recipe, start, teacher, fake = (settings.pop(key, None) for key in ("recipe", "start", "teacher", "fake"))
    stage = stage_of(name, recipe, settings)
    torch.manual_seed(stage.seed)
    network = network_of(config, start)
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
        judge, follower = network_of(config, teacher), network_of(config, fake or teacher)
        return Distiller(network, judge, follower, clips, images, stage, folder / name, sheet=sheet)
    if stage.from_teacher and teacher is None:
        raise RecipeError(f'[{name}] wants the velocity of a teacher; add a line such as teacher = "teacher"')
    judge_or_none = network_of(config, teacher) if teacher and stage.from_teacher else None
    return Trainer(network, clips, images, stage, folder / name, teacher=judge_or_none, sheet=sheet)


def stage_of(name: str, recipe: str | None, settings: Mapping[str, Any]) -> Stage:
    """The choices of a stage. Raises RecipeError for a recipe or a key that is not known."""
    kind = RECIPES.get(recipe or "")
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


def network_of(config: Mapping[str, Any], stage: str | None) -> Network:
    """Transformer, text encoder and tokenizer of the config, with the averaged weights of `stage`."""
    from models.training.stages import fresh, load_average

    transformer, text_encoder, tokenizer = fresh(dict(config))
    if stage:
        path = Path(config["folder"]) / stage / "state.safetensors"
        if not path.exists():
            raise RecipeError(f"there is no {path}; run `farcast train {stage}` first")
        load_average(path, {"transformer": transformer, "text_encoder": text_encoder})
    return Network(transformer, text_encoder, tokenizer)


def sheet_of(config: Mapping[str, Any], network: Network, stage: Stage, size: Sequence[int]) -> Sheet | None:
    """How to draw what the stage makes; None without a VAE. What has no guidance in it is shown under guidance.

    size: (h, w) of the latents.
    """
    folder = Path(config["folder"]) / "vae"
    if not (folder / "config.json").exists():
        return None
    fused = isinstance(stage, Distillation) or stage.guidance > 1
    prompts = tuple(config.get("prompts", EXAMPLES[:4]))

    def sheet(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
        vae: Any = AutoencoderKLWan.from_pretrained(folder).eval()
        guidance = 1.0 if fused else float(config.get("guidance", 1.0))
        bundle = as_bundle(network, weights, vae, size=size, shift=stage.shift, guidance=guidance)
        draw_sheet(bundle, path, prompts, COUNTS)

    return sheet
