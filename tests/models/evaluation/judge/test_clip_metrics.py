"""Figures of the picture move the right way when the picture is made worse."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from models.evaluation.judge.clip_metrics import mean, measure_clip, psnr, share, wilson
from models.toyworld import Scene, render, simulate

TRUTH = render(simulate([(0, Scene("cross", "yellow", "big", "orbiting", "navy"))], 25, np.random.default_rng(3)))


def test_the_truth_is_faithful_sharp_and_steady() -> None:
    clip = measure_clip(TRUTH, [1, 13])
    assert clip.fidelity > 30
    assert clip.sharpness == pytest.approx(1, abs=0.1)
    assert clip.flicker < 0.3
    assert clip.jerk < 1.5
    assert clip.border_jerk < 2


def test_blur_costs_sharpness_and_noise_flickers() -> None:
    soft = np.stack([np.asarray(Image.fromarray(f).filter(ImageFilter.GaussianBlur(2))) for f in TRUTH])
    assert measure_clip(soft).sharpness < 0.5
    noise = np.random.default_rng(0).normal(0, 8, TRUTH.shape)
    assert measure_clip((TRUTH + noise).clip(0, 255).astype(np.uint8)).flicker > 5


def test_a_large_clip_has_to_be_sharp_at_its_own_size() -> None:
    track = simulate([(0, Scene("cross", "yellow", "big", "orbiting", "navy"))], 9, np.random.default_rng(3))
    large = render(track, 192)
    assert measure_clip(large).sharpness == pytest.approx(1, abs=0.1)
    enlarged = np.stack([np.asarray(Image.fromarray(f).resize((192, 192))) for f in render(track, 96)])
    assert measure_clip(enlarged).sharpness < 0.75, "what a picture of half the size has, made larger"


def test_a_jump_at_a_border_is_seen_there() -> None:
    jumpy = TRUTH.copy()
    jumpy[13:] = np.roll(TRUTH[13:], 14, axis=2)
    clip = measure_clip(jumpy, [1, 13])
    assert clip.border_jerk > 2 * clip.jerk
    assert clip.cut > 1.3


def test_psnr_of_a_known_difference() -> None:
    assert psnr(np.zeros((1, 9, 9, 3), np.uint8), np.full((1, 9, 9, 3), 16, np.uint8)) == pytest.approx(24.05, abs=0.01)


def test_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(81, 263)  # Newcombe (1998), table I: 0.2553, 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert share([True, False])["value"] == 0.5
    assert mean([1.0, float("nan"), 3.0]) == {"value": 2.0, "error": 1.0, "n": 2}
    assert mean([])["n"] == 0
