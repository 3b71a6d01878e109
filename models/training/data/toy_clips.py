"""Latents of toy-world clips, encoded once and stored in one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from models.toyworld import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, Scene, random_scene, render, simulate
from models.training.vae.train import encode_moments, to_tensor
from models.vae.causal_conv import fold_causal_convs

WORDS = (SHAPES, tuple(COLOURS), tuple(SIZES), MOTIONS, tuple(BACKGROUNDS))
FIELDS = ("shape", "colour", "size", "motion", "background")
# Drawn more often, as they are learned last: shapes with points and arms, and small motions.
HARD = {"shape": ("star", "triangle", "cross"), "motion": ("spinning", "drifting")}
EXTRA = 0.25  # chance, for shape and for motion, of a draw from these words


def partition_of(chunks: int) -> tuple[int, ...]:
    """Latent frames of each chunk: 1, then 3 each."""
    return (1, *([3] * (chunks - 1)))


@dataclass(frozen=True)
class LatentClips:
    """Normalised latents (N, F, C, h, w) half precision, and the scene of each chunk as word numbers (N, chunks, 5)."""

    latents: torch.Tensor
    scenes: torch.Tensor

    def scene(self, clip: int, chunk: int) -> Scene:
        words = {field: WORDS[i][self.scenes[clip, chunk, i]] for i, field in enumerate(FIELDS)}
        return Scene(**words)


def load_clips(*paths: Path) -> LatentClips:
    parts = [load_file(path) for path in paths]
    return LatentClips(torch.cat([p["latents"] for p in parts]), torch.cat([p["scenes"] for p in parts]))


@torch.no_grad()
def encode_clips(
    vae_folder: Path,
    out: Path,
    *,
    clips: int,
    chunks: int,
    seed: int,
    size: int = 128,
    device: torch.device | None = None,
) -> None:
    """Draw and encode `clips` clips of `chunks` chunks, `size` pixels a side. Half change scene at one chunk border.

    A change of scene changes one to three attributes, most often one, as people's prompts do.
    """
    vae: Any = AutoencoderKLWan.from_pretrained(vae_folder).eval()
    fold_causal_convs(vae)
    vae.to(device or "cpu")
    mean = torch.tensor(vae.config.latents_mean).view(-1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(-1, 1, 1, 1)
    rng = np.random.default_rng(seed)
    latents, scenes = [], []
    frames = 1 + 12 * (chunks - 1)
    for _ in tqdm(range(clips), desc="encode", mininterval=10):
        first = training_scene(rng)
        cut = int(rng.integers(1, chunks)) if chunks > 1 and rng.random() < 0.5 else chunks
        then = changed(first, rng)
        cuts = [(0, first)] + ([(1 + 12 * (cut - 1), then)] if cut < chunks else [])
        video = render(simulate(cuts, frames, rng), size)
        z = encode_moments(vae, to_tensor(video)[None].to(vae.device))[0][0].cpu()
        latents.append(((z - mean) / std).transpose(0, 1).half())
        scenes.append([_numbers(first if c < cut else then) for c in range(chunks)])
    save_file({"latents": torch.stack(latents), "scenes": torch.tensor(scenes, dtype=torch.uint8)}, out)


def training_scene(rng: np.random.Generator) -> Scene:
    """A scene for training, with the words in `HARD` more often."""
    scene = random_scene(rng)
    for name, words in HARD.items():
        if rng.random() < EXTRA:
            scene = replace(scene, **{name: words[rng.integers(len(words))]})
    return scene


def changed(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one to three of its attributes drawn again."""
    other = training_scene(rng)
    swap: NDArray[np.str_] = rng.choice(FIELDS, size=int(rng.choice([1, 1, 1, 2, 3])), replace=False)
    return Scene(**{f: getattr(other if f in swap else scene, f) for f in FIELDS})


def _numbers(scene: Scene) -> list[int]:
    return [WORDS[i].index(getattr(scene, field)) for i, field in enumerate(FIELDS)]
