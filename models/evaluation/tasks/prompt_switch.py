"""A prompt change during a video: chunks until the new attribute is recognised, attributes kept, jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.evaluation.judge.analyser import ATTRIBUTES, NONE, analyse
from models.evaluation.judge.clip_metrics import mean, share
from models.evaluation.prompts import generator
from models.evaluation.tasks.i2v_v2v import JUMP
from models.evaluation.tasks.sampler import Sampler
from models.evaluation.tasks.t2v import Progress
from models.toyworld import Scene, caption, random_scene

BEFORE, AFTER = 3, 5  # chunks under the old prompt and under the new one
SOON = 2  # a change must be recognised within so many chunks
LATE = 99  # it was never recognised
_TURNS = ("colour", "shape", "colour", "background", "colour", "size", "colour", "motion")  # what changes, in turn


@dataclass(frozen=True)
class Case:
    """A change of one attribute between two prompts."""

    before: Scene
    after: Scene
    attribute: str
    seed: int


@dataclass(frozen=True)
class Switch:
    """chunks: of the new prompt until its attribute is recognised, 1 = the first. kept: share of the others kept."""

    case: Case
    valid: bool  # the old attribute was recognised before the change
    chunks: int
    kept: float
    step: float  # how far the object moved at the chunk border, half-pictures

    @property
    def good(self) -> bool:
        """Within `SOON` chunks and without a jump."""
        return self.chunks <= SOON and self.step <= JUMP


def draw(count: int, seed: int, turns: Sequence[str] = _TURNS) -> list[Case]:
    """Every second case changes the colour, the rest the other attributes in turn."""
    rng = generator("switch", seed)
    cases = []
    for number in range(count):
        before, name = random_scene(rng), turns[number % len(turns)]
        other = before
        while getattr(other, name) == getattr(before, name):
            other = random_scene(rng)
        change = {name: getattr(other, name)}
        cases.append(Case(before, replace(before, **change), name, int(rng.integers(2**31))))
    return cases


def judge(frames: np.ndarray, case: Case, borders: Sequence[int]) -> Switch:
    """Analyse a video whose prompt changed at frame `borders[BEFORE - 1]`.

    Colour, shape, size and background are analysed chunk by chunk; motion over all remaining frames, as it needs more.
    """
    start = borders[BEFORE - 1]
    ends = [*borders[BEFORE:], len(frames)]
    name, wanted = case.attribute, getattr(case.after, case.attribute)
    old, rest = analyse(frames[:start]), analyse(frames[start + 12 :])
    shown = LATE
    for number, (first, last) in enumerate(zip(borders[BEFORE - 1 :], ends, strict=True), start=1):
        reading = analyse(frames[first:] if name == "motion" else frames[first:last])
        if getattr(reading, name) == wanted:
            shown = number
            break
        if name == "motion" and len(frames) - last < 20:
            break
    others = [other for other in ATTRIBUTES if other != name]
    kept = sum(getattr(rest, other) == getattr(case.after, other) for other in others) / len(others)
    step = math.inf
    new = analyse(frames[start : start + 12])
    if old.colour != NONE and new.colour != NONE:
        step = math.hypot(float(new.x[0] - old.x[-1]), float(new.y[0] - old.y[-1]))
    return Switch(case, getattr(old, name) == getattr(case.before, name), shown, kept, step)


def run(sampler: Sampler, cases: Sequence[Case], steps: int, progress: Progress) -> list[Switch]:
    """Sample and judge every case."""
    found = []
    for number, case in enumerate(cases):
        rollout = sampler.start(caption(case.before), case.seed)
        chunks = sampler.chunks(rollout, steps)
        made = [next(chunks) for _ in range(BEFORE)]
        rollout.prompt(caption(case.after))
        made += [next(chunks) for _ in range(AFTER)]
        frames = np.concatenate(made)
        found.append(judge(frames, case, sampler.borders(len(frames))))
        progress(f"switch: {number + 1} of {len(cases)}")
    return found


def summary(found: Sequence[Switch]) -> dict[str, Any]:
    """Figures over all cases, and by attribute."""

    def part(some: Sequence[Switch]) -> dict[str, Any]:
        return {
            "soon": share([s.chunks <= SOON for s in some]),
            "good": share([s.good for s in some]),
            "no_jump": share([s.step <= JUMP for s in some]),
            "ever": share([s.chunks < LATE for s in some]),
            "old_was_there": share([s.valid for s in some]),
            "kept": mean([s.kept for s in some]),
            "chunks": mean([float(s.chunks) for s in some if s.chunks < LATE]),
        }

    by_name = {name: [s for s in found if s.case.attribute == name] for name in ATTRIBUTES}
    return {"all": part(found)} | {name: part(some) for name, some in by_name.items() if some}
