"""Starts from a picture (I2V) and from a clip (V2V): PSNR of the first frame, attributes kept, jumps of the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from models.evaluation.judge.analyser import ATTRIBUTES, Analysis, analyse
from models.evaluation.judge.clip_metrics import mean, psnr, share
from models.evaluation.prompts import Task
from models.evaluation.tasks.sampler import Sampler
from models.evaluation.tasks.t2v import FRAMES, Progress, truth_clips

APPEARANCE = ("colour", "shape", "size", "background")
JUMP = 0.15  # half-pictures between two frames; the world's fastest motion is 0.1
GIVEN = 25  # frames of a clip that is to be continued: 3 chunks


@dataclass(frozen=True)
class Start:
    """One start from a picture or a clip. same: appearance as given; jumps: the object moved further than `JUMP`."""

    first_psnr: float  # first frame against the first frame given, dB
    same: bool
    jumps: bool
    motion: bool  # the prompt's motion is recognised over the whole video
    drift: tuple[float, float]  # distance of the object from the truth's, 4 and 12 frames after the given ones


def judge(made: np.ndarray, truth: np.ndarray, task: Task, given: int) -> Start:
    """Generated frames (T, H, W, 3) against the true clip whose first `given` frames were the start."""
    whole, real = analyse(made), analyse(truth)
    after = analyse(made[given:])
    away = np.hypot(whole.x - real.x, whole.y - real.y)
    return Start(
        first_psnr=psnr(made[:1], truth[:1]),
        same=all(getattr(after, name) == getattr(task.scene, name) for name in APPEARANCE),
        jumps=has_jump(whole, max(0, given - 2), given + 12),
        motion=whole.motion == task.scene.motion,
        drift=(float(away[min(given + 3, len(away) - 1)]), float(away[min(given + 11, len(away) - 1)])),
    )


def has_jump(reading: Analysis, first: int, last: int) -> bool:
    """True when the object moved further than `JUMP` between two frames of first..last, or was not found in 20 %."""
    part = slice(first, last)
    if reading.seen[part].mean() < 0.8:
        return True
    return bool(np.hypot(np.diff(reading.x[part]), np.diff(reading.y[part])).max(initial=0.0) > JUMP)


def run(
    sampler: Sampler, tasks: Sequence[Task], steps: int, seed: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Figures of both kinds of start: {"i2v": ..., "v2v": ...}."""
    found: dict[str, list[Start]] = {"i2v": [], "v2v": []}
    for number, (task, truth) in enumerate(zip(tasks, truth_clips(tasks, seed, sampler.side), strict=True)):
        picture = sampler.start(task.text, task.seed, image=Image.fromarray(truth[0]))
        found["i2v"].append(judge(sampler.clip(picture, FRAMES, steps), truth, task, 1))
        clip = sampler.start(task.text, task.seed, clip=truth[:GIVEN])
        found["v2v"].append(judge(sampler.clip(clip, FRAMES, steps), truth, task, GIVEN))
        progress(f"starts: {number + 1} of {len(tasks)}")
    return {kind: summary(starts, tasks) for kind, starts in found.items()}


def summary(starts: Sequence[Start], tasks: Sequence[Task]) -> dict[str, Any]:
    """Shares and means over the starts; motion only where the prompt names it."""
    asked = [s.motion for s, task in zip(starts, tasks, strict=True) if "motion" in task.asked]
    assert set(APPEARANCE) < set(ATTRIBUTES)
    return {
        "first_frame_psnr": mean([s.first_psnr for s in starts]),
        "same_object": share([s.same for s in starts]),
        "continues": share([s.same and not s.jumps for s in starts]),
        "jumps": share([s.jumps for s in starts]),
        "motion": share(asked),
        "away_after_4": mean([s.drift[0] for s in starts]),
        "away_after_12": mean([s.drift[1] for s in starts]),
    }
