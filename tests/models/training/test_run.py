"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training.run import Average


def averaged(start: int, decay: float, steps: int) -> tuple[float, list[float]]:
    """The average of a weight that is 1, 2, 3, ... after steps 0, 1, 2, ..., and those weights."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Average({"m": module}, decay=decay, start=start)
    weights = []
    for step in range(steps):
        with torch.no_grad():
            module.weight.fill_(step + 1.0)
        weights.append(step + 1.0)
        average.update({"m": module}, step)
    return float(average.shadow["m.weight"]), weights


def test_the_average_is_a_copy_for_the_first_steps_as_published() -> None:
    assert averaged(start=5, decay=0.9, steps=5)[0] == 5.0
    assert averaged(start=5, decay=0.9, steps=7)[0] == pytest.approx(0.9 * (0.9 * 5 + 0.1 * 6) + 0.1 * 7)


def test_without_a_start_the_first_weights_fade_quickly() -> None:
    assert averaged(start=0, decay=0.99, steps=1)[0] == pytest.approx(0.9)  # decay (1 + 0) / (10 + 0)
    assert averaged(start=0, decay=0.05, steps=2)[0] == pytest.approx(0.05 * (0.95 * 1) + 0.95 * 2)
