"""The attribute reward of distillation: the classifier learns, passes a gradient to the samples, and is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.toyworld import SHAPES
from models.training.distill import Distiller
from models.training.losses.attribute_classifier import (
    GENERATED,
    UNNAMED,
    AttributeClassifier,
    attribute_losses,
    labels_of,
)
from models.training.losses.attribute_reward import AttributeReward, LabelledLatents
from tests.support.toy_training import STAGE, clips, network

CAPTIONS = ["a red star", "a blue moon bouncing", "a green ring", "something else"]


def new_reward(folder: Path) -> AttributeReward:
    torch.manual_seed(0)
    return AttributeReward(AttributeClassifier(4, (8, 8), width=16), 0.5, 3e-3, folder)


def labelled(latents: torch.Tensor) -> LabelledLatents:
    return LabelledLatents(latents, CAPTIONS, torch.ones(latents.shape[:2]), torch.ones(len(latents)))


def test_labels_are_what_the_captions_name() -> None:
    labels = labels_of(CAPTIONS)
    assert labels["shape"].tolist() == [SHAPES.index("star"), SHAPES.index("moon"), SHAPES.index("ring"), UNNAMED]
    assert labels["motion"].tolist() == [UNNAMED, 0, UNNAMED, UNNAMED]


def test_unnamed_attributes_cost_nothing_and_single_frames_have_no_motion() -> None:
    targets, classifier = labelled(torch.randn(4, 1, 4, 8, 8)).targets(), AttributeClassifier(4, (8, 8), width=16)
    with torch.no_grad():
        losses = attribute_losses(classifier(torch.randn(4, 1, 4, 8, 8), torch.rand(4)), targets)
    assert "motion" not in losses
    assert float(losses["shape"][3]) == 0.0
    assert float(losses["shape"][0]) > 0.0


def test_appearance_is_classified_in_the_frames_that_count_and_motion_in_windows_of_one_scene() -> None:
    frames = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    part = LabelledLatents(torch.randn(4, 3, 4, 8, 8), CAPTIONS, frames, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    moon = SHAPES.index("moon")
    assert part.targets()["shape"][1].tolist() == [UNNAMED, moon, moon]
    assert part.targets()["motion"].tolist() == [UNNAMED] * 4
    assert part.generated_targets()["shape"][1].tolist() == [UNNAMED, GENERATED["shape"], GENERATED["shape"]]
    assert part.generated_targets()["motion"].tolist() == [GENERATED["motion"]] * 4
    assert set(part.generated_targets()) == set(GENERATED)


def test_the_loss_of_a_frame_does_not_depend_on_other_frames() -> None:
    torch.manual_seed(0)
    classifier, target = AttributeClassifier(4, (8, 8), width=16), {"shape": torch.full((1, 3), SHAPES.index("star"))}
    latents = torch.randn(1, 3, 4, 8, 8)
    other = torch.cat([torch.randn(1, 1, 4, 8, 8), latents[:, 1:]], 1)
    level = torch.zeros(1)
    with torch.no_grad():
        one, two = (classifier(z, level)["shape"] for z in (latents, other))
        loss = attribute_losses({"shape": one}, target)["shape"]
    assert torch.allclose(one[:, 1:], two[:, 1:], atol=1e-5)
    assert not torch.allclose(one[:, :1], two[:, :1], atol=1e-5)
    by_frame = torch.nn.functional.cross_entropy(one[0], target["shape"][0], reduction="none")
    assert torch.allclose(loss, by_frame.mean())


@pytest.mark.slow
def test_the_classifier_learns_attributes_and_generated_samples(tmp_path: Path) -> None:
    own, rng = new_reward(tmp_path), np.random.default_rng(0)
    signs = torch.randn(4, 1, 4, 8, 8)  # what each caption looks like

    def true() -> LabelledLatents:
        return labelled(signs + 0.1 * torch.randn(4, 3, 4, 8, 8))

    for _ in range(80):
        values = own.update(true(), labelled(torch.randn(4, 3, 4, 8, 8)), rng, 3e-3)
    assert values["shape_true"] == 1.0
    assert values["shape_generated"] > 0.7
    # The student's loss is the smaller the truer a sample looks.
    good, read = own.loss(true(), rng)
    bad, _ = own.loss(labelled(torch.randn(4, 3, 4, 8, 8)), rng)
    assert read["shape_recognised"] == 1.0
    assert float(good) < float(bad)


def test_the_students_loss_reaches_the_samples_that_count_and_nothing_else(tmp_path: Path) -> None:
    own, made = new_reward(tmp_path), torch.randn(4, 3, 4, 8, 8, requires_grad=True)
    counts = torch.tensor([0.0, 1.0, 1.0, 1.0])
    partly = LabelledLatents(made, CAPTIONS, counts[:, None].expand(4, 3), counts)
    own.loss(partly, np.random.default_rng(0))[0].backward()
    assert made.grad is not None
    assert float(made.grad[0].abs().max()) == 0.0
    assert float(made.grad[1].abs().max()) > 0.0
    assert all(p.grad is None for p in own.classifier.parameters())


@pytest.mark.slow
def test_distillation_trains_it_and_goes_on_exactly(tmp_path: Path) -> None:
    def distiller(folder: str, steps: int) -> Distiller:
        torch.manual_seed(7)
        stage = replace(STAGE, reward=0.5, classifier_steps=3, classifier_batch=(4, 2), steps=steps)
        return Distiller(network(), network(), network(), clips(), clips(1), stage, tmp_path / folder)

    distiller("one", 6).train()
    distiller("two", 4).train()
    distiller("two", 6).train()
    one, two = (load_file(tmp_path / name / "classifier" / "state.safetensors") for name in ("one", "two"))
    assert set(one) == set(two)
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    learnt = load_file(tmp_path / "one" / "classifier" / "first" / "state.safetensors")
    head = "weights/classifier.heads.shape.weight"
    assert learnt[head].shape[0] == GENERATED["shape"] + 1
    assert not torch.equal(learnt[head], one[head])
