"""On-policy distillation: where the gradient goes, which way it points, and that a run goes on as if never stopped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.rollout.flowmap import schedule
from models.training.data.toy_clips import LatentClips
from models.training.data.windows import CaptionedClips, Levels, WorldClips, draw_window
from models.training.distill import Distiller, Sample
from models.training.losses.backward_simulation import STEP_COUNTS, Cut, draw_cut, roll_out
from models.training.losses.dmd import clean_from, matching_gradient, matching_loss
from models.training.losses.flow_map_loss import FlowMapObjective, forward_losses
from models.training.losses.flow_matching import noised
from models.training.network.passes import Network
from models.training.trainer import Stage, Trainer
from tests.support.toy_training import STAGE, clips, distiller, network

# -- flow-map backward simulation ------------------------------------------------------------------------------------


def test_cuts_are_steps_of_the_schedules() -> None:
    cut = draw_cut(200, STEP_COUNTS, 5.0, np.random.default_rng(0))
    steps = {tuple(np.float32(pair)) for n in STEP_COUNTS for pair in pairwise(schedule(n, 5.0))}
    seen = {tuple(np.float32(pair)) for pair in zip(cut.t.tolist(), cut.r.tolist(), strict=True)}
    assert seen <= steps
    assert (np.float32(1.0), np.float32(0.0)) in seen  # one step
    assert bool((cut.t > cut.r).all())


def test_a_rollout_is_a_live_take_of_the_same_three_steps() -> None:
    net = network()
    torch.manual_seed(5)
    noise, partition = torch.randn(2, 7, 4, 8, 8), (1, 3, 3)
    text = net.encode(["a red star", "a blue moon"])
    cut = Cut(torch.tensor([0.9, 1.0]), torch.tensor([0.4, 0.0]))  # three transitions; one
    with torch.no_grad():
        made = roll_out(net, noise, partition, text, cut)
        for row, stops in enumerate(([1.0, 0.9, 0.4, 0.0], [1.0, 0.0])):
            past = noise[row : row + 1, :0]
            for number, frames in enumerate(partition):
                z = noise[row : row + 1, past.shape[1] : past.shape[1] + frames]
                context = net.encode_context(past, partition[:number], text[row : row + 1]) if number else []
                for t, r in pairwise(stops):
                    levels = torch.tensor([t]), torch.tensor([r])
                    u = net.chunk_velocity(z, *levels, text[row : row + 1], context, past.shape[1])
                    z = z - (t - r) * u
                past = torch.cat([past, z], dim=1)
            torch.testing.assert_close(made[row : row + 1], past, rtol=1e-4, atol=1e-4)


def test_given_chunks_are_kept_and_followed() -> None:
    net = network()
    torch.manual_seed(5)
    noise, text = torch.randn(2, 7, 4, 8, 8), net.encode(["a red star", "a blue moon"])
    cut = Cut(torch.ones(2), torch.zeros(2))
    with torch.no_grad():
        first, second = (roll_out(net, noise, (1, 3, 3), text, cut, given=g) for g in (noise[:, :1], noise[:, :1] + 1))
    assert torch.equal(first[:, :1], noise[:, :1])
    assert not torch.allclose(first[:, 1:], second[:, 1:])


@pytest.mark.parametrize("through_all", [False, True])
def test_the_gradient_reaches_the_chosen_step(through_all: bool) -> None:
    """And the shortcut before it only when asked; never the context."""
    net = network()
    seen: list[tuple[float, float, bool]] = []
    inner = net.chunk_velocity

    def stream(z: Tensor, t: Tensor, r: Tensor, *rest: object) -> Tensor:
        seen.append((round(float(t[0]), 2), round(float(r[0]), 2), torch.is_grad_enabled()))
        return inner(z, t, r, *rest)  # type: ignore[arg-type]

    net.chunk_velocity = stream  # type: ignore[method-assign]
    torch.manual_seed(5)
    cut = Cut(torch.tensor([0.8]), torch.tensor([0.5]))
    made = roll_out(net, torch.randn(1, 4, 4, 8, 8), (1, 3), net.encode(["a star"]), cut, through_all=through_all)
    assert seen == 2 * [(1.0, 0.8, through_all), (0.8, 0.5, True), (0.5, 0.0, True)]
    grads = torch.autograd.grad(made[:, 1:].sum(), net.transformer.patch_embedding.weight, retain_graph=True)
    assert float(grads[0].abs().sum()) > 0


def test_chunks_that_are_not_scored_cost_no_gradient() -> None:
    net = network()
    torch.manual_seed(5)
    made = roll_out(
        net,
        torch.randn(1, 10, 4, 8, 8),
        (1, 3, 3, 3),
        net.encode(["a star"]),
        Cut(torch.ones(1), torch.zeros(1)),
        first_with_gradient=1,
    )
    assert made[:, :1].sum().grad_fn is not None  # the whole window is one graph ...
    gradient = torch.autograd.grad(made[:, :1].sum(), net.transformer.proj_out.weight, allow_unused=True)[0]
    assert gradient is None or float(gradient.abs().sum()) == 0  # ... of which chunk 0, coarse by now, is no part


# -- distribution matching -------------------------------------------------------------------------------------------


def test_distribution_matching_moves_one_gaussian_onto_another() -> None:
    """Student N(1, 0.5^2), teacher N(-1, 0.5^2): both velocities are known, and descent lands on the teacher."""

    def velocity(mean: float, std: float):  # type: ignore[no-untyped-def]
        def v(z: Tensor, t: Tensor) -> Tensor:
            s = t[..., None, None, None]
            return (z - (1 - s) * mean) * (s - (1 - s) * std**2) / ((1 - s) ** 2 * std**2 + s**2) - mean

        return v

    torch.manual_seed(0)
    mean = torch.tensor(1.0, requires_grad=True)
    noise = torch.randn(256, 1, 1, 2, 2) * 0.5
    for _ in range(150):
        sample = mean + noise
        t = torch.rand(256, 1) * 0.9 + 0.05
        z = noised(sample, torch.randn_like(sample), t).detach()
        gradient = matching_gradient(sample, z, t, velocity(mean.item(), 0.5), velocity(-1.0, 0.5))
        weight = torch.ones(256, 1)
        matching_loss(sample, gradient, weight, weight.sum()).backward()
        assert mean.grad is not None
        with torch.no_grad():
            mean -= 0.05 * mean.grad
        mean.grad = None
    assert mean.item() == pytest.approx(-1.0, abs=0.1)


def test_the_losss_derivative_is_twice_the_gradient_given() -> None:
    """A plain mean square, as published: no factor 1/2. The default weight `matching` of 0.5 brings it back."""
    torch.manual_seed(0)
    sample, gradient = torch.randn(2, 3, 4, 2, 2, requires_grad=True), torch.randn(2, 3, 4, 2, 2)
    weight = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    matching_loss(sample, gradient, weight, weight.sum()).backward()
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad, 2 * gradient * weight[..., None, None, None] / (5 * 16))
    assert STAGE.matching == 0.5


def test_equal_scores_leave_the_sample_alone() -> None:
    z, t = torch.randn(2, 1, 1, 2, 2), torch.full((2, 1), 0.5)
    assert not matching_gradient(z, z, t, lambda z, t: z, lambda z, t: z).any()
    torch.testing.assert_close(clean_from(z, z, t), z / 2)


# -- the stages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["causal", "bidirectional"])
def test_every_network_learns_what_it_should(tmp_path: Path, score: str) -> None:
    trainer = distiller(tmp_path, replace(STAGE, score=score, given=0.5, fake_steps=2))
    before = {n: [p.clone() for p in net.transformer.parameters()] for n, net in _networks(trainer).items()}
    trainer.train()
    moved = {
        n: any(not torch.equal(a, b) for a, b in zip(before[n], net.transformer.parameters(), strict=True))
        for n, net in _networks(trainer).items()
    }
    assert moved == {"student": True, "teacher": False, "fake": True}
    assert (tmp_path / "log.jsonl").read_text().count("match") >= 1
    assert all(torch.isfinite(p).all() for p in trainer.network.transformer.parameters())


def _networks(trainer: Distiller) -> dict[str, Network]:
    assert trainer.teacher is not None
    return {"student": trainer.network, "teacher": trainer.teacher, "fake": trainer.fake}


def test_only_the_fake_network_learns_at_first(tmp_path: Path) -> None:
    trainer = distiller(tmp_path, replace(STAGE, steps=1))
    before = trainer.network.transformer.proj_out.weight.clone()
    assert set(trainer.step(0)) == {"fake"}
    assert torch.equal(trainer.network.transformer.proj_out.weight, before)


@pytest.mark.slow
def test_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    distiller(tmp_path / "whole").train()
    distiller(tmp_path / "parts", replace(STAGE, steps=2)).train()
    distiller(tmp_path / "parts").train()
    for name in ("state.safetensors", "fake/state.safetensors"):
        whole, parts = (load_file(tmp_path / kind / name) for kind in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        for key in whole:
            torch.testing.assert_close(whole[key], parts[key], rtol=0, atol=0, msg=key)


@pytest.mark.slow
def test_forward_training_lowers_its_loss(tmp_path: Path) -> None:
    stage = Stage(
        steps=30, windows=(0.5, 0.5), batch=(8, 4), rate=3e-3, pairs=(0.5, 0.25, 0.25), guidance=3.0, weight="beta08",
        bidirectional=0.3, warmup=3,
    )  # fmt: skip
    trainer = Trainer(network(), clips(), clips(1), stage, tmp_path)
    window = trainer.draw(2, (32,), np.random.default_rng(9))

    def loss() -> float:
        with torch.no_grad():
            return float(forward_losses(stage, trainer.network, window)[0])

    before = loss()
    trainer.train()
    assert loss() < 0.9 * before


@pytest.mark.parametrize("change", [{"fuse": "published"}, {"from_teacher": True}, {"pairs": (0.0, 1.0, 0.0)}])
def test_every_form_of_the_objective_has_a_gradient(change: dict[str, object]) -> None:
    choice = replace(FlowMapObjective(pairs=(0.5, 0.25, 0.25), guidance=3.0), **change)  # type: ignore[arg-type]
    net = network()
    window = draw_window(clips(), 3, 8, choice.noise_levels, np.random.default_rng(0), near=3, caption_dropout=0.3)
    plain, mapped = forward_losses(choice, net, window, teacher=network())
    (plain + mapped).backward()
    gradient = net.transformer.proj_out.weight.grad
    assert torch.isfinite(gradient).all()
    assert float(gradient.abs().sum()) > 0


def test_the_two_ways_to_fuse_guidance_agree_on_the_velocity() -> None:
    net = network()
    window = draw_window(clips(), 2, 6, Levels(3.0, (1.0, 0.0, 0.0)), np.random.default_rng(0), near=3)
    losses = [
        forward_losses(FlowMapObjective(guidance=3.0, fuse=fuse), net, window)[0].item()
        for fuse in ("velocity", "published")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# -- windows ---------------------------------------------------------------------------------------------------------


def test_windows_hold_changes_of_prompt_and_starts_from_pictures() -> None:
    levels = Levels(3.0, (0.5, 0.25, 0.25))
    window = draw_window(clips(), 3, 64, levels, np.random.default_rng(0), near=3, caption_dropout=0.25)
    assert window.partition == (1, 3, 3)
    assert 0 < float(window.weight.mean()) < 1  # some windows change scene, and are not asked about what came before
    assert bool((window.weight[:, -3:] == 1).all())
    assert 5 < window.captions.count("") < 30
    assert bool((window.t[:32] == window.r[:32]).all())
    assert not window.r[32:48].any()
    assert bool((window.r <= window.t).all())


def test_clips_with_captions_of_their_own() -> None:
    own = CaptionedClips(torch.randn(2, 7, 4, 8, 8), ("a cat", "a dog"))
    window = draw_window(own, 2, 4, Levels(5.0, (1.0, 0.0, 0.0)), np.random.default_rng(0), near=3)
    assert set(window.captions) <= {"a cat", "a dog"}
    assert bool((window.weight == 1).all())
    assert own.chunks == 3


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunks", "skips"), [(2, False), (3, False), (4, True)])
def test_nothing_is_missing_after_the_first_picture_of_a_short_window(chunks: int, skips: bool) -> None:
    numbered = torch.arange(22.0).view(1, 22, 1, 1, 1).expand(4, 22, 4, 8, 8)
    store = WorldClips(LatentClips(numbered, torch.zeros(4, 8, 5, dtype=torch.uint8)))
    rng, levels = np.random.default_rng(0), Levels(3.0, (1.0, 0.0, 0.0))
    seen = [draw_window(store, chunks, 8, levels, rng, near=3).clean[:, :, 0, 0, 0] for _ in range(5)]
    steps = torch.cat(seen).diff(dim=1)
    assert bool((steps > 1).any()) == skips
    assert bool((steps[:, 1:] <= 1).all()) or skips


# -- the published options -------------------------------------------------------------------------------------------


def test_the_forward_objective_has_windows_of_its_own(tmp_path: Path) -> None:
    stage = replace(STAGE, windows=(0.0, 1.0), forward_windows=(0.0, 0.0, 0.5, 0.5), fake_first=0)
    trainer = distiller(tmp_path, stage)
    keys = {key for number in range(8) for key in trainer.step(number) if key.startswith("flow_map_")}
    assert keys == {"flow_map_3", "flow_map_4"}


@pytest.mark.parametrize("rollout", ["shared", "own"])
def test_the_fake_network_can_have_rollouts_of_its_own(tmp_path: Path, rollout: str) -> None:
    trainer = distiller(tmp_path, replace(STAGE, fake_rollout=rollout, fake_first=0, reward=0.0))
    made, inner = [], trainer.generate

    def generate(*arguments: object) -> object:
        made.append(inner(*arguments))  # type: ignore[arg-type]
        return made[-1]

    trainer.generate = generate  # type: ignore[method-assign, assignment]
    trainer.step(1)
    assert len(made) == (1 if rollout == "shared" else 2)
    assert made[0].latents.requires_grad
    if rollout == "own":
        assert not made[1].latents.requires_grad
        assert not torch.equal(made[0].latents.detach(), made[1].latents)


def test_one_cut_for_all_rows_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Cut] = []

    def spy(student: Network, noise: Tensor, partition: object, text: object, cut: Cut, **rest: object) -> Tensor:
        seen.append(cut)
        return roll_out(student, noise, partition, text, cut, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr("models.training.distill.roll_out", spy)
    trainer = distiller(tmp_path, replace(STAGE, cut="step", fake_first=0, batch=(4,)))
    for number in range(4):
        trainer.step(number)
    assert all(cut.t.shape == (4,) and bool((cut.t == cut.t[0]).all()) for cut in seen)
    assert len({float(cut.t[0]) for cut in seen}) > 1


def test_fake_levels_are_logit_normal_and_score_levels_uniform(tmp_path: Path) -> None:
    trainer = distiller(tmp_path, replace(STAGE, score="bidirectional", shift=1.0, lowest=0.0, highest=1.0))
    rows = torch.zeros(20_000, 7, 1, 1, 1)
    sample = Sample(rows, rows[..., 0, 0, 0], rows[:, 0, 0, 0, 0], ("",) * 20_000, (1, 3, 3))
    rng = np.random.default_rng(0)
    uniform, normal = (trainer.levels(sample, rows, rng, of)[:, 0] for of in ("uniform", "logit_normal"))
    assert float((uniform < 0.1).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((normal < 0.1).float().mean()) == pytest.approx(0.014, abs=0.005)  # Phi(ln(0.1 / 0.9))


def test_a_bidirectional_pass_can_be_added_to_the_causal_one(tmp_path: Path) -> None:
    stage = Stage(steps=1, windows=(0.0, 1.0, 0.0), batch=(2,), bidirectional=1.0, bidirectional_levels="logit_normal")
    assert set(Trainer(network(), clips(), clips(1), stage, tmp_path).step(0)) == {"bidirectional_2"}
    both = Trainer(network(), clips(), clips(1), replace(stage, bidirectional_beside=True), tmp_path).step(0)
    assert set(both) == {"diffusion_2", "flow_map_2", "bidirectional_3"}  # the window of all chunks, as published
