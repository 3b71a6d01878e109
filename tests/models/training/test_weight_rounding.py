"""Weights rounded to a grid: close to what they were, and smaller once compressed."""

from __future__ import annotations

import zlib

import torch
from safetensors.torch import save
from torch import nn

from models.training.weight_rounding import round_matrices


def test_matrices_are_on_the_grid_and_vectors_as_they_were() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 200).half()
    nn.init.normal_(layer.weight, std=0.1)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    round_matrices(layer, 8)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    assert torch.equal(bias, before["bias"])
    step = 2**-7  # 0.1 / 8 = 0.0125 is between this and twice this
    assert torch.equal(weight.float() / step, (weight.float() / step).round())
    assert 0 < float((weight - before["weight"]).abs().max()) <= step / 2
    assert len(zlib.compress(save(layer.state_dict()))) < 0.6 * len(zlib.compress(save(before)))


def test_a_matrix_of_nothing_stays_nothing() -> None:
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    round_matrices(layer, 8)
    assert not layer.weight.any()
