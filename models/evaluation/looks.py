"""What the object is: its colour by hue, its shape and pose by comparison with every shape at every angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.evaluation.ground import SIDE, Matte
from models.evaluation.templates import ANGLES, INKS, angles, cut, form, masks, shading, unit
from models.world import COLOURS, SHAPES

PALETTE = tuple(COLOURS)
_GLINT = 10.0  # what the highlight adds to the median pixel of an object
_SHADING = 0.5  # weight of light and shade beside the outline when an angle is chosen


@dataclass(frozen=True)
class Blob:
    """The masks' first moments: centre (T, 2) and equal-area radius (T,) in half-picture units; 0 where nothing is."""

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
    """Red against green, yellow against blue, and a little brightness: light and shade move the last most."""
    r, g, b = rgb.unbind(-1)
    return torch.stack([r - g, (r + g) / 2 - b, 0.25 * (r + g + b) / 3], -1)


def compare(matte: Matte, blob: Blob) -> Tensor:
    """How well each shape at each angle fits the masks, -1..1, the best of a few scales: (T, shapes, ANGLES)."""
    patches = unit(cut(matte.alpha[:, None], blob.centre, blob.reach).flatten(1))
    known = masks()
    scores = patches @ known.flatten(0, 2).T
    return scores.view(len(patches), *known.shape[:3]).amax(-1)


def find_angle(pixels: Tensor, blob: Blob, shape: int, colour: int, fits: Tensor) -> NDArray[np.float64]:
    """Angle of the object in each frame, radians, (T,). `fits` is (T, ANGLES): how well the outline fits.

    Outlines say it up to their own symmetry; light and shade turn with the object and say the rest.
    """
    looks, weight = shading(SHAPES[shape], PALETTE[colour])
    patches = cut(pixels.mean(1, keepdim=True), blob.centre, blob.reach).flatten(1)
    found = torch.stack([(unit(patches, weight[k : k + 1]) * looks[k]).sum(1) for k in range(ANGLES)], 1)
    total = fits + _SHADING * found
    best = total.argmax(1)
    rows = torch.arange(len(total))
    left, mid, right = total[rows, best - 1], total[rows, best], total[rows, (best + 1) % ANGLES]
    bend = (left - 2 * mid + right).clamp(max=-1e-6)
    nudge = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    turned: NDArray[np.float64] = (angles()[best] + nudge * (2 * torch.pi / ANGLES)).double().numpy()
    return turned


def find_origin(blob: Blob, shape: int, angle: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The object's own centre (T, 2) and radius (T,), which the renderer was given, from its mask's centroid."""
    facts = form(SHAPES[shape])
    radius = blob.reach.double().numpy() / facts.area_radius
    mx, my = facts.centroid
    cos, sin = np.cos(angle), np.sin(angle)
    shift = np.stack([cos * mx - sin * my, sin * mx + cos * my], 1)
    return blob.centre.double().numpy() - radius[:, None] * shift, radius
