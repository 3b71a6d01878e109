"""Outlines of the shapes as signed distance fields, computed once on a grid."""

from __future__ import annotations

import math
from functools import cache

import torch

EXTENT = 2.0  # a field covers [-EXTENT, EXTENT] in units of the shape's radius
RESOLUTION = 257


@cache
def distance_field(name: str) -> torch.Tensor:
    """Signed distance to the outline of `name`, (257, 257), negative inside, in units of the shape's radius."""
    line = torch.linspace(-EXTENT, EXTENT, RESOLUTION)
    y, x = torch.meshgrid(line, line, indexing="ij")
    if name == "circle":
        return _disc(x, y, 0.92)
    if name == "ring":
        return (torch.hypot(x, y) - 0.7).abs() - 0.25
    if name == "moon":
        return torch.maximum(_disc(x, y, 0.95), -_disc(x - 0.46, y + 0.16, 0.72))
    return _polygon(x, y, _OUTLINES[name]())


def _disc(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.hypot(x, y) - radius


def _polygon(x: torch.Tensor, y: torch.Tensor, corners: list[tuple[float, float]]) -> torch.Tensor:
    """Distance to the nearest edge; the sign by the even-odd rule."""
    nearest = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        along = (((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        nearest = torch.minimum(nearest, torch.hypot(x - ax - along * ex, y - ay - along * ey))
        if ay != by:
            crosses = ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
            inside ^= crosses
    return torch.where(inside, -nearest, nearest)


def _square() -> list[tuple[float, float]]:
    return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]


def _triangle() -> list[tuple[float, float]]:
    return [(1.05 * math.sin(a), 0.12 - 1.05 * math.cos(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]


def _star() -> list[tuple[float, float]]:
    return [
        (r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5))
        for i in range(10)
        for r in [(1.08, 0.46)[i % 2]]
    ]


def _cross() -> list[tuple[float, float]]:
    a, b = 0.3, 0.95
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


def _heart() -> list[tuple[float, float]]:
    """The usual heart curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, in the unit circle."""
    points = []
    for i in range(96):
        t = 2 * math.pi * i / 96
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16.5, -(y + 2.2) / 16.5))
    return points


_OUTLINES = {"square": _square, "triangle": _triangle, "star": _star, "cross": _cross, "heart": _heart}
