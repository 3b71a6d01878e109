"""Text to video at each step count: which named attributes are recognised, and the picture's quality."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.judge.analyser import ATTRIBUTES
from models.evaluation.judge.background import SIDE
from models.evaluation.judge.clip_metrics import Z95, Clip, mean, measure_clip, share
from models.evaluation.judge.worker_pool import AnalyserPool
from models.evaluation.prompts import Task, generator
from models.evaluation.tasks.sampler import Sampler
from models.toyworld import render, simulate

FRAMES = 49  # 5 chunks: one round of an orbit
TRUTH, CEILING = "truth", "vae"  # rows beside the step counts: true clips, and true clips through the VAE
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Column:
    """Metrics of all clips of one step count (or `TRUTH`, `CEILING`), one a task, with three frames of each."""

    name: str
    clips: tuple[Clip, ...]
    stills: tuple[np.ndarray, ...]  # (3, H, W, 3) each: first, middle, last
    seconds: float  # of sampling, a chunk, in batches


def truth_clips(tasks: Sequence[Task], seed: int, side: int = SIDE) -> Iterator[np.ndarray]:
    """A true clip of each task, `side` pixels wide and high."""
    rng = generator("truth", seed)
    return (render(simulate([(0, task.scene)], FRAMES, rng), side) for task in tasks)


def run(
    sampler: Sampler, tasks: Sequence[Task], steps: Sequence[int], seed: int, progress: Progress, pool: AnalyserPool
) -> list[Column]:
    """A column for the truth, one for the truth through the VAE, one for each number of steps."""
    borders = sampler.borders(FRAMES)
    coded = (sampler.through_vae(real) for real in truth_clips(tasks, seed, sampler.side))
    columns = [
        measure(TRUTH, truth_clips(tasks, seed, sampler.side), borders, progress, pool),
        measure(CEILING, coded, borders, progress, pool),
    ]
    return columns + [text_to_video(sampler, tasks, count, progress, pool) for count in steps]


def text_to_video(
    sampler: Sampler, tasks: Sequence[Task], steps: int, progress: Progress, pool: AnalyserPool
) -> Column:
    """The column of one number of steps."""
    made = sampler.clips([task.text for task in tasks], [task.seed for task in tasks], FRAMES, steps)
    return measure(str(steps), made, sampler.borders(FRAMES), progress, pool)


def measure(
    name: str, made: Iterator[np.ndarray], borders: list[int], progress: Progress, pool: AnalyserPool
) -> Column:
    """Measure clips as they are sampled; their frames are not kept."""
    clips: list[Future[Clip]] = []
    stills, spent = [], 0.0
    while True:
        began = time.perf_counter()
        frames = next(made, None)
        spent += time.perf_counter() - began
        if frames is None:
            break
        clips.append(pool.submit(measure_clip, frames, borders))
        stills.append(frames[[0, len(frames) // 2, -1]])
        progress(f"{name if name in (TRUTH, CEILING) else name + ' steps'}: clip {len(clips)}")
    measured = tuple(clip.result() for clip in clips)
    return Column(name, measured, tuple(stills), spent / max(1, len(clips)) / (len(borders) + 1))


def score(clip: Clip, task: Task) -> float:
    """Quality of a clip: share of the attributes named in its prompt that are recognised, 0..1."""
    right = clip.right(task)
    return sum(right.values()) / len(right)


def summary(column: Column, tasks: Sequence[Task]) -> dict[str, Any]:
    """Figures of a column: shares with 95 % intervals, means with standard errors."""
    found = [clip.right(task) for clip, task in zip(column.clips, tasks, strict=True)]
    figures: dict[str, Any] = {name: share([f[name] for f in found if name in f]) for name in ATTRIBUTES}
    figures["all"] = share([all(f.values()) for f in found])
    figures["object"] = share([bool(clip.reading.seen.mean() > 0.9) for clip in column.clips])
    figures["quality"] = mean([score(clip, task) for clip, task in zip(column.clips, tasks, strict=True)])
    for name in ("fidelity", "sharpness", "flicker", "jerk", "border_jerk", "cut"):
        figures[name] = mean([getattr(clip, name) for clip in column.clips])
    figures["spill"] = mean([clip.reading.spill for clip in column.clips])
    figures["seconds_per_chunk"] = column.seconds
    return figures


def against(column: Column, base: Column, tasks: Sequence[Task]) -> dict[str, float]:
    """Paired mean difference of quality, `column` less `base`, on the same prompts and seeds, with its 95 % error."""
    gain = [
        score(mine, task) - score(other, task)
        for mine, other, task in zip(column.clips, base.clips, tasks, strict=True)
    ]
    figure = mean(gain)
    error = figure["error"] if math.isfinite(figure["error"]) else 0.0
    return {"value": figure["value"], "error95": Z95 * error, "n": figure["n"]}
