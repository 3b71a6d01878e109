"""The analyser's accuracy on clips whose truth is known, as drawn and degraded as a small model's are."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from models.evaluation.judge.analyser import ATTRIBUTES, analyse
from models.evaluation.prompts import generator
from models.toyworld import random_scene, render, simulate

FRAMES = 49


def degrade(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur (sigma 1.5 pixels), a shift of all tones, noise (sigma 5 levels) and JPEG at quality 40, frame by frame.

    About 25 dB against the truth, as of a small VAE at few steps.
    """
    tone = rng.normal(0, 4, size=3)
    out = np.empty_like(frames)
    for i, frame in enumerate(frames):
        soft = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float64)
        noisy = (soft + tone + rng.normal(0, 5, size=soft.shape)).clip(0, 255).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=40)
        out[i] = np.asarray(Image.open(file))
    return out


@dataclass(frozen=True)
class SelfTest:
    """hits: clips in which each attribute is recognised. place: median error of the centre, half-picture units."""

    clips: int
    hits: dict[str, int]
    place: float
    words: dict[str, tuple[int, int]]  # of each word of the world: clips recognised, clips

    @property
    def accuracy(self) -> dict[str, float]:
        return {name: hit / self.clips for name, hit in self.hits.items()}

    @property
    def figures(self) -> dict[str, Any]:
        """For JSON; words: the accuracy of each shape, motion, ..."""
        words = {word: right / count for word, (right, count) in self.words.items() if count}
        return {"clips": self.clips, "accuracy": self.accuracy, "place": self.place, "words": words}


def selftest(
    clips: int, *, seed: int, degraded: bool, report: Callable[[str], None] | None = None, frames: int = FRAMES
) -> SelfTest:
    """Analyse `clips` true clips; `report` is called with a line for every error."""
    rng = generator("analyser", seed)
    hits = dict.fromkeys(ATTRIBUTES, 0)
    words: dict[str, tuple[int, int]] = {}
    errors = []
    for number in range(clips):
        scene = random_scene(rng)
        track = simulate([(0, scene)], frames, rng)
        video = render(track)
        reading = analyse(degrade(video, rng) if degraded else video)
        errors.append(float(np.median(np.hypot(reading.x - track.x, reading.y - track.y))))
        for name in ATTRIBUTES:
            right = getattr(reading, name) == getattr(scene, name)
            hits[name] += right
            before = words.get(getattr(scene, name), (0, 0))
            words[getattr(scene, name)] = (before[0] + right, before[1] + 1)
            if not right and report is not None:
                report(f"clip {number}, {scene}: {name} read as {getattr(reading, name)}, {reading.facts}")
    return SelfTest(clips, hits, float(np.median(errors)), dict(sorted(words.items())))
