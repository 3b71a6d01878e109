"""Muon: updates are orthogonal and as large as asked for, and what is saved goes on as if never stopped."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (8, 8)])
def test_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 100))
    assert values.min() > 0.3
    assert values.max() < 1.3


def fit(model: nn.Module, optimizer: Muon, steps: int, seed: int) -> float:
    loss = torch.zeros(())
    torch.manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 6)
        loss = (model(x) - x.flip(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def learner() -> tuple[nn.Linear, Muon]:
    torch.manual_seed(0)
    model = nn.Linear(6, 6)
    return model, Muon([model.weight], [model.bias], 0.02)


def test_it_learns() -> None:
    model, optimizer = learner()
    assert fit(model, optimizer, 200, 1) < 1e-2


def test_a_saved_state_goes_on_as_if_never_stopped() -> None:
    model, optimizer = learner()
    fit(model, optimizer, 5, 1)
    twin, other = learner()
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert fit(model, optimizer, 5, 2) == fit(twin, other, 5, 2)
