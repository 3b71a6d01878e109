"""The loss on decoded clips: an edge costs less than a blur of it, and what moves on its own costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from models.training.losses.crispness import WEIGHT, crispness


def clip(edge: int = 16) -> torch.Tensor:
    """Black to the left of `edge`, white to the right, (1, 3, 4, 32, 32)."""
    true = torch.full((1, 3, 4, 32, 32), -1.0)
    true[..., edge:] = 1.0
    return true


def test_a_perfect_picture_costs_nothing() -> None:
    assert crispness(clip(), clip()).total(1.0).item() == 0


def blurred() -> torch.Tensor:
    flat = F.pad(clip().flatten(0, 2)[:, None], (4, 4, 4, 4), mode="replicate")
    return F.avg_pool2d(flat, 9, stride=1).view(1, 3, 4, 32, 32)


def test_an_edge_a_pixel_off_costs_less_than_a_blur() -> None:
    off, soft = (crispness(made, clip()) for made in (clip(15), blurred()))
    assert off.pixels < soft.pixels
    assert off.strength < 0.5 * soft.strength, "the edge is as strong, only elsewhere"


def test_pixels_about_an_edge_count_more() -> None:
    near, far = clip(), clip()
    near[..., 15, 15] += 0.5
    far[..., 15, 4] += 0.5
    ratio = crispness(near, clip()).pixels / crispness(far, clip()).pixels
    torch.testing.assert_close(ratio, torch.tensor(WEIGHT))


def test_flicker_costs_and_a_single_picture_cannot_flicker() -> None:
    shaky = clip()
    shaky[:, :, 1::2] += 0.1
    assert crispness(shaky, clip()).changes.item() > 0.09
    assert crispness(shaky[:, :, :1], clip()[:, :, :1]).changes.item() == 0
