"""The background by name, its fitted tones, and a soft mask of the object.

The toy world's background is one colour under a fixed light, and the object casts a soft shadow. A pixel belongs to the
object when it is neither the background nor the background darkened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.toyworld import BACKGROUNDS, Scene, Track, render

NAMES = tuple(BACKGROUNDS)
SIDE = 128  # all frames are analysed at this size
LOST = 40.0  # mean distance in 8-bit levels from the best background, above which there is none
FAINT = 13.0  # least contrast of an object to the background, 8-bit levels
SHADE = 0.5  # least share of the light in a shadow
LEAST = 200  # pixels of the smallest object


@dataclass(frozen=True)
class Matte:
    """For T frames at 128x128.

    background: index into `NAMES`, -1 for none, (T,). alpha: share of the pixel that is the main object, (T, H, W).
    strength: contrast to the background, levels, (T,). spill: share of the foreground outside the main object, (T,).
    noise: median distance of the background from the nearest known one, levels, (T,).
    """

    background: Tensor
    alpha: Tensor
    strength: Tensor
    spill: Tensor
    noise: Tensor


def as_floats(frames: np.ndarray, side: int = SIDE) -> Tensor:
    """uint8 (T, H, W, 3) of any size to float (T, 3, side, side) in 0..255."""
    out = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    if out.shape[-2:] != (side, side):
        out = F.interpolate(out, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return out


@cache
def backgrounds(size: int = SIDE) -> Tensor:
    """Every background without an object, (6, 3, size, size), as the renderer draws it."""
    scenes = tuple(Scene("circle", "red", "small", "spinning", name) for name in NAMES)
    away, one = np.full(len(NAMES), 50.0), np.ones(len(NAMES))
    empty = render(Track(scenes, away, away, 0 * one, one, 0.1 * one), size)
    return torch.from_numpy(empty).permute(0, 3, 1, 2).float()


@cache
def _plane() -> tuple[Tensor, Tensor]:
    """1, x, y over a 32x32 and over a 128x128 picture, (3, pixels)."""
    out = []
    for side in (32, SIDE):
        line = (torch.arange(side) + 0.5) / side * 2 - 1
        y, x = torch.meshgrid(line, line, indexing="ij")
        out.append(torch.stack([torch.ones(side * side), x.flatten(), y.flatten()]))
    return out[0], out[1]


def find_ground(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which background (T,), its distance in levels (T,), and the ground itself (T, 3, H, W), of (T, 3, H, W).

    The nearest known background by the median over pixels, which the object is too small to change; then a plane in
    each channel is added, fitted to the pixels near it, as the tone of generated backgrounds differs a little.
    """
    low = F.interpolate(pixels, (32, 32), mode="area").flatten(2)  # (T, 3, P)
    known = F.interpolate(backgrounds(), (32, 32), mode="area").flatten(2)  # (6, 3, P)
    away = (low[:, None] - known[None]).abs().mean(2)  # (T, 6, P)
    distance, index = away.median(-1).values.min(1)
    near, coarse = known[index], _plane()[0]
    shift = torch.zeros(len(pixels), 3, 3)
    for _ in range(3):
        error = low - near - shift @ coarse
        size = error.abs().mean(1)
        keep = (size <= 2.0 * size.median(-1, keepdim=True).values + 4.0).float()[:, None]  # (T, 1, P)
        gram = (coarse * keep) @ coarse.T + 1e-3 * torch.eye(3)  # (T, 3, 3)
        shift = shift + torch.linalg.solve(gram, (error * keep) @ coarse.T, left=False)
    ground = backgrounds()[index] + (shift.clamp(-60, 60) @ _plane()[1]).view_as(pixels)
    return torch.where(distance <= LOST, index, -1), distance, ground.clamp(0, 255)


def _smooth(pixels: Tensor) -> Tensor:
    """A 3x3 binomial blur."""
    weight = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (weight[:, None] * weight)[None, None].expand(pixels.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel, groups=pixels.shape[1])


def contrast(pixels: Tensor, ground: Tensor) -> Tensor:
    """Distance of each pixel from the background and from its shadows, levels, (T, H, W)."""
    energy = (ground * ground).sum(1).clamp(min=1.0)
    share = (pixels * ground).sum(1) / energy
    off = (pixels - share[:, None] * ground).square().sum(1)
    over = (share - 1).clamp(min=0) + (SHADE - share).clamp(min=0)
    return (off + over.square() * energy).sqrt()


def find_matte(pixels: Tensor) -> Matte:
    """The object's mask and the background, of float frames (T, 3, 128, 128)."""
    background, noise, ground = find_ground(pixels)
    score = contrast(_smooth(pixels), ground)
    top = score.flatten(1).kthvalue(SIDE * SIDE - LEAST, dim=1).values  # the contrast that `LEAST` pixels exceed
    inside = score > 0.4 * top[:, None, None]
    strength = torch.stack([s[m].median() if m.any() else s.new_zeros(()) for s, m in zip(score, inside, strict=True)])
    level = strength.clamp(min=FAINT)[:, None, None]
    alpha = ((score / level - 0.3) / 0.4).clamp(0, 1)
    whole = alpha.flatten(1).sum(1)
    alpha = alpha * _main_part(alpha)
    mine = alpha.flatten(1).sum(1)
    return Matte(background, alpha, strength, 1 - mine / whole.clamp(min=1.0), noise)


def _main_part(alpha: Tensor) -> Tensor:
    """1 on the connected component with the largest local mass, with a margin of one pixel; (T, H, W)."""
    low = F.avg_pool2d(alpha[:, None], 2)
    solid = (low > 0.35).float()
    weight = F.avg_pool2d(low, 13, stride=1, padding=6) * solid
    grown = (weight == weight.flatten(1).max(1).values.clamp(min=1e-6)[:, None, None, None]).float()
    for _ in range(96):
        wider = F.max_pool2d(grown, 3, stride=1, padding=1) * solid
        if bool((wider == grown).all()):
            break
        grown = wider
    return F.interpolate(F.max_pool2d(grown, 3, stride=1, padding=1), scale_factor=2)[:, 0]
