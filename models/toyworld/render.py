"""Renders a track by signed distance fields, with anti-aliased edges, shading and a soft shadow."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.toyworld.motion import Track
from models.toyworld.scene import BACKGROUNDS, COLOURS
from models.toyworld.shapes import EXTENT, distance_field


def render(track: Track, size: int = 128) -> NDArray[np.uint8]:
    """Frames of the track, (T, size, size, 3) uint8."""
    frames = len(track.x)
    grid_x, grid_y = _grid(size)  # (size, size) in [-1, 1]
    names = sorted({scene.shape for scene in track.scenes})
    out = torch.empty(frames, size, size, 3)
    x, y, tilt, width, radius = (
        torch.from_numpy(v).float()[:, None, None] for v in (track.x, track.y, track.tilt, track.width, track.radius)
    )
    for name in names:
        index = torch.tensor([i for i, scene in enumerate(track.scenes) if scene.shape == name])
        field = distance_field(name)
        cx, cy, reach, pose = x[index], y[index], radius[index], (tilt[index], width[index])
        distance, u, v = _object(field, grid_x, grid_y, cx, cy, reach, *pose)  # half-picture units, negative inside
        shade, _, _ = _object(field, grid_x, grid_y, cx + 0.16 * reach, cy + 0.22 * reach, reach, *pose)
        depth = _true_distance(distance, 2 / size)
        scenes = [track.scenes[i] for i in index.tolist()]
        ink = torch.tensor([COLOURS[s.colour] for s in scenes]).float()[:, None, None, :]
        paper = torch.tensor([BACKGROUNDS[s.background] for s in scenes]).float()[:, None, None, :]
        out[index] = _paint(depth, shade, u, v, reach, ink, paper, grid_x, grid_y, size)
    return out.clamp(0, 255).round().to(torch.uint8).numpy()


def _paint(
    depth: torch.Tensor,
    shade: torch.Tensor,
    u: torch.Tensor,
    v: torch.Tensor,
    reach: torch.Tensor,
    ink: torch.Tensor,
    paper: torch.Tensor,
    grid_x: torch.Tensor,
    grid_y: torch.Tensor,
    size: int,
) -> torch.Tensor:
    # Brighter at the top, darker in the corners.
    light = (1.12 - 0.2 * grid_y - 0.16 * (grid_x**2 + grid_y**2))[None, :, :, None]
    shadow = torch.sigmoid(-shade / (0.18 * reach)) * 0.42
    ground = paper * light * (1 - shadow[..., None])
    tone = 1.0 - 0.22 * v - 0.12 * torch.sigmoid((depth / reach + 0.16) * 22)
    glint = 70 * torch.exp(-((u + 0.30) ** 2 + (v + 0.38) ** 2) / 0.09)
    body = ink * tone[..., None] + glint[..., None]
    cover = (0.5 - depth * size / 2).clamp(0, 1)[..., None]  # one pixel of soft edge
    return ground + (body - ground) * cover


def _object(
    field: torch.Tensor,
    grid_x: torch.Tensor,
    grid_y: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    reach: torch.Tensor,
    tilt: torch.Tensor,
    width: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance to the outline on the object itself (T, H, W), and its own coordinates u, v (1 = its radius)."""
    u, v = own_coordinates((grid_x - x) / reach, (grid_y - y) / reach, tilt, width)
    where = torch.stack([u, v], dim=-1) / EXTENT
    near = F.grid_sample(
        field[None, None].expand(len(u), -1, -1, -1), where, padding_mode="border", align_corners=True
    )[:, 0]
    return near * reach, u, v


def own_coordinates(
    dx: torch.Tensor, dy: torch.Tensor, tilt: torch.Tensor, width: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Offsets from the centre, in radii, to the object's own coordinates: rotated by tilt, divided by width."""
    cos, sin = torch.cos(tilt), torch.sin(tilt)
    return cos * dx / width + sin * dy, cos * dy - sin * dx / width


def _true_distance(field: torch.Tensor, pixel: float) -> torch.Tensor:
    """Divide by the slope: on an object narrowed by `width` the field grows too fast to be a distance."""
    slope_y, slope_x = torch.gradient(field, spacing=pixel, dim=(1, 2))
    return field / torch.hypot(slope_x, slope_y).clamp(min=1)


@cache
def _grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    grid_y, grid_x = torch.meshgrid(line, line, indexing="ij")
    return grid_x, grid_y
