"""The critic of distillation: it learns to tell, lets a gradient through to what it looks at, and is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from models.training.critic import Critic
from models.training.distill import Distiller
from tests.models.training.test_distill import STAGE, clips
from tests.models.training.test_network import network

CAPTIONS = ["a red star", "a blue moon", "a green ring", "a white cross"]
WEIGHT = torch.ones(4, 3)


def critic() -> Critic:
    torch.manual_seed(0)
    return Critic(network(), (0.02, 0.5))


def test_it_learns_to_tell_true_from_made() -> None:
    judge, rng = critic(), np.random.default_rng(0)
    text = judge.network.encode(CAPTIONS).detach()
    parameters = [p for part in judge.parts.values() for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(40):
        true, made = torch.randn(4, 3, 4, 8, 8) + 1, torch.randn(4, 3, 4, 8, 8) - 1
        loss, right = judge.told((true, WEIGHT, text), (made, WEIGHT, text), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(right["true_right"], right["made_right"]) > 0.9
    # The student's loss is the smaller the truer a sample looks.
    with torch.no_grad():
        assert judge.fooled(true, WEIGHT, text, rng) < judge.fooled(made, WEIGHT, text, rng)


def test_the_students_loss_reaches_the_samples_alone() -> None:
    judge, rng = critic(), np.random.default_rng(0)
    made = torch.randn(4, 3, 4, 8, 8, requires_grad=True)
    weight = WEIGHT.clone()
    weight[0] = 0
    judge.fooled(made, weight, judge.network.encode(CAPTIONS).detach(), rng).backward()
    assert made.grad is not None
    assert float(made.grad[0].abs().max()) == 0.0  # a row that does not count
    assert float(made.grad[1:].abs().max()) > 0.0
    parameters = [p for part in judge.parts.values() for p in part.parameters()]
    assert all(p.grad is None and p.requires_grad for p in parameters)


def test_distillation_trains_it_and_goes_on_exactly(tmp_path: Path) -> None:
    def distiller(folder: str, steps: int) -> Distiller:
        torch.manual_seed(7)
        stage = replace(STAGE, adversary=0.5, steps=steps)
        return Distiller(network(), network(), network(), clips(), clips(1), stage, tmp_path / folder, critic=network())

    before = network().transformer.state_dict()
    distiller("whole", 4).train()
    distiller("parts", 2).train()
    distiller("parts", 4).train()
    for name in ("state.safetensors", "critic/state.safetensors"):
        whole, parts = (load_file(tmp_path / folder / name) for folder in ("whole", "parts"))
        for key, value in whole.items():
            torch.testing.assert_close(value, parts[key], rtol=0, atol=0, msg=key)
    learned = load_file(tmp_path / "whole/critic/state.safetensors")
    assert any(not torch.equal(learned[f"weights/transformer.{key}"], value) for key, value in before.items())
    assert "told" in (tmp_path / "whole/log.jsonl").read_text()
