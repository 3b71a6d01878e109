"""The keys that stand in for a prompt's padding, and a device that a command line names."""

from __future__ import annotations

import math

import pytest
import torch

from models.checkpoint.device import pick_device
from models.checkpoint.load import open_weights
from models.errors import ModelError
from models.network.transformer import folded_bias


@pytest.mark.parametrize("count", [1, 2, 7, 100, 255, 500, 511])
def test_folded_padding_weighs_what_the_padding_does(count: int) -> None:
    for dtype, error in ((torch.float32, 1e-6), (torch.bfloat16, 3e-4)):
        biases = folded_bias(count, dtype)
        assert len(biases) == (1 if dtype == torch.float32 else 2)
        assert sum(map(math.exp, biases)) == pytest.approx(count, rel=error)
        assert all(float(torch.tensor(bias, dtype=dtype)) == bias for bias in biases)


def test_random_weights_go_where_auto_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("models.checkpoint.load.random_bundle", lambda size, device, execution: asked.append(device))
    monkeypatch.setattr("models.checkpoint.load.customise", lambda bundle, **_: bundle)
    open_weights("random:1.3b", "auto")
    assert asked == ["auto"]


def test_a_card_that_is_not_there_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    with pytest.raises(ModelError, match="no cuda:2; PyTorch sees 2"):
        pick_device("cuda:2")
