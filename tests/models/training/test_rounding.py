"""Weights rounded to fewer bits: close to what they were, and smaller once compressed."""

from __future__ import annotations

import zlib

import torch
from safetensors.torch import save
from torch import nn

from models.training.rounding import round_matrices


def test_matrices_keep_so_many_bits_and_vectors_all() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 200).half()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    round_matrices(layer, 5)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    assert torch.equal(bias, before["bias"])
    assert 0 < float(((weight - before["weight"]).abs() / before["weight"].abs().clamp(min=1e-4)).max()) <= 2**-5
    share, _ = torch.frexp(weight.float())
    assert torch.equal(share * 32, (share * 32).round())
    assert len(zlib.compress(save(layer.state_dict()))) < 0.75 * len(zlib.compress(save(before)))
