"""The object's colour by nearest opponent colour, its shape and pose by correlation with templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.evaluation.judge.background import SIDE, Matte
from models.evaluation.judge.shape_templates import INKS, TILTS, WIDTHS, cut, form, masks, unit
from models.toyworld import COLOURS, SHAPES

PALETTE = tuple(COLOURS)
_GLINT = 10.0  # what the highlight adds to the median pixel of an object


@dataclass(frozen=True)
class Blob:
    """The masks' first moments: centre (T, 2) and equal-area radius (T,) in half-picture units; 0 for empty masks."""

    centre: Tensor
    reach: Tensor


def measure(alpha: Tensor) -> Blob:
    """Centroid and area of soft masks (T, H, W)."""
    line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    mass = alpha.flatten(1).sum(1)
    safe = mass.clamp(min=1e-6)
    centre = torch.stack([(alpha.sum(1) * line).sum(1) / safe, (alpha.sum(2) * line).sum(1) / safe], 1)
    return Blob(centre, (mass / torch.pi).sqrt() * (2 / SIDE))


def find_colour(pixels: Tensor, matte: Matte) -> Tensor:
    """The name nearest to the object's median colour, as an index into `PALETTE`, (T,)."""
    core = matte.alpha > 0.95
    ink = torch.zeros(len(pixels), 3)
    for t, (frame, mask) in enumerate(zip(pixels, core, strict=True)):
        if mask.any():
            ink[t] = frame[:, mask].median(1).values
    return torch.cdist(_opponent(ink), _opponent((INKS + _GLINT).clamp(max=255))).argmin(1)


def _opponent(rgb: Tensor) -> Tensor:
    """Opponent colours: red less green, yellow less blue, a quarter of the brightness (shading changes it most)."""
    r, g, b = rgb.unbind(-1)
    return torch.stack([r - g, (r + g) / 2 - b, 0.25 * (r + g + b) / 3], -1)


def compare(matte: Matte, blob: Blob) -> Tensor:
    """Correlation of the masks with each shape in each pose, -1..1, maximum over scales: (T, shapes, poses)."""
    patches = unit(cut(matte.alpha[:, None], blob.centre, blob.reach).flatten(1))
    known = masks()
    scores = patches @ known.flatten(0, 2).T
    return scores.view(len(patches), *known.shape[:3]).amax(-1)


def find_pose(fits: Tensor) -> tuple[Tensor, Tensor]:
    """Tilt in radians and width (1 = seen from the front), (T,) each, at the maximum of (T, poses)."""
    grid = fits.unflatten(1, (len(TILTS), len(WIDTHS)))
    best = fits.argmax(1)
    i, j, rows = best // len(WIDTHS), best % len(WIDTHS), torch.arange(len(fits))
    return _between(grid[rows, :, j], i, TILTS), _between(grid[rows, i], j, WIDTHS)


def _between(fits: Tensor, best: Tensor, values: Sequence[float]) -> Tensor:
    """The value at the peak of the parabola through the best of (T, values) and its two neighbours."""
    rows, inner = torch.arange(len(fits)), best.clamp(1, len(values) - 2)
    left, mid, right = (fits[rows, inner + k] for k in (-1, 0, 1))
    bend = (left - 2 * mid + right).clamp(max=-1e-6)
    peak = inner + (0.5 * (left - right) / bend).clamp(-1, 1)
    low = peak.floor().long().clamp(max=len(values) - 2)
    known = torch.tensor(values)
    return known[low] + (peak - low) * (known[low + 1] - known[low])


def find_origin(blob: Blob, shape: int, tilt: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The object's centre (T, 2) and radius (T,) as the renderer takes them, from its mask."""
    facts = form(SHAPES[shape])
    radius = blob.reach / facts.area_radius / width.sqrt()
    mx, my = facts.centroid
    cos, sin = tilt.cos(), tilt.sin()
    shift = torch.stack([(cos * mx - sin * my) * width, sin * mx + cos * my], 1)
    return blob.centre - radius[:, None] * shift, radius
