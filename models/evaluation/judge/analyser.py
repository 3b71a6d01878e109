"""Recognises the attributes of a toy-world video with the world's own templates; nothing is learned.

Its accuracy on true clips is measured by `models.evaluation.judge.selftest`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.judge.appearance import PALETTE, compare, find_colour, find_origin, find_pose, measure
from models.evaluation.judge.background import FAINT, NAMES, as_floats, find_matte
from models.evaluation.judge.motion import find_motion
from models.toyworld import SHAPES, SIZES, Scene, Track

ATTRIBUTES = ("colour", "shape", "size", "background", "motion")
NONE = "none"
_BETWEEN = float(np.sqrt(SIZES["small"] * SIZES["big"]))
_LEAST_RADIUS = 0.1  # anything smaller is a speck
_LEAST_FIT = 0.55  # correlation of the best shape template


@dataclass(frozen=True)
class Analysis:
    """Attributes of T frames: words of the world's vocabulary or "none"; motion may also be "still".

    seen: object found, (T,). x, y, radius: half-picture units, tilt: radians, width: as in `Track`; each (T,),
    interpolated where not seen.
    fit: correlation with the shape's template, 0..1. spill: share of the foreground that is not the object.
    """

    colour: str
    shape: str
    size: str
    background: str
    motion: str
    seen: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    tilt: NDArray[np.float64]
    width: NDArray[np.float64]
    radius: NDArray[np.float64]
    fit: float
    spill: float
    facts: dict[str, float] = field(default_factory=dict)

    def scene(self) -> Scene | None:
        """The recognised scene; None when an attribute is missing. A still object counts as pulsing."""
        if NONE in (self.colour, self.shape, self.size, self.background):
            return None
        motion = self.motion if self.motion not in (NONE, "still") else "pulsing"
        return Scene(self.shape, self.colour, self.size, motion, self.background)

    def track(self) -> Track | None:
        """The measured track, for the renderer; None when there is no scene."""
        scene = self.scene()
        if scene is None:
            return None
        return Track((scene,) * len(self.x), self.x, self.y, self.tilt, self.width, self.radius)


def analyse(frames: np.ndarray) -> Analysis:
    """Analyse uint8 frames (T, H, W, 3) of one scene. Motion needs 8 frames or more, else it is "none"."""
    pixels = as_floats(frames)
    matte = find_matte(pixels)
    blob = measure(matte.alpha)
    fits = compare(matte, blob)  # (T, shapes, poses)
    size = blob.reach.numpy()
    best = fits.flatten(1).amax(1).numpy()
    seen = (matte.strength.numpy() > FAINT) & (size > 0.6 * _LEAST_RADIUS) & (size < 0.85) & (best > _LEAST_FIT)
    background = _vote(matte.background.numpy(), NAMES)
    if seen.mean() < 0.5:
        return _nothing(len(frames), background)
    where = torch.from_numpy(np.flatnonzero(seen))
    colours = find_colour(pixels, matte)
    colour = _vote(colours[where].numpy(), PALETTE)
    by_shape = fits[where].amax(2).mean(0)
    shape = int(by_shape.argmax())
    pose = find_pose(fits[:, shape])
    centre, reach = find_origin(blob, shape, *pose)
    x, y, tilt, width, radius = (_fill(v.double().numpy(), seen) for v in (*centre.unbind(1), *pose, reach))
    motion, facts = find_motion(x, y, width, radius) if seen.sum() >= 8 else (NONE, {})
    return Analysis(
        colour=colour,
        shape=SHAPES[shape],
        size="big" if float(np.mean(radius)) > _BETWEEN else "small",
        background=background,
        motion=motion,
        seen=seen,
        x=x,
        y=y,
        tilt=tilt,
        width=width,
        radius=radius,
        fit=float(by_shape[shape]),
        spill=float(matte.spill[where].mean()),
        facts=facts | {"strength": float(matte.strength[where].mean()), "noise": float(matte.noise.mean())},
    )


def _vote(indices: NDArray[np.int64], names: tuple[str, ...]) -> str:
    """The majority of the frames' indices as a name; index -1 counts for none."""
    counts = np.bincount(indices + 1, minlength=len(names) + 1)
    best = int(counts.argmax())
    return NONE if best == 0 else names[best - 1]


def _fill(values: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    time = np.arange(len(values))
    return np.interp(time, time[seen], values[seen])


def _nothing(frames: int, background: str) -> Analysis:
    zero = np.zeros(frames)
    return Analysis(
        NONE, NONE, NONE, background, NONE, np.zeros(frames, bool), zero, zero, zero, zero, zero, fit=0.0, spill=0.0
    )
