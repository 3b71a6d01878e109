"""The reader of distillation: it learns to read and to tell, lets a gradient through, and is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from models.training.distill import Distiller
from models.training.reader import MADE, NOT_SAID, Reader, labels_of, reading_losses
from models.training.reading import Reading, Shown
from models.world import SHAPES
from tests.models.training.test_distill import STAGE, clips
from tests.models.training.test_network import network

CAPTIONS = ["a red star", "a blue moon bouncing", "a green ring", "something else"]


def reading(folder: Path) -> Reading:
    torch.manual_seed(0)
    return Reading(Reader(4, (8, 8), width=16), 0.5, 3e-3, folder)


def shown(latents: torch.Tensor) -> Shown:
    return Shown(latents, CAPTIONS, torch.ones(len(latents)))


def test_labels_are_what_the_captions_name() -> None:
    labels = labels_of(CAPTIONS)
    assert labels["shape"].tolist() == [SHAPES.index("star"), SHAPES.index("moon"), SHAPES.index("ring"), NOT_SAID]
    assert labels["motion"].tolist() == [NOT_SAID, 0, NOT_SAID, NOT_SAID]


def test_what_was_not_said_costs_nothing_and_single_frames_have_no_motion() -> None:
    labels, reader = labels_of(CAPTIONS), Reader(4, (8, 8), width=16)
    with torch.no_grad():
        losses = reading_losses(reader(torch.randn(4, 1, 4, 8, 8), torch.rand(4)), labels, moving=False)
    assert "motion" not in losses
    assert float(losses["shape"][3]) == 0.0
    assert float(losses["shape"][0]) > 0.0


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
    own.heard(Shown(made, CAPTIONS, counts), np.random.default_rng(0))[0].backward()
    assert made.grad is not None
    assert float(made.grad[0].abs().max()) == 0.0
    assert float(made.grad[1].abs().max()) > 0.0
    assert all(p.grad is None for p in own.reader.parameters())


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
