from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint.bundle import Bundle
from models.errors import ModelError
from models.rollout import snapshot
from models.rollout.rollout import Rollout
from models.vae.taehv import TinyDecoder, open_tiny_decoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    torch.manual_seed(0)
    return TinyDecoder()


def test_it_has_the_true_shapes(decoder: TinyDecoder) -> None:
    shapes = {name: tuple(value.shape) for name, value in decoder.decoder.state_dict().items()}
    assert shapes["1.weight"] == (256, 16, 3, 3)
    assert shapes["3.conv.0.weight"] == (256, 512, 3, 3)
    assert shapes["7.conv.weight"] == (256, 256, 1, 1)
    assert shapes["8.weight"] == (128, 256, 3, 3)
    assert shapes["13.conv.weight"] == (256, 128, 1, 1)
    assert shapes["19.conv.weight"] == (128, 64, 1, 1)
    assert shapes["20.weight"] == (64, 64, 3, 3)
    assert shapes["22.weight"] == (3, 64, 3, 3)
    assert "8.bias" not in shapes


def test_chunks_decode_as_the_whole(decoder: TinyDecoder) -> None:
    latents = torch.randn(1, 5, 16, 2, 3)
    whole = decoder.decode(decoder.start(), latents)
    state = decoder.start()
    parts = torch.cat([decoder.decode(state, part) for part in latents.split((1, 3, 1), dim=1)])
    assert whole.shape == (17, 16, 24, 3)
    assert (whole.int() - parts.int()).abs().max() <= 1


def test_it_stands_in_for_the_vae(bundle: Bundle, decoder: TinyDecoder) -> None:
    rollout = Rollout(replace(bundle, tiny_decoder=decoder), prompt="a red star")
    assert [rollout.next_chunk([1.0, 0.0]).shape for _ in range(2)] == [(1, 64, 64, 3), (12, 64, 64, 3)]
    twin = snapshot.load(rollout.bundle, snapshot.save(rollout.state))
    assert np.array_equal(twin.next_chunk([1.0, 0.0]), rollout.next_chunk([1.0, 0.0]))


def test_a_users_file_opens_and_others_are_named(decoder: TinyDecoder, tmp_path: Path) -> None:
    state = {f"decoder.{name}": value for name, value in decoder.decoder.state_dict().items()}
    file = tmp_path / "taew2_1.safetensors"
    save_file({**state, "encoder.0.weight": torch.zeros(1)}, file)
    opened = open_tiny_decoder(file, device=CPU, dtype=torch.float32)
    latents = torch.randn(1, 1, 16, 2, 2)
    assert torch.equal(opened.decode(opened.start(), latents), decoder.decode(decoder.start(), latents))
    save_file({**state, "decoder.22.weight": torch.zeros(12, 64, 3, 3)}, file)
    with pytest.raises(ModelError, match="12x64x3x3, not 3x64x3x3"):
        open_tiny_decoder(file, device=CPU, dtype=torch.float32)
    file.write_bytes(b"nothing")
    for name, word in ((file, "damaged"), (tmp_path / "no.safetensors", "no decoder file"), ("a.pth", "safetensors")):
        with pytest.raises(ModelError, match=word):
            open_tiny_decoder(name, device=CPU, dtype=torch.float32)
