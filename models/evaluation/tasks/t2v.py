"""Text to video at each number of steps: are the attributes asked for there, and is it the world as it should be?"""

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
from models.evaluation.judge.worker_pool import Readers
from models.evaluation.prompts import Task, generator
from models.evaluation.tasks.sampler import Maker
from models.toyworld import render, simulate

FRAMES = 49  # 5 chunks: one round of an orbit
TRUTH, CEILING = "truth", "vae"  # rows beside the step counts: the world itself, and the world through the VAE
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Column:
    """All clips of one number of steps (or `TRUTH`, `CEILING`), one a task, with three frames of each to look at."""

    name: str
    clips: tuple[Clip, ...]
    stills: tuple[np.ndarray, ...]  # (3, H, W, 3) each: first, middle, last
    seconds: float  # of making, a chunk, many takes together


def truth_clips(tasks: Sequence[Task], seed: int, side: int = SIDE) -> Iterator[np.ndarray]:
    """The true world playing each task, `side` pixels wide and high."""
    rng = generator("truth", seed)
    return (render(simulate([(0, task.scene)], FRAMES, rng), side) for task in tasks)


def run(
    maker: Maker, tasks: Sequence[Task], steps: Sequence[int], seed: int, progress: Progress, readers: Readers
) -> list[Column]:
    """A column for the truth, one for the truth through the VAE, one for each number of steps."""
    borders = maker.borders(FRAMES)
    coded = (maker.through_vae(real) for real in truth_clips(tasks, seed, maker.side))
    columns = [
        read(TRUTH, truth_clips(tasks, seed, maker.side), borders, progress, readers),
        read(CEILING, coded, borders, progress, readers),
    ]
    return columns + [text_to_video(maker, tasks, count, progress, readers) for count in steps]


def text_to_video(maker: Maker, tasks: Sequence[Task], steps: int, progress: Progress, readers: Readers) -> Column:
    """The column of one number of steps."""
    made = maker.takes([task.text for task in tasks], [task.seed for task in tasks], FRAMES, steps)
    return read(str(steps), made, maker.borders(FRAMES), progress, readers)


def read(name: str, made: Iterator[np.ndarray], borders: list[int], progress: Progress, readers: Readers) -> Column:
    """Measure clips as they come; none is kept."""
    clips: list[Future[Clip]] = []
    stills, spent = [], 0.0
    while True:
        began = time.perf_counter()
        frames = next(made, None)
        spent += time.perf_counter() - began
        if frames is None:
            break
        clips.append(readers.submit(measure_clip, frames, borders))
        stills.append(frames[[0, len(frames) // 2, -1]])
        progress(f"{name if name in (TRUTH, CEILING) else name + ' steps'}: clip {len(clips)}")
    measured = tuple(clip.result() for clip in clips)
    return Column(name, measured, tuple(stills), spent / max(1, len(clips)) / (len(borders) + 1))


def score(clip: Clip, task: Task) -> float:
    """Share of the attributes asked for that are there: the quality of one clip, 0..1."""
    right = clip.right(task)
    return sum(right.values()) / len(right)


def summary(column: Column, tasks: Sequence[Task]) -> dict[str, Any]:
    """The column as figures: shares with intervals, means with standard errors."""
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
    """Quality of `column` less that of `base` on the same prompts and seeds: the paired mean and its 95 % error."""
    gain = [
        score(mine, task) - score(other, task)
        for mine, other, task in zip(column.clips, base.clips, tasks, strict=True)
    ]
    figure = mean(gain)
    error = figure["error"] if math.isfinite(figure["error"]) else 0.0
    return {"value": figure["value"], "error95": Z95 * error, "n": figure["n"]}
