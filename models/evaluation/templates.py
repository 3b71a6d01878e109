"""What the shapes look like at every angle, brought to one place and one area, for the analyser to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.world import COLOURS, SHAPES, Scene, Track, render
from models.world.shapes import EXTENT, RESOLUTION, distance_field

PATCH = 32  # cells a side
REACH = 2.0  # a patch covers this many equal-area radii to each side of the centroid
ANGLES = 72
SCALES = (0.92, 1.0, 1.09)  # the measured area is a little off when the picture is blurred
_SOFT = 0.12  # softness of an edge, in radii: as blurred as a small object in a generated frame


@dataclass(frozen=True)
class Form:
    """A shape's constants in units of its radius: equal-area radius and centroid (x, y)."""

    area_radius: float
    centroid: tuple[float, float]


@cache
def form(name: str) -> Form:
    """Measured on the distance field."""
    inside = (distance_field(name) < 0).double()
    cell = 2 * EXTENT / (RESOLUTION - 1)
    line = torch.linspace(-EXTENT, EXTENT, RESOLUTION, dtype=torch.float64)
    area = float(inside.sum())
    cx, cy = float((inside.sum(0) * line).sum()) / area, float((inside.sum(1) * line).sum()) / area
    return Form(math.sqrt(area * cell * cell / math.pi), (cx, cy))


@cache
def lattice() -> tuple[Tensor, Tensor]:
    """x and y of a patch's cells in equal-area radii from the centroid, (PATCH, PATCH) each."""
    line = ((torch.arange(PATCH) + 0.5) / PATCH * 2 - 1) * REACH
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


@cache
def angles() -> Tensor:
    """The angles of the templates in radians, (ANGLES,)."""
    return torch.arange(ANGLES) * (2 * math.pi / ANGLES)


@cache
def masks() -> Tensor:
    """Every shape at every angle and scale as a unit vector, (shapes, angles, scales, PATCH * PATCH)."""
    x, y = lattice()
    out = torch.empty(len(SHAPES), ANGLES, len(SCALES), PATCH * PATCH)
    for i, name in enumerate(SHAPES):
        facts = form(name)
        for k, scale in enumerate(SCALES):
            where = torch.stack([_own(facts, float(a), x * scale, y * scale) for a in angles()]) / EXTENT
            field = distance_field(name)[None, None].expand(ANGLES, -1, -1, -1)
            depth = F.grid_sample(field, where, padding_mode="border", align_corners=True)
            out[i, :, k] = torch.sigmoid(-depth / (_SOFT / 2)).flatten(1)
    return unit(out)


def _own(facts: Form, angle: float, x: Tensor, y: Tensor) -> Tensor:
    """Patch coordinates to the shape's own (u, v), as the renderer turns them."""
    dx, dy = x * facts.area_radius, y * facts.area_radius
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    return torch.stack([u + facts.centroid[0], v + facts.centroid[1]], dim=-1)


@cache
def shading(shape: str, colour: str) -> tuple[Tensor, Tensor]:
    """Brightness within the outline, as unit vectors, and the outline as weights; (ANGLES, PATCH * PATCH) each."""
    count, radius = ANGLES, 0.45
    facts = form(shape)
    scene = Scene(shape, colour, "big", "spinning", "black")
    still = np.zeros(count)
    track = Track((scene,) * count, still, still, angles().double().numpy(), np.full(count, radius))
    frames = torch.from_numpy(render(track, 96)).permute(0, 3, 1, 2).float()
    a = angles()
    mx, my = facts.centroid
    centre = torch.stack([a.cos() * mx - a.sin() * my, a.sin() * mx + a.cos() * my], 1) * radius
    patches = cut(frames.mean(1, keepdim=True), centre, torch.full((count,), radius * facts.area_radius))[:, 0]
    weight = (masks_soft(shape) > 0.8).float().flatten(1)
    return unit(patches.flatten(1), weight), weight


@cache
def masks_soft(shape: str) -> Tensor:
    """The outline of `shape` at every angle with values in 0..1, (ANGLES, PATCH, PATCH)."""
    x, y = lattice()
    where = torch.stack([_own(form(shape), float(a), x, y) for a in angles()]) / EXTENT
    field = distance_field(shape)[None, None].expand(ANGLES, -1, -1, -1)
    depth = F.grid_sample(field, where, padding_mode="border", align_corners=True)[:, 0]
    return torch.sigmoid(-depth / (_SOFT / 2))


def cut(maps: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Patches (T, C, PATCH, PATCH) of maps (T, C, H, W) about centre (T, 2), scale (T,): half-picture units."""
    x, y = lattice()
    where = torch.stack([x, y], -1)[None] * scale[:, None, None, None] + centre[:, None, None, :]
    return F.grid_sample(maps, where, padding_mode="zeros", align_corners=False)


def unit(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean 0 and length 1 along the last axis, over the cells where `weight` is 1."""
    if weight is None:
        values = values - values.mean(-1, keepdim=True)
    else:
        values = (values - (values * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)) * weight
    length = values.square().sum(-1, keepdim=True).sqrt()
    return values / length.clamp(min=1e-6)


INKS = torch.tensor([COLOURS[name] for name in COLOURS]).float()  # (8, 3)
