"""The reader of distillation: it learns to read and to tell, lets a gradient through, and is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.toyworld import SHAPES
from models.training.distill import Distiller
from models.training.losses.attribute_classifier import MADE, NOT_SAID, Reader, labels_of, reading_losses
from models.training.losses.attribute_reward import AttributeReward, Shown
from tests.support.toy_training import STAGE, clips, network

CAPTIONS = ["a red star", "a blue moon bouncing", "a green ring", "something else"]


def reading(folder: Path) -> AttributeReward:
    torch.manual_seed(0)
    return AttributeReward(Reader(4, (8, 8), width=16), 0.5, 3e-3, folder)


def shown(latents: torch.Tensor) -> Shown:
    return Shown(latents, CAPTIONS, torch.ones(latents.shape[:2]), torch.ones(len(latents)))


def test_labels_are_what_the_captions_name() -> None:
    labels = labels_of(CAPTIONS)
    assert labels["shape"].tolist() == [SHAPES.index("star"), SHAPES.index("moon"), SHAPES.index("ring"), NOT_SAID]
    assert labels["motion"].tolist() == [NOT_SAID, 0, NOT_SAID, NOT_SAID]


def test_what_was_not_said_costs_nothing_and_single_frames_have_no_motion() -> None:
    words, reader = shown(torch.randn(4, 1, 4, 8, 8)).words(), Reader(4, (8, 8), width=16)
    with torch.no_grad():
        losses = reading_losses(reader(torch.randn(4, 1, 4, 8, 8), torch.rand(4)), words)
    assert "motion" not in losses
    assert float(losses["shape"][3]) == 0.0
    assert float(losses["shape"][0]) > 0.0


def test_looks_are_asked_of_the_frames_that_count_and_motion_of_whole_windows() -> None:
    frames = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    part = Shown(torch.randn(4, 3, 4, 8, 8), CAPTIONS, frames, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    moon = SHAPES.index("moon")
    assert part.words()["shape"][1].tolist() == [NOT_SAID, moon, moon]
    assert part.words()["motion"].tolist() == [NOT_SAID] * 4
    assert part.unmasked()["shape"][1].tolist() == [NOT_SAID, MADE["shape"], MADE["shape"]]
    assert part.unmasked()["motion"].tolist() == [MADE["motion"]] * 4
    assert set(part.unmasked()) == set(MADE)


def test_a_frame_is_not_let_off_for_what_another_shows() -> None:
    torch.manual_seed(0)
    reader, target = Reader(4, (8, 8), width=16), {"shape": torch.full((1, 3), SHAPES.index("star"))}
    latents = torch.randn(1, 3, 4, 8, 8)
    other = torch.cat([torch.randn(1, 1, 4, 8, 8), latents[:, 1:]], 1)
    level = torch.zeros(1)
    with torch.no_grad():
        one, two = (reader(z, level)["shape"] for z in (latents, other))
        loss = reading_losses({"shape": one}, target)["shape"]
    assert torch.allclose(one[:, 1:], two[:, 1:], atol=1e-5)
    assert not torch.allclose(one[:, :1], two[:, :1], atol=1e-5)
    by_frame = torch.nn.functional.cross_entropy(one[0], target["shape"][0], reduction="none")
    assert torch.allclose(loss, by_frame.mean())


@pytest.mark.slow
def test_it_learns_to_read_and_to_tell_what_was_made(tmp_path: Path) -> None:
    own, rng = reading(tmp_path), np.random.default_rng(0)
    signs = torch.randn(4, 1, 4, 8, 8)  # what each caption looks like

    def true() -> Shown:
        return shown(signs + 0.1 * torch.randn(4, 3, 4, 8, 8))

    for _ in range(80):
        values = own.update(true(), shown(torch.randn(4, 3, 4, 8, 8)), rng, 3e-3)
    assert values["shape_true"] == 1.0
    assert values["shape_made"] > 0.7
    # The student's loss is the smaller the truer a sample looks.
    good, read = own.heard(true(), rng)
    bad, _ = own.heard(shown(torch.randn(4, 3, 4, 8, 8)), rng)
    assert read["shape_read"] == 1.0
    assert float(good) < float(bad)


def test_the_students_loss_reaches_the_samples_that_count_and_nothing_else(tmp_path: Path) -> None:
    own, made = reading(tmp_path), torch.randn(4, 3, 4, 8, 8, requires_grad=True)
    counts = torch.tensor([0.0, 1.0, 1.0, 1.0])
    partly = Shown(made, CAPTIONS, counts[:, None].expand(4, 3), counts)
    own.heard(partly, np.random.default_rng(0))[0].backward()
    assert made.grad is not None
    assert float(made.grad[0].abs().max()) == 0.0
    assert float(made.grad[1].abs().max()) > 0.0
    assert all(p.grad is None for p in own.reader.parameters())


@pytest.mark.slow
def test_distillation_trains_it_and_goes_on_exactly(tmp_path: Path) -> None:
    def distiller(folder: str, steps: int) -> Distiller:
        torch.manual_seed(7)
        stage = replace(STAGE, reading=0.5, reader_steps=3, reader_batch=(4, 2), steps=steps)
        return Distiller(network(), network(), network(), clips(), clips(1), stage, tmp_path / folder)

    distiller("one", 6).train()
    distiller("two", 4).train()
    distiller("two", 6).train()
    one, two = (load_file(tmp_path / name / "reader" / "state.safetensors") for name in ("one", "two"))
    assert set(one) == set(two)
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    learnt = load_file(tmp_path / "one" / "reader" / "first" / "state.safetensors")
    head = "weights/reader.heads.shape.weight"
    assert learnt[head].shape[0] == MADE["shape"] + 1
    assert not torch.equal(learnt[head], one[head])
