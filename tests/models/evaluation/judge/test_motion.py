"""Motions are told apart on true tracks, with the errors of measuring and the unsteadiness of a model."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.judge.motion import find_motion
from models.toyworld import MOTIONS, Scene, simulate


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("size", ["small", "big"])
def test_motion(motion: str, size: str) -> None:
    rng = np.random.default_rng([MOTIONS.index(motion), len(size)])
    wrong = []
    for _ in range(6):
        track = simulate([(0, Scene("star", "red", size, motion, "navy"))], 49, rng)
        wander = np.cumsum(rng.normal(0, 0.003, (2, 49)), 1)  # a path that strays, about a pixel at the end
        x, y = (v + w + rng.normal(0, 0.01, 49) for v, w in zip((track.x, track.y), wander, strict=True))
        width = track.width * (1 + rng.normal(0, 0.04, 49))
        radius = track.radius * (1 + rng.normal(0, 0.03, 49))
        found, facts = find_motion(x, y, width, radius)
        if found != motion:
            wrong.append((found, facts))
    assert wrong == []


@pytest.mark.parametrize("motion", ["spinning", "pulsing"])
def test_a_spin_that_shrinks_a_little_is_a_spin_and_a_pulse_that_narrows_a_pulse(motion: str) -> None:
    track = simulate([(0, Scene("star", "red", "big", motion, "navy"))], 49, np.random.default_rng(1))
    width = track.width * (track.radius / track.radius.max()) ** 0.3
    radius = track.radius * track.width**0.3
    found, facts = find_motion(track.x, track.y, width, radius)
    assert (found, min(facts["beat"], facts["turn"]) > 0.05) == (motion, True)
