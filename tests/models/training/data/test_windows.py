"""Noise levels of training: their distributions, before and after the schedule's shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.training.data.windows import Levels

ROWS = 20_000
PUBLISHED = (0.5, 0.25, 0.25)


def draw(of: str, per: str = "chunk", shift: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    return Levels(shift, PUBLISHED, of, per).draw(ROWS, (1, 3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("of", "cdf"),
    [
        ("uniform", lambda x: x),
        ("larger_of_two", lambda x: x**2),
        ("logit_normal", lambda x: torch.special.ndtr((x / (1 - x)).log())),
    ],
)
def test_t_has_the_distribution_that_was_asked_for(of: str, cdf: object) -> None:
    t, _ = draw(of)
    for x in (0.1, 0.3, 0.5, 0.7, 0.9):
        share = float((t[:, 0] < x).float().mean())
        assert share == pytest.approx(float(cdf(torch.tensor(x))), abs=0.02)  # type: ignore[operator]


@pytest.mark.parametrize("of", ["uniform", "larger_of_two", "logit_normal"])
def test_rows_are_diffusion_then_consistency_then_anywhere(of: str) -> None:
    t, r = draw(of)
    half, three_quarters = ROWS // 2, 3 * ROWS // 4
    assert torch.equal(t[:half], r[:half])
    assert not r[half:three_quarters].any()
    rest = r[three_quarters:, 0] / t[three_quarters:, 0]
    assert bool((rest <= 1).all())
    assert float(rest.mean()) == pytest.approx(0.5, abs=0.02)  # r given t is uniform below t in all three


def test_the_smaller_of_two_uniforms_is_r() -> None:
    """E of the smaller of two uniforms is 1/3, and of the larger 2/3."""
    t, r = draw("larger_of_two")
    assert float(t.mean()) == pytest.approx(2 / 3, abs=0.01)
    assert float(r[3 * ROWS // 4 :].mean()) == pytest.approx(1 / 3, abs=0.01)


def test_a_pair_a_chunk_or_one_for_the_window() -> None:
    by_chunk, _ = draw("uniform")
    assert torch.equal(by_chunk[:, 1], by_chunk[:, 3])
    assert not torch.equal(by_chunk[:, 0], by_chunk[:, 1])
    whole, r = draw("uniform", "window")
    assert whole.shape == r.shape == (ROWS, 4)
    assert torch.equal(whole, whole[:, :1].expand(-1, 4))
    assert torch.equal(r, r[:, :1].expand(-1, 4))


def test_the_shift_is_that_of_the_schedule() -> None:
    plain, shifted = draw("larger_of_two")[0], draw("larger_of_two", shift=5.0)[0]
    torch.testing.assert_close(shifted, 5 * plain / (1 + 4 * plain), rtol=1e-5, atol=1e-6)
