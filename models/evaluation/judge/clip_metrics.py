"""Metrics of one clip: fidelity, sharpness, flicker, smoothness of motion; and intervals of shares and means.

The reference is the world drawn along the track that the analyser measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.evaluation.judge.analyser import ATTRIBUTES, Analysis, analyse
from models.evaluation.judge.background import SIDE, as_floats
from models.evaluation.prompts import Task
from models.toyworld import Track, render

Z95 = 1.96


@dataclass(frozen=True)
class Clip:
    """fidelity: PSNR against the world along the same track, dB. sharpness: energy of the gradients there, truth = 1;
    at the clip's own size when that is larger than 128x128, because making it smaller would make it look sharper.

    flicker: mean change of the ground from frame to frame, 8-bit levels. jerk: mean second difference of the centre,
    pixels of 128 a frame squared. border_jerk: the same over the frames about a chunk border only. cut: change of the
    picture at a border over its change elsewhere. nan where not defined.
    """

    reading: Analysis
    fidelity: float
    sharpness: float
    flicker: float
    jerk: float
    border_jerk: float
    cut: float

    def right(self, task: Task) -> dict[str, bool]:
        """Which of the attributes that the prompt names are recognised."""
        return {n: getattr(self.reading, n) == getattr(task.scene, n) for n in ATTRIBUTES if n in task.asked}


def measure_clip(frames: np.ndarray, borders: Sequence[int] = ()) -> Clip:
    """All figures of uint8 frames (T, H, W, 3); borders: index of the first frame of every chunk but the first."""
    reading = analyse(frames)
    pixels = as_floats(frames)
    track = reading.track()
    fidelity = sharpness = flicker = math.nan
    if track is not None:
        truth = torch.from_numpy(render(track, SIDE)).permute(0, 3, 1, 2).float()
        fidelity = _psnr(pixels, truth)
        sharpness = _sharpness(*_at_own_size(frames, track))
        flicker = _flicker(pixels, reading)
    jerk, border_jerk = smoothness(reading, borders)
    return Clip(reading, fidelity, sharpness, flicker, jerk, border_jerk, _cut(pixels, borders))


def _at_own_size(frames: np.ndarray, track: Track) -> tuple[torch.Tensor, torch.Tensor]:
    """The clip and its truth, float (T, 3, side, side), no smaller than the judge sees them."""
    side = max(SIDE, *frames.shape[1:3])
    truth = torch.from_numpy(render(track, side)).permute(0, 3, 1, 2).float()
    return as_floats(frames, side), truth


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise of two uint8 clips (T, H, W, 3), dB; compared at 128x128."""
    return _psnr(as_floats(a), as_floats(b))


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return 10 * math.log10(255.0**2 / max(float((a - b).square().mean()), 1e-3))


def _energy(pixels: torch.Tensor) -> torch.Tensor:
    grey = pixels.mean(1, keepdim=True)
    dx, dy = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    return dx.square() + dy.square()


def _sharpness(pixels: torch.Tensor, truth: torch.Tensor) -> float:
    """Gradient energy near the true edges, relative to the truth's; noise elsewhere does not count."""
    mine, real = _energy(pixels), _energy(truth)
    edges = real > 0.15 * real.flatten(1).amax(1)[:, None, None, None]
    reach = round(3 * pixels.shape[-1] / SIDE)  # as far about the edges at any size
    about = F.max_pool2d(edges.float(), 2 * reach + 1, stride=1, padding=reach)
    return float((mine * about).sum() / (real * about).sum().clamp(min=1e-6))


def _flicker(pixels: torch.Tensor, reading: Analysis) -> float:
    """Mean change of pixels that are away from the object and its shadow in both frames."""
    line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    x, y, reach = (torch.from_numpy(v).float()[:, None, None] for v in (reading.x, reading.y, reading.radius))
    free = torch.hypot(line[None, None] - x, line[None, :, None] - y) > 1.9 * reach
    both = (free[1:] & free[:-1])[:, None]
    return float(((pixels[1:] - pixels[:-1]).abs() * both).sum() / (3 * both.sum()).clamp(min=1))


def smoothness(reading: Analysis, borders: Sequence[int] = ()) -> tuple[float, float]:
    """Mean second difference of the centre over the clip, and over the frames about the borders; pixels a frame^2."""
    bend = _bend(reading)
    if not len(bend):
        return math.nan, math.nan
    near = sorted({t for b in borders for t in (b - 2, b - 1) if 0 <= t < len(bend)})
    return float(bend.mean()), float(bend[near].mean()) if near else math.nan


def _bend(reading: Analysis) -> NDArray[np.float64]:
    if reading.seen.sum() < 3:
        return np.zeros(0)
    ddx, ddy = np.diff(reading.x, n=2), np.diff(reading.y, n=2)
    return np.asarray(np.hypot(ddx, ddy) * SIDE / 2)


def _cut(pixels: torch.Tensor, borders: Sequence[int]) -> float:
    change = (pixels[1:] - pixels[:-1]).abs().flatten(1).mean(1)
    at = [b - 1 for b in borders if 0 < b <= len(change)]
    rest = [t for t in range(len(change)) if t not in at]
    if not at or not rest:
        return math.nan
    return float(change[at].mean() / change[rest].mean().clamp(min=1e-3))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, after Wilson (1927): valid near 0 and 1 and for few trials."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(flags: Sequence[bool]) -> dict[str, float]:
    """A share with its 95 % interval and the number of trials, for a table or JSON."""
    hits, count = sum(flags), len(flags)
    low, high = wilson(hits, count)
    return {"value": hits / count if count else math.nan, "low": low, "high": high, "n": count}


def mean(values: Sequence[float]) -> dict[str, float]:
    """The mean of the finite values, with its standard error and their number."""
    kept = [v for v in values if math.isfinite(v)]
    count = len(kept)
    if not count:
        return {"value": math.nan, "error": math.nan, "n": 0}
    error = float(np.std(kept, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return {"value": float(np.mean(kept)), "error": error, "n": count}
