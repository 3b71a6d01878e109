"""How alike two takes of one score are: the picture, its colours, where the object is, and what is to be seen at all.

Made from the same seed and the same past, a take at many steps begins as the live one and then goes its own way, as
each chunk is made from its own past. How far, is what these figures say, frame by frame; another seed gives the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from models.evaluation.judge.analyser import ATTRIBUTES, NONE, Reading, analyse
from models.evaluation.judge.background import as_floats
from models.evaluation.judge.clip_metrics import measure_clip
from models.toyworld import Scene

CELLS = 8  # across the picture, for its colours
SETTLING = 12  # frames after a change in which the picture may still be turning


@dataclass(frozen=True)
class Stretch:
    """Frames first..last (exclusive) of one prompt, and what it asked for, where that is known."""

    first: int
    last: int
    scene: Scene | None = None

    def settled(self, frames: np.ndarray) -> np.ndarray:
        """The stretch's frames without those in which the picture may still be turning, if enough are left."""
        first = self.first + SETTLING
        return frames[first if self.last - first >= SETTLING else self.first : self.last]


@dataclass(frozen=True)
class Likeness:
    """Two takes, frame by frame, (T,) each; nan where it cannot be said.

    psnr: dB. colours: mean difference of the pictures in CELLS x CELLS cells, 8-bit levels: what is where, without
    edges. away: between the objects' centres, in half-pictures. words: share of (colour, shape, size, background,
    motion) that are recognised as the same, a stretch each.
    """

    psnr: NDArray[np.float64]
    colours: NDArray[np.float64]
    away: NDArray[np.float64]
    words: tuple[float, ...]


@dataclass(frozen=True)
class Looks:
    """One take by itself, stretch by stretch. asked: share of the attributes asked for that are there; fidelity: PSNR
    against the world drawn along the same track, dB."""

    asked: tuple[float, ...]
    fidelity: tuple[float, ...]


def read(frames: np.ndarray, stretches: Sequence[Stretch]) -> list[Reading]:
    """What is to be seen in each stretch of a take."""
    return [analyse(frames[s.first : s.last]) for s in stretches]


def compare(a: np.ndarray, b: np.ndarray, stretches: Sequence[Stretch]) -> Likeness:
    """Two takes of as many frames, uint8 (T, H, W, 3)."""
    assert a.shape == b.shape
    first, second = as_floats(a), as_floats(b)
    error = (first - second).square().flatten(1).mean(1).clamp(min=1e-3)
    cells = [F.adaptive_avg_pool2d(pixels, CELLS) for pixels in (first, second)]
    away = np.full(len(a), np.nan)
    words = []
    for stretch, one, other in zip(stretches, read(a, stretches), read(b, stretches), strict=True):
        both = one.seen & other.seen
        gap = np.hypot(one.x - other.x, one.y - other.y)
        away[stretch.first : stretch.last] = np.where(both, gap, np.nan)
        settled = [analyse(stretch.settled(frames)) for frames in (a, b)]
        words.append(_same(settled[0], settled[1]))
    return Likeness(
        psnr=(10 * (255.0**2 / error).log10()).double().numpy(),
        colours=(cells[0] - cells[1]).abs().flatten(1).mean(1).double().numpy(),
        away=away,
        words=tuple(words),
    )


def looks(frames: np.ndarray, stretches: Sequence[Stretch]) -> Looks:
    """How good a take is in itself."""
    asked, fidelity = [], []
    for stretch in stretches:
        clip = measure_clip(stretch.settled(frames))
        fidelity.append(clip.fidelity)
        if stretch.scene is not None:
            asked.append(
                sum(getattr(clip.reading, n) == getattr(stretch.scene, n) for n in ATTRIBUTES) / len(ATTRIBUTES)
            )
    return Looks(tuple(asked), tuple(fidelity))


def _same(one: Reading, other: Reading) -> float:
    found = [(getattr(one, name), getattr(other, name)) for name in ATTRIBUTES]
    return float(np.mean([a == b != NONE for a, b in found]))
