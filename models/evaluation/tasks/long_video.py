"""A long video, measured window by window so that memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.judge.clip_metrics import measure_clip
from models.evaluation.prompts import Task
from models.evaluation.tasks.sampler import Sampler
from models.evaluation.tasks.t2v import Progress, score

WINDOW = 4  # chunks measured together, 48 frames


@dataclass(frozen=True)
class Moment:
    """Metrics of one window; second: time of its first frame."""

    second: float
    quality: float
    fidelity: float
    sharpness: float
    flicker: float
    same: bool  # colour, shape and background as the prompt says


def run(sampler: Sampler, task: Task, steps: int, minutes: float, progress: Progress) -> list[Moment]:
    """Sample `minutes` of video and measure it in windows."""
    fps = sampler.bundle.fps
    found = []
    for first, frames in _windows(sampler, task, steps, round(minutes * 60 * fps)):
        clip = measure_clip(frames)
        seen = clip.reading
        same = all(getattr(seen, n) == getattr(task.scene, n) for n in ("colour", "shape", "background"))
        found.append(Moment(first / fps, score(clip, task), clip.fidelity, clip.sharpness, clip.flicker, same))
        progress(f"long run: {first / fps:.0f} of {minutes * 60:.0f} s")
    return found


def _windows(sampler: Sampler, task: Task, steps: int, total: int) -> Iterator[tuple[int, np.ndarray]]:
    chunks = sampler.chunks(sampler.start(task.text, task.seed), steps)
    next(chunks)  # the single first frame
    made = 1
    while made < total:
        frames = np.concatenate([next(chunks) for _ in range(WINDOW)])
        yield made, frames
        made += len(frames)


def summary(moments: list[Moment]) -> dict[str, Any]:
    """Means over the first and the last tenth, and the share of windows with colour, shape and background as asked."""
    part = max(1, len(moments) // 10)

    def about(some: list[Moment]) -> dict[str, float]:
        names = ("quality", "fidelity", "sharpness", "flicker")
        return {name: float(np.nanmean([getattr(m, name) for m in some] or [np.nan])) for name in names}

    return {
        "seconds": moments[-1].second if moments else 0.0,
        "same": float(np.mean([m.same for m in moments])) if moments else 0.0,
        "first": about(moments[:part]),
        "last": about(moments[-part:]),
    }
