"""Similarity of two takes of one score: PSNR, colours, position of the object, recognised attributes, frame by frame.

With the same seed, a take at many steps begins as the live one and diverges, as each chunk is generated from its own
past. Takes of another seed give the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from models.evaluation.judge.analyser import ATTRIBUTES, NONE, Analysis, analyse
from models.evaluation.judge.background import as_floats
from models.evaluation.judge.clip_metrics import measure_clip
from models.toyworld import Scene

CELLS = 8  # a side, in which colours are averaged
SETTLING = 12  # frames after a prompt change that are not analysed


@dataclass(frozen=True)
class Stretch:
    """Frames first..last (exclusive) of one prompt, and the scene it names, where that is known."""

    first: int
    last: int
    scene: Scene | None = None

    def settled(self, frames: np.ndarray) -> np.ndarray:
        """The stretch's frames without the first `SETTLING`, if enough are left."""
        first = self.first + SETTLING
        return frames[first if self.last - first >= SETTLING else self.first : self.last]


@dataclass(frozen=True)
class Similarity:
    """Two takes, frame by frame, (T,) each; nan where not defined.

    psnr: dB. colours: mean difference of the means of CELLS x CELLS cells, 8-bit levels. away: distance of the objects'
    centres, half-pictures. words: share of the attributes that are recognised as the same, one a stretch.
    """

    psnr: NDArray[np.float64]
    colours: NDArray[np.float64]
    away: NDArray[np.float64]
    words: tuple[float, ...]


@dataclass(frozen=True)
class TakeQuality:
    """One take, stretch by stretch. asked: share of the scene's attributes that are recognised; fidelity: PSNR against
    the world drawn along the measured track, dB."""

    asked: tuple[float, ...]
    fidelity: tuple[float, ...]


def analyse_stretches(frames: np.ndarray, stretches: Sequence[Stretch]) -> list[Analysis]:
    """The analysis of each stretch of a take."""
    return [analyse(frames[s.first : s.last]) for s in stretches]


def compare(a: np.ndarray, b: np.ndarray, stretches: Sequence[Stretch]) -> Similarity:
    """Compare two takes of T frames, uint8 (T, H, W, 3)."""
    assert a.shape == b.shape
    first, second = as_floats(a), as_floats(b)
    error = (first - second).square().flatten(1).mean(1).clamp(min=1e-3)
    cells = [F.adaptive_avg_pool2d(pixels, CELLS) for pixels in (first, second)]
    away = np.full(len(a), np.nan)
    words = []
    analyses = (analyse_stretches(frames, stretches) for frames in (a, b))
    for stretch, one, other in zip(stretches, *analyses, strict=True):
        both = one.seen & other.seen
        gap = np.hypot(one.x - other.x, one.y - other.y)
        away[stretch.first : stretch.last] = np.where(both, gap, np.nan)
        settled = [analyse(stretch.settled(frames)) for frames in (a, b)]
        words.append(_same(settled[0], settled[1]))
    return Similarity(
        psnr=(10 * (255.0**2 / error).log10()).double().numpy(),
        colours=(cells[0] - cells[1]).abs().flatten(1).mean(1).double().numpy(),
        away=away,
        words=tuple(words),
    )


def take_quality(frames: np.ndarray, stretches: Sequence[Stretch]) -> TakeQuality:
    """Measure one take by itself."""
    asked, fidelity = [], []
    for stretch in stretches:
        clip = measure_clip(stretch.settled(frames))
        fidelity.append(clip.fidelity)
        if stretch.scene is not None:
            asked.append(
                sum(getattr(clip.reading, n) == getattr(stretch.scene, n) for n in ATTRIBUTES) / len(ATTRIBUTES)
            )
    return TakeQuality(tuple(asked), tuple(fidelity))


def _same(one: Analysis, other: Analysis) -> float:
    found = [(getattr(one, name), getattr(other, name)) for name in ATTRIBUTES]
    return float(np.mean([a == b != NONE for a, b in found]))
