"""Templates of every shape in every pose, normalised to one centroid and one area, for the analyser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from models.toyworld import COLOURS, SHAPES
from models.toyworld.render import own_coordinates
from models.toyworld.shapes import EXTENT, RESOLUTION, distance_field

PATCH = 32  # cells a side
REACH = 2.0  # a patch covers this many equal-area radii to each side of the centroid
TILTS = tuple(i / 8 for i in range(-4, 5))  # radians; the world's own are within a quarter
WIDTHS = (1.0, 0.86, 0.73, 0.61, 0.5, 0.4, 0.31)  # seen from the front .. from the side
POSES = tuple((tilt, width) for tilt in TILTS for width in WIDTHS)
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
def masks() -> Tensor:
    """Every shape in every pose and scale as a unit vector, (shapes, poses, scales, PATCH * PATCH)."""
    x, y = lattice()
    tilt, width = torch.tensor(POSES).T[:, :, None, None]
    out = torch.empty(len(SHAPES), len(POSES), len(SCALES), PATCH * PATCH)
    for i, name in enumerate(SHAPES):
        facts = form(name)
        field = distance_field(name)[None, None].expand(len(POSES), -1, -1, -1)
        for k, scale in enumerate(SCALES):
            reach = facts.area_radius * scale * width.sqrt()  # of one area, however narrow
            u, v = own_coordinates(x * reach, y * reach, tilt, width)
            where = torch.stack([u + facts.centroid[0], v + facts.centroid[1]], -1) / EXTENT
            depth = F.grid_sample(field, where, padding_mode="border", align_corners=True)[:, 0]
            out[i, :, k] = torch.sigmoid(-depth / (_SOFT / 2)).flatten(1)
    return unit(out)


def cut(maps: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Patches (T, C, PATCH, PATCH) of maps (T, C, H, W) about centre (T, 2), scale (T,): half-picture units."""
    x, y = lattice()
    where = torch.stack([x, y], -1)[None] * scale[:, None, None, None] + centre[:, None, None, :]
    return F.grid_sample(maps, where, padding_mode="zeros", align_corners=False)


def unit(values: Tensor) -> Tensor:
    """Mean 0 and length 1 along the last axis."""
    values = values - values.mean(-1, keepdim=True)
    length = values.square().sum(-1, keepdim=True).sqrt()
    return values / length.clamp(min=1e-6)


INKS = torch.tensor([COLOURS[name] for name in COLOURS]).float()  # (8, 3)
