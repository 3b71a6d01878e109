"""Sample sheets of a stage's averaged weights: a row a prompt, three frames at each step count."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMapEulerDiscreteScheduler
from PIL import Image, ImageDraw

from models.checkpoint.bundle import Bundle
from models.rollout.generate import generate
from models.training.network.adapters import TrainedOnly, fuse_adapters

CELL, GAP, HEAD = 96, 6, 16
FRAMES = 25  # chunk 0 and two more


def as_bundle(
    network: Any, weights: Mapping[str, torch.Tensor], vae: Any, *, size: Sequence[int], shift: float, guidance: float
) -> Bundle:
    """A bundle to sample from: copies of the network with `weights` ("transformer.NAME"); size: (h, w) of latents."""
    parts = {"text_encoder": network.text_encoder}
    for name in network.parts:
        own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        if network.adapters:
            part = copy.deepcopy(network.transformer)
            TrainedOnly(part).load_state_dict(own)
            fuse_adapters(part)
        else:  # a new transformer, as training changes the class of its blocks
            trained = getattr(network, name)
            part = type(trained).from_config(trained.config) if name == "transformer" else copy.deepcopy(trained)
            part.load_state_dict(own)
        parts[name] = part.eval().requires_grad_(False)
    factor = int(vae.config.scale_factor_spatial or 8)
    return Bundle(
        **parts, vae=vae, tokenizer=network.tokenizer, scheduler=FlowMapEulerDiscreteScheduler(shift=shift),
        device=network.device, dtype=torch.float32, name="training", width=size[1] * factor,
        height=size[0] * factor, guidance=guidance,
    )  # fmt: skip


def draw_sheet(bundle: Bundle, path: Path, prompts: Sequence[str], counts: Sequence[int], frames: int = FRAMES) -> None:
    """Write the sheet as a PNG. Seeds are fixed, so that sheets of different steps can be compared."""
    width = GAP + len(counts) * (3 * CELL + GAP)
    sheet = Image.new("RGB", (width, HEAD + len(prompts) * (CELL + HEAD + GAP)), (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    for column, steps in enumerate(counts):
        pen.text((GAP + column * (3 * CELL + GAP), 2), f"{steps} step{'s' * (steps > 1)}", fill=(30, 30, 34))
    for row, prompt in enumerate(prompts):
        top = HEAD + row * (CELL + HEAD + GAP)
        pen.text((GAP, top + 2), prompt, fill=(30, 30, 34))
        for column, steps in enumerate(counts):
            made = generate(bundle, prompt=prompt, frames=frames, steps=steps, seed=row)
            clip = np.concatenate(list(made))
            for place, still in enumerate(clip[[0, len(clip) // 2, -1]]):
                small = Image.fromarray(still).resize((CELL, CELL), Image.Resampling.LANCZOS)
                sheet.paste(small, (GAP + column * (3 * CELL + GAP) + place * CELL, top + HEAD))
    sheet.save(path)


def draw_pairs(originals: Sequence[np.ndarray], copies: Sequence[np.ndarray], path: Path) -> None:
    """Write a sheet of clips (T, H, W, 3) uint8 above their reconstructions, three frames of each."""
    sheet = Image.new("RGB", (GAP + len(originals) * (3 * CELL + GAP), 2 * CELL + 3 * GAP), (250, 250, 250))
    for column, pair in enumerate(zip(originals, copies, strict=True)):
        for row, clip in enumerate(pair):
            for place, still in enumerate(clip[[0, len(clip) // 2, -1]]):
                small = Image.fromarray(still).resize((CELL, CELL), Image.Resampling.LANCZOS)
                sheet.paste(small, (GAP + column * (3 * CELL + GAP) + place * CELL, GAP + row * (CELL + GAP)))
    sheet.save(path)
